// Multi-head attention inside (shifted) windows of a token map, fp16 to fp16.
//
// out = softmax2(q k^T + bias + mask) v for each window and head, softmax2 with powers of two: the query
// carries log2 e as well as the scale, the bias log2 e. Tokens in the padding are keys like any other. Keys
// of another part of a rolled window get -100 log2 e.
//
// window_attention_7: 7x7 tokens, heads of 32 channels. A warp is one head of one window and needs no other
// warp: it copies the 49 rows of query, key and value (64 bytes each) into its shared memory and multiplies
// by tensor cores, 16 queries at a time. Bias: fp16 [head][4 tiles of queries][832], a tile's values in the
// order in which lanes hold scores: [3 pairs of key tiles][lane][8], then [lane][2] for the 49th key.
//
// window_attention_any: up to 8x8 tokens and 64 channels, float32 products, a block for a head of a window.
// Bias: float32 [head][(2 window - 1)^2].
#include "include/epilogue.cuh"
#include "include/swin_tiles.cuh"
#include "include/swin_window.cuh"

namespace bev {

constexpr u32 EDGE = 7;
constexpr u32 TOKENS = EDGE * EDGE;
constexpr u32 LAST = TOKENS - 1;
constexpr u32 DEPTH = 32;
constexpr u32 UNITS = 4;                        // warps of a block
constexpr u32 ROW_STEPS = ceil_div(TOKENS, 8);  // a warp copies 8 rows at once
constexpr u32 ROW_BYTES = DEPTH * 2;
constexpr u32 PART_BYTES = TOKENS * ROW_BYTES;
constexpr u32 UNIT_BYTES = 3 * PART_BYTES;
constexpr u32 BIAS_TILE = 3 * WARP * 8 + WARP * 2;
constexpr float MASKED = -100.0f * LOG2_E;

// Where 8 channels of a row are: the eight rows of a tile are in different banks.
__device__ __forceinline__ u32 place_of(u32 row, u32 eight) {
    return row * ROW_BYTES + ((eight ^ (row >> 1 & 3)) << 4);
}

// Scores of 16 queries start as their bias; keys that do not exist are minus infinity.
__device__ __forceinline__ void start_scores(float (&scores)[7][4], const u16* tile, u32 lane) {
#pragma unroll
    for (u32 pair = 0; pair < 3; ++pair) {
        const uint4 eight = load16(tile + (pair * WARP + lane) * 8);
        const u32 bits[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            scores[2 * pair + i / 2][i % 2 * 2] = half2_low(bits[i]);
            scores[2 * pair + i / 2][i % 2 * 2 + 1] = half2_high(bits[i]);
        }
    }
    const u32 last = reinterpret_cast<const u32*>(tile + 3 * WARP * 8)[lane];
    const bool holds = lane % 4 == 0;
    scores[6][0] = holds ? half2_low(last) : minus_infinity();
    scores[6][1] = minus_infinity();
    scores[6][2] = holds ? half2_high(last) : minus_infinity();
    scores[6][3] = minus_infinity();
}

// Scores of rows `high` of the tile to weights that are not yet divided by their sum, which is returned.
__device__ __forceinline__ float to_weights(float (&scores)[7][4], int high) {
    float top = scores[6][2 * high];
#pragma unroll
    for (int n = 0; n < 6; ++n) top = fmaxf(top, fmaxf(scores[n][2 * high], scores[n][2 * high + 1]));
    top = quad_max(top);
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < 7; ++n)
#pragma unroll
        for (int i = 2 * high; i < 2 * high + 2; ++i) {
            scores[n][i] = power_of_two(scores[n][i] - top);
            sum += scores[n][i];
        }
    return quad_sum(sum);
}

// Rows of the keys as right-hand operands: 8 keys, 32 channels each.
__device__ __forceinline__ void load_keys(u32 (&keys)[7][4], u32 from, u32 lane) {
#pragma unroll
    for (u32 n = 0; n < 7; ++n) load_tiles(keys[n], from + place_of(min(n * 8 + lane % 8, LAST), lane / 8));
}

// weights [16][49] times values [49][32].
__device__ __forceinline__ void mix(float (&mixed)[4][4], const float (&weights)[7][4], u32 values, u32 lane) {
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) mixed[n][i] = 0.0f;
#pragma unroll
    for (u32 s = 0; s < 3; ++s) {
        const float(&even)[4] = weights[2 * s];
        const float(&odd)[4] = weights[2 * s + 1];
        const u32 a0 = to_half2(even[0], even[1]), a1 = to_half2(even[2], even[3]);
        const u32 a2 = to_half2(odd[0], odd[1]), a3 = to_half2(odd[2], odd[3]);
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            u32 b[4];  // 16 keys, 16 channels
            load_tiles_transposed(b, values + place_of(s * 16 + lane % 16, 2 * h + lane / 16));
            mma(mixed[2 * h], a0, a1, a2, a3, b[0], b[1]);
            mma(mixed[2 * h + 1], a0, a1, a2, a3, b[2], b[3]);
        }
    }
    // The other seven keys of the tile have no weight; its rows repeat the 49th.
    const u32 a0 = to_half2(weights[6][0], weights[6][1]), a1 = to_half2(weights[6][2], weights[6][3]);
    u32 b[4];
    load_tiles_transposed(b, values + place_of(LAST, lane / 8));
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_half(mixed[n], a0, a1, b[n]);
}

