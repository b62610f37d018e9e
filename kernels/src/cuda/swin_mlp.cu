// The MLP of a Swin block in one kernel: out = x + W2 gelu(W1 norm(x) + b1) + b2, norm(x) = (x - mean) /
// deviation; its scale and bias are in W1 and b1. fp16 in and out, fp32 sums.
//
// A warp keeps 16 TILES rows in registers: first as normalised left operands, then as sums of the result.
// Hidden channels pass by 32 at a time: their part of W1 and of W2 comes through a ring in shared memory that
// the eight warps share, and a lane's hidden values are at once its left operand of the second product. `in`
// and `out` may be the same map.
// Weights: fp16 [C / 8 chunks][W1: C / 32][4][lane][8], [W2: C / 8][lane][8], see `pack_streamed`.
#include "include/epilogue.cuh"
#include "include/swin_tiles.cuh"

namespace bev {

constexpr u32 MLP_WARPS = 8;
constexpr u32 MLP_THREADS = MLP_WARPS * WARP;
constexpr u32 MLP_STAGES = 3;
constexpr u32 CHUNK = 32;

struct SwinMlpParams {
    const u16* in;
    const u16* weights;
    const float* hidden_bias;  // [4 C]
    const float* out_bias;     // [C]
    u16* out;
    u32 in_pitch, out_pitch;
    u32 rows;
    float epsilon;
};

__device__ __forceinline__ void unpack(const uint4& eight, float* v) {
    const u32 bits[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        v[2 * i] = half2_low(bits[i]);
        v[2 * i + 1] = half2_high(bits[i]);
    }
}

template <u32 C, u32 TILES>
struct SwinMlp {
    static constexpr u32 HALVES = C / CHUNK;
    static constexpr u32 BLOCKS = C / 8;
    static constexpr u32 CHUNKS = 4 * C / CHUNK;
    static constexpr u32 PART_BYTES = C * CHUNK * 2;
    static constexpr u32 STAGE_BYTES = 2 * PART_BYTES;
    static constexpr u32 ROWS = MLP_WARPS * TILES * 16;

    uint4 low[TILES][HALVES], high[TILES][HALVES];
    float sums[TILES][BLOCKS][4];

    // A quarter of a row, 8 of every 32 channels, less its mean and over its deviation; null is zeros. The
    // lanes of a quad hold a row.
    __device__ __forceinline__ void normalize(uint4 (&to)[HALVES], const u16* row, float epsilon) {
        float v[HALVES * 8], sum = 0.0f;
#pragma unroll
        for (u32 h = 0; h < HALVES; ++h) unpack(load16_or_zero(row ? row + h * CHUNK : nullptr), v + h * 8);
        const float first = __shfl_sync(ALL_LANES, v[0], threadIdx.x % WARP / 4 * 4);
#pragma unroll
        for (u32 i = 0; i < HALVES * 8; ++i) {
            v[i] -= first;
            sum += v[i];
        }
        const float mean = quad_sum(sum) * (1.0f / C);
        sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < HALVES * 8; ++i) {
            v[i] -= mean;
            sum = fmaf(v[i], v[i], sum);
        }
        const float factor = rsqrtf(quad_sum(sum) * (1.0f / C) + epsilon);
#pragma unroll
        for (u32 h = 0; h < HALVES; ++h) {
            const float* eight = v + h * 8;
            to[h] = make_uint4(to_half2(eight[0] * factor, eight[1] * factor), to_half2(eight[2] * factor, eight[3] * factor),
                               to_half2(eight[4] * factor, eight[5] * factor), to_half2(eight[6] * factor, eight[7] * factor));
        }
    }

    // Both products of 32 hidden channels.
    __device__ __forceinline__ void step(const u8* stage, const float* bias) {
        const u32 lane = threadIdx.x % WARP;
        const float4 four[2] = {reinterpret_cast<const float4*>(bias)[lane % 4 * 2],
                                reinterpret_cast<const float4*>(bias)[lane % 4 * 2 + 1]};
        const float start[8] = {four[0].x, four[0].y, four[0].z, four[0].w, four[1].x, four[1].y, four[1].z, four[1].w};
        float hidden[TILES][4][4];
#pragma unroll
        for (u32 m = 0; m < TILES; ++m)
#pragma unroll
            for (u32 i = 0; i < 16; ++i) hidden[m][i / 4][i % 4] = start[i / 4 * 2 + i % 2];
#pragma unroll
        for (u32 h = 0; h < HALVES; ++h)
#pragma unroll
            for (u32 j = 0; j < 4; ++j) {
                const uint4 b = load16(stage + (h * 4 + j) * 512 + lane * 16);
#pragma unroll
                for (u32 m = 0; m < TILES; ++m) mma_pair(hidden[m][j], low[m][h], high[m][h], b);
            }
        u32 left[TILES][2][4];
#pragma unroll
        for (u32 m = 0; m < TILES; ++m)
#pragma unroll
            for (u32 i = 0; i < 8; ++i) {
                const float* pair = hidden[m][i % 4] + i / 4 * 2;
                left[m][i / 4][i % 4] = to_half2(gelu(pair[0]), gelu(pair[1]));
            }
#pragma unroll
        for (u32 n = 0; n < BLOCKS; ++n) {
            const uint4 b = load16(stage + PART_BYTES + n * 512 + lane * 16);
#pragma unroll
            for (u32 m = 0; m < TILES; ++m) {
                const u32(&a)[2][4] = left[m];
                mma(sums[m][n], a[0][0], a[1][0], a[0][1], a[1][1], b.x, b.y);
                mma(sums[m][n], a[0][2], a[1][2], a[0][3], a[1][3], b.z, b.w);
            }
        }
    }

