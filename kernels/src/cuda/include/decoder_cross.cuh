// Cross-attention of the queries to the cells of the BEV map, on tensor cores.
//
// A block takes up to MT tiles of 16 queries and a contiguous part of the cells; a warp is a head. Keys and
// values of 32 cells at a time come through shared memory. Scores are in powers of two and float32; the
// query is split into two fp16 parts, so that only the keys' rounding counts. Weights are relative to a
// reference that lies 2^10 below the largest score seen, so that fp16 neither overflows nor loses the tail.
// Out: unnormalised sums, their weight and the reference for each part of the cells.
#pragma once
#include "include/decoder_rows.cuh"

namespace bev {

constexpr u32 STEP = 32;                 // cells at a time
constexpr u32 ROW_CHUNKS = 32;           // 16-byte pieces of a cell's keys and values
constexpr u32 STEP_BYTES = STEP * ROW_CHUNKS * 16;
constexpr u32 BUFFERS = 3;               // one is read while two are filled
constexpr float CROSS_LIFT = 10.0f;      // largest score above the reference when it is set
constexpr float CROSS_LIMIT = 14.0f;     // and before it is set anew: 2^14 is in fp16's range
constexpr u32 HALF_ONES = 0x3c003c00u;

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void copy_16(u32 to, const void* from, bool present) {
    u32 bytes = present ? 16u : 0u;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void load_matrices(u32* to, u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from));
}

__device__ __forceinline__ void load_matrices_turned(u32* to, u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from));
}

// sum = start + a [16 x 16] * b [16 x 8], fp16 with float32 sums.
__device__ __forceinline__ void multiply_from(float* sum, const float* start, const u32* a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%10, %11, %12, %13};"
        : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(start[0]), "f"(start[1]),
          "f"(start[2]), "f"(start[3]));
}

__device__ __forceinline__ void multiply_add(float* sum, const u32* a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Where chunk `chunk` of cell `cell` of a step lies: turned so that eight cells are in eight banks.
__device__ __forceinline__ u32 chunk_at(u32 cell, u32 chunk) {
    return (cell * ROW_CHUNKS + (chunk ^ (cell & 7u))) * 16;
}

// Starts copying a step; none from `end` on.
__device__ __forceinline__ void fetch(const DecoderParams& p, u32 step, u32 end, u32 to) {
#pragma unroll
    for (u32 i = 0; step < end && i < STEP * ROW_CHUNKS / ROW_THREADS; ++i) {
        u32 piece = i * ROW_THREADS + threadIdx.x;
        u32 cell = piece / ROW_CHUNKS, chunk = piece % ROW_CHUNKS, at = step * STEP + cell;
        bool present = at < p.cells;
        const u16* from = p.key_values + static_cast<u64>(present ? at : 0) * 2 * CHANNELS + chunk * 8;
        copy_16(to + chunk_at(cell, chunk), from, present);
    }
    asm volatile("cp.async.commit_group;");
}

// Puts the two fp16 parts of the queries of a tile in fragment order, for one head; absent ones are 0.
__device__ __forceinline__ void split_query(const DecoderParams& p, u32 tile, u32 head, uint4* parts, bool present) {
    u32 lane = threadIdx.x % WARP;
    u32 high[4], low[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        u32 row = tile * 16 + lane / 4 + i % 2 * 8;
        u32 column = head * DEPTH + lane % 4 * 2 + i / 2 * 8;
        float2 two = make_float2(0.0f, 0.0f);
        if (present && row < p.proposals) two = *reinterpret_cast<const float2*>(p.cross + row * CHANNELS + column);
        two.x *= LOG2_E;
        two.y *= LOG2_E;
        high[i] = to_half2(two.x, two.y);
        low[i] = to_half2(two.x - half2_low(high[i]), two.y - half2_high(high[i]));
    }
    parts[lane] = make_uint4(high[0], high[1], high[2], high[3]);
    parts[WARP + lane] = make_uint4(low[0], low[1], low[2], low[3]);
}

struct CrossState {
    float mixed[2][4];   // rows lane / 4 and + 8; channels 2 (lane % 4), + 1 of both halves of the head
    float sum[4];        // of the weights, in every column
    float negative[4];   // minus the reference of the row, for the same places
};

// Sets the references of a tile anew, where a score is far above the old ones or there are none yet.
__device__ __forceinline__ void lift(CrossState& state, float (&scores)[4][4], bool first) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        float most = fmaxf(scores[0][2 * half], scores[0][2 * half + 1]);
#pragma unroll
        for (u32 n = 1; n < 4; ++n) most = fmaxf(most, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
        float up = first || most > CROSS_LIMIT ? most - CROSS_LIFT : 0.0f;
        float factor = first ? 1.0f : exp2_fast(-up);
#pragma unroll
        for (u32 i = 2 * half; i < 2 * half + 2; ++i) {
            state.negative[i] -= up;
            state.mixed[0][i] *= factor;
            state.mixed[1][i] *= factor;
            state.sum[i] *= factor;
#pragma unroll
            for (u32 n = 0; n < 4; ++n) scores[n][i] -= up;
        }
    }
}

