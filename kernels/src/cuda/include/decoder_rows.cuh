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
    u32 splits;
    u32 channels;     // real ones of a query
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

// Weights come through a ring in shared memory of which every thread has its own places: it reads only
// what it copied itself, so that copies run ahead over barriers and need none.
constexpr u32 RING = 8;  // rows of weights of a thread
constexpr u32 RING_FLOATS = RING * ROW_THREADS * 4;
constexpr u32 MAX_SPLITS = 96;

// The rows of a matrix that this thread multiplies, four columns of each; none at null.
struct Rows {
    const float* from;
    u32 stride;
};

template <u32 K, u32 N>
__device__ __forceinline__ Rows rows_of(const float* weight, u32 stride) {
    constexpr u32 GROUPS = N / CHANNELS, DEEP = K * GROUPS / ROW_WARPS;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    return {weight + warp / GROUPS * DEEP * stride + warp % GROUPS * CHANNELS + lane * 4, stride};
}

// Starts copying rows `row` and the one behind it.
__device__ __forceinline__ void copy_two(Rows rows, u32 row, float* ring) {
    if (rows.from != nullptr) {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            u32 to = static_cast<u32>(__cvta_generic_to_shared(ring + ((row + i) % RING * ROW_THREADS + threadIdx.x) * 4));
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(rows.from + (row + i) * rows.stride)
                         : "memory");
        }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
}

__device__ __forceinline__ void stream(Rows rows, float* ring) {
#pragma unroll
    for (u32 row = 0; row < RING; row += 2) copy_two(rows, row, ring);
}

// x [K][R] times N columns of a matrix whose first rows are on their way; leaves those of `next` on theirs.
// Warps share the sum over K; the parts go to `parts` [8 * 128 / N][R][N].
template <u32 R, u32 K, u32 N>
__device__ __forceinline__ void multiply(Rows rows, const float* x, float* parts, float* ring, Rows next) {
    constexpr u32 GROUPS = N / CHANNELS, SLICES = ROW_WARPS / GROUPS, DEEP = K / SLICES;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 column = warp % GROUPS * CHANNELS + lane * 4, slice = warp / GROUPS;
    const float* in = x + slice * DEEP * R;
    float sums[R][4] = {};
#pragma unroll
    for (u32 row = 0; row < DEEP; row += 2) {
        asm volatile("cp.async.wait_group %0;" ::"n"(RING / 2 - 1) : "memory");
#pragma unroll
        for (u32 k = row; k < row + 2; ++k) {
            float4 w = reinterpret_cast<const float4*>(ring)[k % RING * ROW_THREADS + threadIdx.x];
#pragma unroll
            for (u32 four = 0; four < R / 4; ++four) {
                float4 a = reinterpret_cast<const float4*>(in + k * R)[four];
                float values[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
                for (u32 i = 0; i < 4; ++i) {
                    float* sum = sums[four * 4 + i];
                    sum[0] = fmaf(values[i], w.x, sum[0]);
                    sum[1] = fmaf(values[i], w.y, sum[1]);
                    sum[2] = fmaf(values[i], w.z, sum[2]);
                    sum[3] = fmaf(values[i], w.w, sum[3]);
                }
            }
        }
        if (row + RING < DEEP) copy_two(rows, row + RING, ring);
        else copy_two(next, row + RING - DEEP, ring);
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
    u32 column = threadIdx.x % N;
    float offset = __ldg(bias + column);
    __syncthreads();
#pragma unroll
    for (u32 row = threadIdx.x / N; row < R; row += ROW_THREADS / N) {
        float sum = 0.0f;
#pragma unroll
        for (u32 slice = 0; slice < SLICES; ++slice) sum += parts[(slice * R + row) * N + column];
        use(row, column, sum + offset);
    }
    __syncthreads();
}

// LayerNorm of the first `real` channels of rows [R][128] in place, one warp a row; the others are zero and
// stay so.
template <u32 R, typename Use>
__device__ __forceinline__ void normalize(float* rows, Dense norm, u32 real, Use use) {
    u32 lane = threadIdx.x % WARP, row = threadIdx.x / WARP;
    if (row < R) {
        float values[4], scales[4], shifts[4], sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            scales[i] = __ldg(norm.weight + i * WARP + lane);
            shifts[i] = __ldg(norm.bias + i * WARP + lane);
        }
#pragma unroll
        for (u32 i = 0; i < 4; ++i) sum += values[i] = rows[row * CHANNELS + i * WARP + lane];
        const float share = 1.0f / static_cast<float>(real);
        float mean = warp_sum(sum) * share;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            values[i] = i * WARP + lane < real ? values[i] - mean : 0.0f;
            squares = fmaf(values[i], values[i], squares);
        }
        float variance = warp_sum(squares) * share;
        float factor = 1.0f / sqrtf(variance + 1e-5f);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            u32 column = i * WARP + lane;
            float value = values[i] * factor * scales[i] + shifts[i];
            rows[row * CHANNELS + column] = value;
            use(row, column, value);
        }
    }
    __syncthreads();
}

}  // namespace bev