    // Adds bias and x to the sums of one row and stores it.
    __device__ __forceinline__ void finish(const SwinMlpParams& p, u32 row, u32 m, u32 half) {
        const u32 first = threadIdx.x % 4 * 8;
#pragma unroll
        for (u32 group = 0; group < HALVES; ++group) {
            const u32 channel = group * CHUNK + first;
            const float4 four[2] = {*reinterpret_cast<const float4*>(p.out_bias + channel),
                                    *reinterpret_cast<const float4*>(p.out_bias + channel + 4)};
            float v[8] = {four[0].x, four[0].y, four[0].z, four[0].w, four[1].x, four[1].y, four[1].z, four[1].w};
#pragma unroll
            for (u32 i = 0; i < 8; ++i) v[i] += sums[m][group * 4 + i / 2][2 * half + i % 2];
            add_half(v, p.in + static_cast<u64>(row) * p.in_pitch + channel);
            store_half(p.out + static_cast<u64>(row) * p.out_pitch + channel, v);
        }
    }

    __device__ __forceinline__ void run(const SwinMlpParams& p, u8* shared) {
        const u32 lane = threadIdx.x % WARP, ring = shared_address(shared);
        float* bias = reinterpret_cast<float*>(shared + MLP_STAGES * STAGE_BYTES);
        auto fetch = [&](u32 chunk) {
            if (chunk < CHUNKS) {
                const u8* from = reinterpret_cast<const u8*>(p.weights) + chunk * STAGE_BYTES;
                const u32 to = ring + chunk % MLP_STAGES * STAGE_BYTES;
#pragma unroll
                for (u32 at = 0; at < STAGE_BYTES; at += MLP_THREADS * 16)
                    copy16_async(to + at + threadIdx.x * 16, from + at + threadIdx.x * 16);
            }
            commit_copies();
        };
        static_assert(STAGE_BYTES % (MLP_THREADS * 16) == 0, "whole copies");
#pragma unroll
        for (u32 chunk = 0; chunk < MLP_STAGES - 1; ++chunk) fetch(chunk);
        for (u32 i = threadIdx.x; i < 4 * C; i += MLP_THREADS) bias[i] = p.hidden_bias[i];
        const u32 first = (blockIdx.x * MLP_WARPS + threadIdx.x / WARP) * TILES * 16 + lane / 4;
#pragma unroll
        for (u32 m = 0; m < TILES; ++m) {
            const u32 rows[2] = {first + m * 16, first + m * 16 + 8};
            const u16* from = p.in + lane % 4 * 8;
            normalize(low[m], rows[0] < p.rows ? from + static_cast<u64>(rows[0]) * p.in_pitch : nullptr, p.epsilon);
            normalize(high[m], rows[1] < p.rows ? from + static_cast<u64>(rows[1]) * p.in_pitch : nullptr, p.epsilon);
#pragma unroll
            for (u32 i = 0; i < BLOCKS * 4; ++i) sums[m][i / 4][i % 4] = 0.0f;
        }
#pragma unroll 1
        for (u32 chunk = 0; chunk < CHUNKS; ++chunk) {
            wait_copies<MLP_STAGES - 2>();
            __syncthreads();
            fetch(chunk + MLP_STAGES - 1);
            step(shared + chunk % MLP_STAGES * STAGE_BYTES, bias + chunk * CHUNK);
        }
#pragma unroll
        for (u32 m = 0; m < TILES; ++m)
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                const u32 row = first + m * 16 + half * 8;
                if (row < p.rows) finish(p, row, m, half);
            }
    }
};

}  // namespace bev

using namespace bev;

extern __shared__ uint4 swin_mlp_shared[];

extern "C" __global__ void __launch_bounds__(MLP_THREADS) swin_mlp_96(PARAMS SwinMlpParams p) {
    begin_in_order();
    SwinMlp<96, 2>().run(p, reinterpret_cast<u8*>(swin_mlp_shared));
}

extern "C" __global__ void __launch_bounds__(MLP_THREADS) swin_mlp_192(PARAMS SwinMlpParams p) {
    begin_in_order();
    SwinMlp<192, 1>().run(p, reinterpret_cast<u8*>(swin_mlp_shared));
}