// Scores of one tile against 32 cells, relative to its references.
__device__ __forceinline__ void score_tile(const CrossState& state, const uint4* query, const u32 (&keys)[8],
                                           float (&scores)[4][4]) {
    u32 lane = threadIdx.x % WARP;
    uint4 four = query[lane];
    u32 high[4] = {four.x, four.y, four.z, four.w};
    four = query[WARP + lane];
    u32 low[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (u32 n = 0; n < 4; ++n) multiply_from(scores[n], state.negative, low, keys[2 * n], keys[2 * n + 1]);
#pragma unroll
    for (u32 n = 0; n < 4; ++n) multiply_add(scores[n], high, keys[2 * n], keys[2 * n + 1]);
}

// Adds the values of 32 cells by the powers of two of their scores.
__device__ __forceinline__ void mix_tile(CrossState& state, const float (&scores)[4][4], const u32 (&values)[8]) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        u32 weights[4];
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const float* two = &scores[2 * half + i / 2][i % 2 * 2];
            weights[i] = to_half2(exp2_fast(two[0]), exp2_fast(two[1]));
        }
        multiply_add(state.mixed[0], weights, values[4 * half], values[4 * half + 1]);
        multiply_add(state.mixed[1], weights, values[4 * half + 2], values[4 * half + 3]);
        multiply_add(state.sum, weights, HALF_ONES, HALF_ONES);
    }
}

// `TILES` tiles together, so that there is always independent work.
template <u32 TILES>
__device__ __forceinline__ void cross_tiles(CrossState* states, const uint4* queries, const u32 (&keys)[8],
                                            const u32 (&values)[8], u32 present, bool first) {
    u32 lane = threadIdx.x % WARP;
    float scores[TILES][4][4], most = -INFINITY_F;
#pragma unroll
    for (u32 m = 0; m < TILES; ++m) score_tile(states[m], queries + m * 2 * WARP, keys, scores[m]);
    if (present < STEP) {
#pragma unroll
        for (u32 i = 0; i < 16; ++i) {
            bool absent = i / 4 * 8 + lane % 4 * 2 + i % 2 >= present;
#pragma unroll
            for (u32 m = 0; m < TILES; ++m)
                if (absent) scores[m][i / 4][i % 4] = -INFINITY_F;
        }
    }
#pragma unroll
    for (u32 m = 0; m < TILES; ++m) {
        float own = -INFINITY_F;
#pragma unroll
        for (u32 i = 0; i < 16; ++i) own = fmaxf(own, scores[m][i / 4][i % 4]);
        most = fmaxf(most, own);
    }
    if (first || __any_sync(ALL_LANES, most > CROSS_LIMIT)) {
#pragma unroll
        for (u32 m = 0; m < TILES; ++m) lift(states[m], scores[m], first);
    }
#pragma unroll
    for (u32 m = 0; m < TILES; ++m) mix_tile(states[m], scores[m], values);
}

__device__ __forceinline__ void store_part(const DecoderParams& p, const CrossState& state, u32 tile, u32 head) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        u32 row = tile * 16 + lane / 4 + half * 8;
        if (row >= p.proposals) continue;
        u64 at = static_cast<u64>(blockIdx.y) * p.proposals + row;
        float* to = p.part + at * CHANNELS + head * DEPTH + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(state.mixed[0][2 * half], state.mixed[0][2 * half + 1]);
        *reinterpret_cast<float2*>(to + 8) = make_float2(state.mixed[1][2 * half], state.mixed[1][2 * half + 1]);
        if (lane % 4 == 0)
            p.part_sum[at * HEADS + head] = make_float2(-state.negative[2 * half], state.sum[2 * half]);
    }
}

// MT tiles a block, of which TOGETHER and then the rest are worked on at the same time.
template <u32 MT, u32 TOGETHER>
__device__ __forceinline__ void cross_attention(const DecoderParams& p, u8* memory) {
    u32 lane = threadIdx.x % WARP, head = threadIdx.x / WARP;
    u32 tiles = ceil_div(p.proposals, 16), first_tile = blockIdx.x * tiles / gridDim.x;
    u32 here = (blockIdx.x + 1) * tiles / gridDim.x - first_tile;  // at most MT
    uint4* queries = reinterpret_cast<uint4*>(memory + BUFFERS * STEP_BYTES) + head * MT * 2 * WARP;
    u32 steps = ceil_div(p.cells, STEP), buffers = shared_address(memory);
    u32 begin = static_cast<u32>(static_cast<u64>(blockIdx.y) * steps / p.splits);
    u32 end = static_cast<u32>(static_cast<u64>(blockIdx.y + 1) * steps / p.splits);
    fetch(p, begin, end, buffers);
    fetch(p, begin + 1, end, buffers + STEP_BYTES);
    CrossState state[MT];
#pragma unroll
    for (u32 m = 0; m < MT; ++m) {
        state[m] = CrossState{};
        split_query(p, first_tile + m, head, queries + m * 2 * WARP, m < here);
    }
    __syncwarp();
    for (u32 step = begin; step < end; ++step) {
        u32 buffer = buffers + (step - begin) % BUFFERS * STEP_BYTES;
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        fetch(p, step + 2, end, buffers + (step + 2 - begin) % BUFFERS * STEP_BYTES);
        u32 keys[8], values[8];
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            // Keys: matrices (cells, channels) = (0, 0), (0, 8), (8, 0), (8, 8); values: the first two of
            // the same channels.
            u32 cell = half * 16 + lane % 8;
            load_matrices(keys + 4 * half, buffer + chunk_at(cell + lane / 16 * 8, head * 2 + lane / 8 % 2));
            load_matrices_turned(values + 4 * half,
                                 buffer + chunk_at(cell + lane / 8 % 2 * 8, ROW_CHUNKS / 2 + head * 2 + lane / 16));
        }
        u32 present = min(STEP, p.cells - step * STEP);
        bool first = step == begin;
        cross_tiles<TOGETHER>(state, queries, keys, values, present, first);
        cross_tiles<MT - TOGETHER>(state + TOGETHER, queries + TOGETHER * 2 * WARP, keys, values, present, first);
    }
#pragma unroll
    for (u32 m = 0; m < MT; ++m)
        if (m < here) store_part(p, state[m], first_tile + m, head);
}

}  // namespace bev
