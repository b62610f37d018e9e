// LayerNorm of rows of channels, fp16 to fp16, and the same of rows that are four pixels joined.
//
// layer_norm_L: rows of up to 24 L channels. merge_norm_L: a row is the 2x2 pixels at (2 y, 2 x) of a map,
// one pixel's channels after another, (0, 0), (0, 1), (1, 0), (1, 1); what lies outside is zero and counts.
// L lanes share a row: each holds up to three times 8 channels of it in registers, so that it is read once,
// and mean and variance are two sums over the same values in float32. Its first channel is subtracted before,
// so that a large mean costs no digits.
#include "include/epilogue.cuh"

namespace bev {

constexpr u32 NORM_THREADS = 128;
constexpr u32 EACH = 3;  // eights of channels of a lane

struct LayerNormParams {
    const u16* in;
    u16* out;
    const float* scale;  // [channels]
    const float* bias;   // [channels]
    u32 in_pitch, out_pitch;
    u32 rows, channels;
    u32 height, width;   // of the map whose pixels are joined
    float epsilon;
    u32 unused;
};

// Sum over the lanes of a row; more than a warp of them meet in shared memory, all threads of the block.
template <u32 LANES>
__device__ __forceinline__ float row_sum(float x, float* parts) {
#pragma unroll
    for (u32 step = min(LANES, WARP) / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    if constexpr (LANES > WARP) {
        constexpr u32 WARPS = LANES / WARP;
        const u32 warp = threadIdx.x / WARP;
        if (threadIdx.x % WARP == 0) parts[warp] = x;
        __syncthreads();
        x = 0.0f;
#pragma unroll
        for (u32 i = 0; i < WARPS; ++i) x += parts[warp / WARPS * WARPS + i];
    }
    return x;
}

// Eight channels from `channel` on of a row, or null where they are zero.
template <bool MERGES>
__device__ __forceinline__ const u16* source(const LayerNormParams& p, u32 row, u32 channel) {
    if constexpr (!MERGES) return p.in + static_cast<u64>(row) * p.in_pitch + channel;
    const u32 of_pixel = p.channels / 4, columns = ceil_div(p.width, 2), rows = ceil_div(p.height, 2);
    const u32 pixel = channel / of_pixel;
    const u32 y = row / columns % rows * 2 + pixel / 2, x = row % columns * 2 + pixel % 2;
    if (y >= p.height || x >= p.width) return nullptr;
    const u64 token = static_cast<u64>(row / columns / rows * p.height + y) * p.width + x;
    return p.in + token * p.in_pitch + channel % of_pixel;
}

__device__ __forceinline__ void unpack(const uint4& eight, float (&v)[8]) {
    const u32 bits[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        v[2 * i] = half2_low(bits[i]);
        v[2 * i + 1] = half2_high(bits[i]);
    }
}

__device__ __forceinline__ void load_eight(const float* from, float (&v)[8]) {
#pragma unroll
    for (u32 i = 0; i < 8; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + i);
        v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
    }
}

template <u32 LANES, bool MERGES>
__device__ __forceinline__ void normalize(const LayerNormParams& p) {
    __shared__ float parts[2][NORM_THREADS / WARP];
    const u32 lane = threadIdx.x % LANES;
    const u32 row = blockIdx.x * (NORM_THREADS / LANES) + threadIdx.x / LANES;
    const float first = row < p.rows ? from_half(*source<MERGES>(p, row, 0)) : 0.0f;
    float v[EACH][8];
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < EACH; ++i) {
        const u32 channel = (i * LANES + lane) * 8;
        const bool exists = row < p.rows && channel < p.channels;
        unpack(load16_or_zero(exists ? source<MERGES>(p, row, channel) : nullptr), v[i]);
#pragma unroll
        for (u32 c = 0; c < 8; ++c) {
            v[i][c] -= first;
            if (channel < p.channels) sum += v[i][c];
        }
    }
    const float each = 1.0f / static_cast<float>(p.channels);
    const float mean = row_sum<LANES>(sum, parts[0]) * each;
    sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < EACH; ++i) {
        const bool exists = (i * LANES + lane) * 8 < p.channels;
#pragma unroll
        for (u32 c = 0; c < 8; ++c) {
            v[i][c] -= mean;
            if (exists) sum = fmaf(v[i][c], v[i][c], sum);
        }
    }
    const float factor = rsqrtf(row_sum<LANES>(sum, parts[1]) * each + p.epsilon);
    if (row >= p.rows) return;
#pragma unroll
    for (u32 i = 0; i < EACH; ++i) {
        const u32 channel = (i * LANES + lane) * 8;
        if (channel >= p.channels) continue;
        float scale[8], bias[8];
        load_eight(p.scale + channel, scale);
        load_eight(p.bias + channel, bias);
#pragma unroll
        for (u32 c = 0; c < 8; ++c) v[i][c] = fmaf(v[i][c] * factor, scale[c], bias[c]);
        store_half(p.out + static_cast<u64>(row) * p.out_pitch + channel, v[i]);
    }
}

}  // namespace bev

using namespace bev;

#define NORM_KERNEL(name, lanes, merges)                                                                  \
    extern "C" __global__ void __launch_bounds__(NORM_THREADS) name##_##lanes(PARAMS LayerNormParams p) { \
        begin_in_order();                                                                                 \
        normalize<lanes, merges>(p);                                                                      \
    }

NORM_KERNEL(layer_norm, 4, false)
NORM_KERNEL(layer_norm, 8, false)
NORM_KERNEL(layer_norm, 16, false)
NORM_KERNEL(layer_norm, 32, false)
NORM_KERNEL(layer_norm, 64, false)
NORM_KERNEL(layer_norm, 128, false)
NORM_KERNEL(merge_norm, 4, true)
NORM_KERNEL(merge_norm, 8, true)
NORM_KERNEL(merge_norm, 16, true)
NORM_KERNEL(merge_norm, 32, true)
NORM_KERNEL(merge_norm, 64, true)
NORM_KERNEL(merge_norm, 128, true)
