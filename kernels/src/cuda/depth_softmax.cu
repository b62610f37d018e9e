// Softmax over depth, and the layout of the pooling.
//
// In: logits float32 NHWC (the first D values of a pixel) and context fp16 NHWC (C values). Out: fp16
// probabilities [columns][D][rows] and context [columns][C][rows], a column being an image column of a camera
// and rows its pixels from the top, with zeros up to `rows`. A camera without an image leaves zeros. A block
// has a column; it transposes in shared memory.

#include "include/common.cuh"
#include "include/view.cuh"

namespace bev {

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;

struct DepthSoftmaxParams {
    const ViewFrame* frame;
    const float* logits;  // [N][h][w][logit_pitch]
    const u16* context;   // [N][h][w][context_pitch], first channel
    u32* probability;     // pairs of rows
    u32* lifted;          // pairs of rows
    u32 height;
    u32 width;
    u32 depths;
    u32 channels;
    u32 logit_pitch;
    u32 context_pitch;
    u32 row_pairs;  // rows / 2
    u32 spare;
};

// Rows of a transposed array are this many pairs apart, so that lanes hit different banks.
__device__ __forceinline__ u32 staged_pairs(const DepthSoftmaxParams& p) { return p.row_pairs + 1; }

__device__ __forceinline__ float lowest() { return __uint_as_float(0xff800000u); }

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    }
    return value;
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, step);
    }
    return value;
}

// Probabilities of one pixel; lane l has depths l, l + 32 and so on.
template <u32 VALUES>
__device__ __forceinline__ void softmax(const DepthSoftmaxParams& p, const float* logits, u16* staged, u32 v) {
    const u32 lane = threadIdx.x % WARP;
    float value[VALUES], most = lowest(), sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < VALUES; ++i) {
        const u32 depth = i * WARP + lane;
        value[i] = depth < p.depths ? logits[depth] : lowest();
    }
#pragma unroll
    for (u32 i = 0; i < VALUES; ++i) {
        most = fmaxf(most, value[i]);
    }
    most = warp_max(most);
#pragma unroll
    for (u32 i = 0; i < VALUES; ++i) {
        const u32 depth = i * WARP + lane;
        value[i] = depth < p.depths ? expf(value[i] - most) : 0.0f;
        sum += value[i];
    }
    sum = warp_sum(sum);
#pragma unroll
    for (u32 i = 0; i < VALUES; ++i) {
        const u32 depth = i * WARP + lane;
        if (depth < p.depths) {
            staged[depth * 2 * staged_pairs(p) + v] = to_half(value[i] / sum);
        }
    }
}

__device__ __forceinline__ void stage_context(const DepthSoftmaxParams& p, u64 first, u16* staged) {
    const u32 eighths = p.channels / 8;
    for (u32 i = threadIdx.x; i < p.height * eighths; i += THREADS) {
        const u32 v = i / eighths, channel = i % eighths * 8;
        const u64 pixel = first + static_cast<u64>(v) * p.width;
        const uint4 eight = *reinterpret_cast<const uint4*>(p.context + pixel * p.context_pitch + channel);
        const u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            staged[(channel + 2 * j) * 2 * staged_pairs(p) + v] = static_cast<u16>(pairs[j]);
            staged[(channel + 2 * j + 1) * 2 * staged_pairs(p) + v] = static_cast<u16>(pairs[j] >> 16);
        }
    }
}

__device__ __forceinline__ void write_lines(const DepthSoftmaxParams& p, u32* out, const u32* staged, u32 lines) {
    for (u32 i = threadIdx.x; i < lines * p.row_pairs; i += THREADS) {
        out[i] = staged[i / p.row_pairs * staged_pairs(p) + i % p.row_pairs];
    }
}

template <u32 VALUES>
__device__ __forceinline__ void softmax_column(const DepthSoftmaxParams& p) {
    extern __shared__ u32 staged[];
    const u32 camera = blockIdx.x / p.width, u = blockIdx.x % p.width, lines = p.depths + p.channels;
    u32* probability = p.probability + static_cast<u64>(blockIdx.x) * p.depths * p.row_pairs;
    u32* lifted = p.lifted + static_cast<u64>(blockIdx.x) * p.channels * p.row_pairs;
    if ((p.frame->active_cameras >> camera & 1) == 0) {
        for (u32 i = threadIdx.x; i < p.depths * p.row_pairs; i += THREADS) {
            probability[i] = 0;
        }
        for (u32 i = threadIdx.x; i < p.channels * p.row_pairs; i += THREADS) {
            lifted[i] = 0;
        }
        return;
    }
    // Only the rows beyond the image need zeros.
    const u32 first_pair = p.height / 2, pairs = p.row_pairs - first_pair;
    for (u32 i = threadIdx.x; i < lines * pairs; i += THREADS) {
        staged[i / pairs * staged_pairs(p) + first_pair + i % pairs] = 0;
    }
    __syncthreads();
    const u64 first = static_cast<u64>(camera) * p.height * p.width + u;
    u16* context = reinterpret_cast<u16*>(staged + p.depths * staged_pairs(p));
    stage_context(p, first, context);
#pragma unroll 2
    for (u32 v = threadIdx.x / WARP; v < p.height; v += WARPS) {
        const u64 pixel = first + static_cast<u64>(v) * p.width;
        softmax<VALUES>(p, p.logits + pixel * p.logit_pitch, reinterpret_cast<u16*>(staged), v);
    }
    __syncthreads();
    write_lines(p, probability, staged, p.depths);
    write_lines(p, lifted, staged + p.depths * staged_pairs(p), p.channels);
}

extern "C" __global__ void __launch_bounds__(THREADS) depth_softmax_4(PARAMS DepthSoftmaxParams p) {
    begin_in_order();
    softmax_column<4>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) depth_softmax_8(PARAMS DepthSoftmaxParams p) {
    begin_in_order();
    softmax_column<8>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) depth_softmax_16(PARAMS DepthSoftmaxParams p) {
    begin_in_order();
    softmax_column<16>(p);
}

}  // namespace bev
