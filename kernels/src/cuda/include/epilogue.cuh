// The end of a convolution: bias, residual, activation, rounding, and where the values go.
#pragma once

#include "include/mma.cuh"

namespace bev {

enum Activation : u32 { ACTIVATION_NONE = 0, ACTIVATION_RELU = 1, ACTIVATION_GELU = 2 };

// x * Phi(x) with the normal distribution function: Phi - 1/2 as an odd polynomial up to |x| = 4, from there on
// its limit. At most 1.3e-4 from the exact form, at |x| = 4, where one step of fp16 is 4e-3 (positive side);
// 4e-5 below. A tenth of the instructions of erff, which made the epilogues outgrow the instruction cache.
__device__ __forceinline__ float gelu(float x) {
    const float t = x * x;
    float p = -1.3012954e-9f;
    p = fmaf(p, t, 1.04196097e-7f);
    p = fmaf(p, t, -3.65713413e-6f);
    p = fmaf(p, t, 7.48550665e-5f);
    p = fmaf(p, t, -1.00649055e-3f);
    p = fmaf(p, t, 9.50539857e-3f);
    p = fmaf(p, t, -6.58878461e-2f);
    p = fmaf(p, t, 0.398673385f);
    const float odd = t < 16.0f ? x * p : copysignf(0.5f, x);
    return x * (0.5f + odd);
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
