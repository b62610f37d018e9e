// The end of a convolution: bias, residual, activation, rounding, and where the values go.
#pragma once

#include "include/mma.cuh"

namespace bev {

enum Activation : u32 { ACTIVATION_NONE = 0, ACTIVATION_RELU = 1, ACTIVATION_GELU = 2 };

// x * Phi(x) with the normal distribution function: Phi - 1/2 as an odd polynomial of x within +-4.5, off by at
// most 6e-5 for |x| up to 12. Far fewer instructions than erff, with which the epilogues outgrow the
// instruction cache.
__device__ __forceinline__ float gelu(float x) {
    const float u = fminf(fmaxf(x, -4.5f), 4.5f), t = u * u;
    float p = 3.036335072e-11f;
    p = fmaf(p, t, -3.314585051e-9f);
    p = fmaf(p, t, 1.590968850e-7f);
    p = fmaf(p, t, -4.451672794e-6f);
    p = fmaf(p, t, 8.142450679e-5f);
    p = fmaf(p, t, -1.037586830e-3f);
    p = fmaf(p, t, 9.585185908e-3f);
    p = fmaf(p, t, -6.598462164e-2f);
    p = fmaf(p, t, 3.987125754e-1f);
    // A NaN becomes the clamp's bound above, but stays one in the product.
    return x * fmaf(u, p, 0.5f);
}

__device__ __forceinline__ float activate(float x, u32 activation) {
    if (activation == ACTIVATION_RELU) return relu(x);
    if (activation == ACTIVATION_GELU) return gelu(x);
    return x;
}

// Adds N consecutive fp16 values.
template <int N>
__device__ __forceinline__ void add_half(float (&v)[N], const u16* from) {
    static_assert(N == 4 || N == 8, "a lane holds 4 or 8 channels");
    u32 bits[N / 2];
    if constexpr (N == 8) {
        const uint4 loaded = load16(from);
        bits[0] = loaded.x, bits[1] = loaded.y, bits[2] = loaded.z, bits[3] = loaded.w;
    } else {
        const uint2 loaded = *reinterpret_cast<const uint2*>(from);
        bits[0] = loaded.x, bits[1] = loaded.y;
    }
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
        v[2 * i] += half2_low(bits[i]);
        v[2 * i + 1] += half2_high(bits[i]);
    }
}

template <int N>
__device__ __forceinline__ void store_half(u16* to, const float (&v)[N]) {
    u32 bits[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) bits[i] = to_half2(v[2 * i], v[2 * i + 1]);
    if constexpr (N == 8) {
        *reinterpret_cast<uint4*>(to) = make_uint4(bits[0], bits[1], bits[2], bits[3]);
    } else {
        *reinterpret_cast<uint2*>(to) = make_uint2(bits[0], bits[1]);
    }
}

template <int N>
__device__ __forceinline__ void store_float(float* to, const float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        *reinterpret_cast<float4*>(to + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
}

}  // namespace bev
