// What the query kernels share: a block holds R queries, its eight warps multiply them by weight matrices
// in float32, and LayerNorm over 128 channels.
#pragma once
#include "include/common.cuh"

namespace bev {

constexpr u32 CHANNELS = 128;
constexpr u32 HEADS = 8;
constexpr u32 DEPTH = CHANNELS / HEADS;
constexpr u32 FFN = 256;
constexpr u32 PREDICTION = 64;
constexpr u32 STACKED = 6 * PREDICTION;
constexpr u32 BOX_CHANNELS = 10;
constexpr u32 ROW_THREADS = 256;
constexpr u32 ROW_WARPS = ROW_THREADS / WARP;
constexpr float LOG2_E = 1.4426950408889634f;
#define INFINITY_F __int_as_float(0x7f800000)

// A linear layer: weight [in][out], bias [out].
struct Dense {
    const float* weight;
    const float* bias;
};

struct DecoderParams {
    // What the frame brings.
    const u16* shared;   // fp16 [cells][128]
    const u16* key_values;  // fp16 [cells][256]
    const i32* index;    // [P]
    const i32* label;    // [P]
    const float* heat;   // [P]
    // Weights.
    const float* class_table;  // [K][128]
    Dense position[2];
    Dense self_in;   // 384 columns: query (scaled), key, value
    Dense self_out;
    Dense cross_query;
    Dense cross_out;
    Dense ffn[2];
    Dense norms[3];      // scale, bias
    Dense heads_first;   // 384 columns
    Dense heads_second;  // rows [10 + K][64], not transposed
    // Between the kernels.
    float* query;     // [P][128]
    float* placed;    // [P][128]: position embedding
    float* self_qkv;  // [P][384]
    float* attended;  // [P][128]: after self-attention
    float* cross;     // [P][128]: query of the cross-attention
    float* part;      // [splits][P][128]
    float2* part_sum; // [splits][P][8]: reference, sum
    float* after_cross;  // [P][128]
    float* out;       // [P][128]
    // Results.
    float* boxes;  // [10][P]
    float* score;  // [P]
    i32* label_out;  // [P]
    u32 proposals, cells, columns, classes;
    u32 splits, pad;
};

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float warp_sum(float x) {
    for (u32 step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (u32 step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Four weights. Volatile, so that the loads of a stretch stay in front of its sums.
__device__ __forceinline__ float4 load_now(const float* from) {
    float4 four;
    asm volatile("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w)
                 : "l"(from));
    return four;
}

// x [K][R] times N columns of a matrix with rows of `stride` floats. Warps share the sum over K; the parts
// go to `parts` [8 * 128 / N][R][N].
template <u32 R, u32 K, u32 N>
__device__ __forceinline__ void multiply(const float* __restrict__ weight, u32 stride, const float* x, float* parts) {
    constexpr u32 GROUPS = N / CHANNELS, SLICES = ROW_WARPS / GROUPS, DEEP = K / SLICES;
    constexpr u32 AHEAD = 16;  // loads under way at once
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 column = warp % GROUPS * CHANNELS + lane * 4, slice = warp / GROUPS;
    const float* from = weight + slice * DEEP * stride + column;
    const float* in = x + slice * DEEP * R;
    float sums[R][4] = {};
#pragma unroll 1
    for (u32 start = 0; start < DEEP; start += AHEAD) {
        float4 weights[AHEAD];
#pragma unroll
        for (u32 k = 0; k < AHEAD; ++k)
            weights[k] = load_now(from + (start + k) * stride);
#pragma unroll
        for (u32 k = 0; k < AHEAD; ++k) {
            float4 w = weights[k];
#pragma unroll
            for (u32 four = 0; four < R / 4; ++four) {
                float4 a = reinterpret_cast<const float4*>(in + (start + k) * R)[four];
                float rows[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
                for (u32 i = 0; i < 4; ++i) {
                    float* sum = sums[four * 4 + i];
                    sum[0] = fmaf(rows[i], w.x, sum[0]);
                    sum[1] = fmaf(rows[i], w.y, sum[1]);
                    sum[2] = fmaf(rows[i], w.z, sum[2]);
                    sum[3] = fmaf(rows[i], w.w, sum[3]);
                }
            }
        }
    }
#pragma unroll
    for (u32 row = 0; row < R; ++row)
        *reinterpret_cast<float4*>(parts + (slice * R + row) * N + column) =
            make_float4(sums[row][0], sums[row][1], sums[row][2], sums[row][3]);
}

// Adds the parts of `multiply` and the bias and hands every (row, column, value) on.
template <u32 R, u32 N, typename Use>
__device__ __forceinline__ void gather(const float* parts, const float* bias, Use use) {
    constexpr u32 SLICES = ROW_WARPS * CHANNELS / N;
    __syncthreads();
    for (u32 i = threadIdx.x; i < R * N; i += ROW_THREADS) {
        u32 row = i / N, column = i % N;
        float sum = 0.0f;
#pragma unroll
        for (u32 slice = 0; slice < SLICES; ++slice) sum += parts[(slice * R + row) * N + column];
        use(row, column, sum + __ldg(bias + column));
    }
    __syncthreads();
}

// LayerNorm of rows [R][128] in place, one warp a row.
template <u32 R, typename Use>
__device__ __forceinline__ void normalize(float* rows, Dense norm, Use use) {
    u32 lane = threadIdx.x % WARP, row = threadIdx.x / WARP;
    if (row < R) {
        float values[4], sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) sum += values[i] = rows[row * CHANNELS + i * WARP + lane];
        float mean = warp_sum(sum) * (1.0f / CHANNELS);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            values[i] -= mean;
            squares = fmaf(values[i], values[i], squares);
        }
        float variance = warp_sum(squares) * (1.0f / CHANNELS);
        float factor = 1.0f / sqrtf(variance + 1e-5f);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            u32 column = i * WARP + lane;
            float value = values[i] * factor * __ldg(norm.weight + column) + __ldg(norm.bias + column);
            rows[row * CHANNELS + column] = value;
            use(row, column, value);
        }
    }
    __syncthreads();
}

}  // namespace bev
