// Overlap of rotated footprints, in the operations of the CPU twin: in the frame of the first box, which is
// an axis-aligned window there, the second is clipped against the window's four sides.
#pragma once
#include "include/common.cuh"

namespace bev {

// Products and sums that are never fused, so that float64 rounds as the twin does.
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }

// x, y of the centre, extents along and across the heading (m).
template <typename T>
struct Footprint {
    T x, y, length, width;

    __device__ __forceinline__ T area() const {
        return mul(length > T(0) ? length : T(0), width > T(0) ? width : T(0));
    }
};

// Sine and cosine of the window's heading and of the other's relative to it.
template <typename T>
struct Turn {
    T sin_window, cos_window, sin_other, cos_other;
};

template <typename T>
struct Polygon {
    T corners[8][2];
    u32 count;

    __device__ __forceinline__ void push(T x, T y) {
        if (count >= 8) return;
        corners[count][0] = x;
        corners[count][1] = y;
        ++count;
    }
};

template <typename T>
__device__ __forceinline__ void corners_of(const Footprint<T>& other, const Footprint<T>& window, const Turn<T>& turn,
                                           Polygon<T>& polygon) {
    T dx = add(other.x, -window.x), dy = add(other.y, -window.y);
    T x = add(mul(turn.cos_window, dx), mul(turn.sin_window, dy));
    T y = add(mul(turn.cos_window, dy), -mul(turn.sin_window, dx));
    polygon.count = 0;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        T along = mul(i == 0 || i == 3 ? T(0.5) : T(-0.5), other.length);
        T across = mul(i < 2 ? T(0.5) : T(-0.5), other.width);
        polygon.push(add(add(x, mul(turn.cos_other, along)), -mul(turn.sin_other, across)),
                     add(add(y, mul(turn.sin_other, along)), mul(turn.cos_other, across)));
    }
}

// The part of `from` with sign * corner[axis] <= limit.
template <typename T>
__device__ __noinline__ void clip(const Polygon<T>& from, Polygon<T>& to, u32 axis, T sign, T limit) {
    to.count = 0;
    for (u32 i = 0; i < from.count; ++i) {
        u32 after = i + 1 == from.count ? 0 : i + 1;
        T here = add(limit, -mul(sign, from.corners[i][axis]));
        T there = add(limit, -mul(sign, from.corners[after][axis]));
        T x = from.corners[i][0], y = from.corners[i][1];
        if (here >= T(0)) to.push(x, y);
        if ((here >= T(0)) == (there >= T(0))) continue;
        T share = here / add(here, -there);
        T cross_x = add(x, mul(share, add(from.corners[after][0], -x)));
        T cross_y = add(y, mul(share, add(from.corners[after][1], -y)));
        T edge = mul(sign, limit);
        to.push(axis == 0 ? edge : cross_x, axis == 1 ? edge : cross_y);
    }
}

template <typename T>
__device__ __forceinline__ T area_of(const Polygon<T>& polygon) {
    T doubled = T(0), first_x = polygon.corners[0][0], first_y = polygon.corners[0][1];
    for (u32 i = 0; i + 1 < polygon.count; ++i) {
        T ax = add(polygon.corners[i][0], -first_x), ay = add(polygon.corners[i][1], -first_y);
        T bx = add(polygon.corners[i + 1][0], -first_x), by = add(polygon.corners[i + 1][1], -first_y);
        doubled = add(doubled, add(mul(ax, by), -mul(ay, bx)));
    }
    doubled = doubled < T(0) ? -doubled : doubled;
    return mul(T(0.5), doubled);
}

// Intersection over union of boxes that both have an area.
template <typename T>
__device__ __forceinline__ T overlap(const Footprint<T>& window, const Footprint<T>& other, const Turn<T>& turn) {
    Polygon<T> a, b;
    corners_of(other, window, turn, a);
    T half_length = mul(T(0.5), window.length), half_width = mul(T(0.5), window.width);
    clip(a, b, 0, T(1), half_length);
    clip(b, a, 0, T(-1), half_length);
    clip(a, b, 1, T(1), half_width);
    clip(b, a, 1, T(-1), half_width);
    T common = a.count == 0 ? T(0) : area_of(a);
    T first = window.area(), second = other.area();
    common = common < first ? common : first;
    common = common < second ? common : second;
    T united = add(add(first, second), -common);
    if (!(common > T(0)) || !(united > T(0))) return T(0);
    T ratio = common / united;
    return ratio < T(1) ? ratio : T(1);
}

// In float64, as the twin computes it.
__device__ __noinline__ double exact_overlap(const Footprint<double>& a, double yaw_a, const Footprint<double>& b,
                                             double yaw_b) {
    if (!(a.area() > 0.0) || !(b.area() > 0.0)) return 0.0;
    double reach = add(mul(0.5, hypot(a.length, a.width)), mul(0.5, hypot(b.length, b.width)));
    if (hypot(add(a.x, -b.x), add(a.y, -b.y)) > reach) return 0.0;
    Turn<double> turn;
    sincos(yaw_a, &turn.sin_window, &turn.cos_window);
    sincos(add(yaw_b, -yaw_a), &turn.sin_other, &turn.cos_other);
    return overlap(a, b, turn);
}

}  // namespace bev