// Parts of the lane's 14 keys, two bits each.
__device__ __forceinline__ u32 parts_of_keys(const WindowAttentionParams& p, const WindowUnit& at, u32 lane) {
    u32 parts = 0;
#pragma unroll
    for (u32 k = 0; k < 14; ++k) parts |= at.part(p, k / 2 * 8 + lane % 4 * 2 + k % 2, EDGE) << 2 * k;
    return parts;
}

// Lowers the scores of keys in another part of the window than the query.
__device__ __forceinline__ void mask(float (&scores)[7][4], u32 key_parts, u32 low, u32 high) {
#pragma unroll
    for (u32 k = 0; k < 14; ++k) {
        const u32 part = key_parts >> 2 * k & 3;
        if (part != low) scores[k / 2][k % 2] += MASKED;
        if (part != high) scores[k / 2][2 + k % 2] += MASKED;
    }
}

// The warp's shared memory and what it computes there.
struct Attention {
    u8* queries;
    u32 values;          // shared address
    const u16* bias;     // of the head
    u32 lane;
    bool is_mixed;
    u32 key_parts;
    u32 keys[7][4];

    // 16 queries from `first` on; their results take the place of the queries.
    __device__ __forceinline__ void attend(const WindowAttentionParams& p, const WindowUnit& at, u32 first) {
        float scores[7][4];
        start_scores(scores, bias + first / 16 * BIAS_TILE, lane);
        const u32 row = min(first + lane % 16, LAST), from = shared_address(queries);
#pragma unroll
        for (u32 s = 0; s < 2; ++s) {
            u32 query[4];
            load_tiles(query, from + place_of(row, 2 * s + lane / 16));
#pragma unroll
            for (int n = 0; n < 7; ++n)
                mma(scores[n], query[0], query[1], query[2], query[3], keys[n][2 * s], keys[n][2 * s + 1]);
        }
        const u32 low = first + lane / 4;
        if (is_mixed) mask(scores, key_parts, at.part(p, low, EDGE), at.part(p, low + 8, EDGE));
        const float scale[2] = {1.0f / to_weights(scores, 0), 1.0f / to_weights(scores, 1)};
        float mixed[4][4];
        mix(mixed, scores, values, lane);
        __syncwarp();
#pragma unroll
        for (u32 high = 0; high < 2; ++high) {
            const u32 to = low + high * 8;
            if (to > LAST) continue;
#pragma unroll
            for (u32 n = 0; n < 4; ++n) {
                const u32 bits = to_half2(mixed[n][2 * high] * scale[high], mixed[n][2 * high + 1] * scale[high]);
                *reinterpret_cast<u32*>(queries + place_of(to, n) + lane % 4 * 4) = bits;
            }
        }
    }
};

// Copies the rows of query, key and value: two groups of copies, the values in the second. A
// lane copies 8 channels of one of every 8 rows, of these tokens.
__device__ __forceinline__ void copy_rows(const WindowAttentionParams& p, u32 to, const u32 (&tokens)[ROW_STEPS],
                                          u32 offset, u32 lane) {
    const u32 eight = lane % 4, channels = p.heads * DEPTH;
#pragma unroll
    for (u32 part = 0; part < 3; ++part) {
#pragma unroll
        for (u32 i = 0; i < ROW_STEPS; ++i) {
            const u32 row = i * 8 + lane / 4;
            const u16* from = tokens[i] == NO_TOKEN ? p.padding : p.qkv + static_cast<u64>(tokens[i]) * p.qkv_pitch;
            if (row <= LAST) copy16_async(to + part * PART_BYTES + place_of(row, eight), from + part * channels + offset);
        }
        if (part != 0) commit_copies();
    }
}

}  // namespace bev

using namespace bev;

extern "C" __global__ void __launch_bounds__(UNITS* WARP, 5) window_attention_7(PARAMS WindowAttentionParams p) {
    __shared__ alignas(128) u8 units[UNITS * UNIT_BYTES];
    begin_in_order();
    const u32 lane = threadIdx.x % WARP, unit = blockIdx.x * UNITS + threadIdx.x / WARP;
    if (unit >= p.units) return;
    const WindowUnit at(p, unit);
    u8* own = units + threadIdx.x / WARP * UNIT_BYTES;
    const u32 shared = shared_address(own), offset = at.head * DEPTH + lane % 4 * 8;
    u32 tokens[ROW_STEPS];
#pragma unroll
    for (u32 i = 0; i < ROW_STEPS; ++i) tokens[i] = at.token(p, i * 8 + lane / 4, EDGE);
    copy_rows(p, shared, tokens, offset, lane);

    Attention here;
    here.queries = own;
    here.values = shared + 2 * PART_BYTES;
    here.bias = static_cast<const u16*>(p.bias) + at.head * 4 * BIAS_TILE;
    here.lane = lane;
    here.is_mixed = at.is_mixed(p);
    here.key_parts = here.is_mixed ? parts_of_keys(p, at, lane) : 0;
    wait_copies<1>();
    __syncwarp();
    load_keys(here.keys, shared + PART_BYTES, lane);
    wait_copies<0>();
    __syncwarp();
#pragma unroll 1
    for (u32 first = 0; first < TOKENS; first += 16) here.attend(p, at, first);
    __syncwarp();
#pragma unroll
    for (u32 i = 0; i < ROW_STEPS; ++i) {
        const u32 row = i * 8 + lane / 4;
        if (row > LAST || tokens[i] == NO_TOKEN) continue;
        *reinterpret_cast<uint4*>(p.out + static_cast<u64>(tokens[i]) * p.out_pitch + offset) =
            load16(own + place_of(row, lane % 4));
    }
}

namespace bev {

constexpr u32 ANY_THREADS = 128;
constexpr u32 ANY_TOKENS = 64;
constexpr u32 ANY_WARPS = ANY_THREADS / WARP;

template <class Combine>
__device__ __forceinline__ float over_lanes(float x, Combine combine) {
#pragma unroll
    for (u32 step = WARP / 2; step > 0; step /= 2) x = combine(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Score of a query for a key; rows of shared memory.
__device__ __forceinline__ float score_of(const WindowAttentionParams& p, const WindowUnit& at, const float* query,
                                          const float* key, u32 i, u32 j) {
    float score = 0.0f;
    for (u32 c = 0; c < p.depth; ++c) score = fmaf(query[c], key[c], score);
    const u32 w = p.window, side = 2 * w - 1;
    const u32 row = (i / w + w - 1 - j / w) * side + i % w + w - 1 - j % w;
    score += static_cast<const float*>(p.bias)[at.head * side * side + row];
    if (at.is_mixed(p) && at.part(p, i, w) != at.part(p, j, w)) score += MASKED;
    return score;
}

}  // namespace bev

extern __shared__ float window_attention_rows[];

extern "C" __global__ void __launch_bounds__(ANY_THREADS) window_attention_any(PARAMS WindowAttentionParams p) {
    __shared__ float weights[ANY_WARPS][ANY_TOKENS];
    begin_in_order();
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const WindowUnit at(p, blockIdx.x);
    const u32 tokens = p.window * p.window, channels = p.heads * p.depth, pitch = p.depth + 1;
    for (u32 k = threadIdx.x; k < 3 * tokens * p.depth; k += ANY_THREADS) {
        const u32 row = k / p.depth, channel = k % p.depth, place = row % tokens;
        const u32 token = at.token(p, place, p.window);
        const u16* from = token == NO_TOKEN ? p.padding : p.qkv + static_cast<u64>(token) * p.qkv_pitch;
        window_attention_rows[row * pitch + channel] =
            from_half(from[row / tokens * channels + at.head * p.depth + channel]);
    }
    __syncthreads();
    const float* queries = window_attention_rows;
    const float* keys = queries + tokens * pitch;
    const float* values = keys + tokens * pitch;
    for (u32 i = warp; i < tokens; i += ANY_WARPS) {
        const u32 token = at.token(p, i, p.window);
        if (token == NO_TOKEN) continue;
        float scores[2];
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 j = h * WARP + lane;
            scores[h] = j < tokens ? score_of(p, at, queries + i * pitch, keys + j * pitch, i, j) : minus_infinity();
        }
        const float top = over_lanes(fmaxf(scores[0], scores[1]), [](float a, float b) { return fmaxf(a, b); });
        const float powers[2] = {power_of_two(scores[0] - top), power_of_two(scores[1] - top)};
        const float sum = over_lanes(powers[0] + powers[1], [](float a, float b) { return a + b; });
        weights[warp][lane] = powers[0];
        weights[warp][WARP + lane] = powers[1];
        __syncwarp();
        for (u32 channel = lane; channel < p.depth; channel += WARP) {
            float mixed = 0.0f;
            for (u32 j = 0; j < tokens; ++j) mixed = fmaf(weights[warp][j], values[j * pitch + channel], mixed);
            p.out[static_cast<u64>(token) * p.out_pitch + at.head * p.depth + channel] = to_half(mixed / sum);
        }
        __syncwarp();
    }
}
