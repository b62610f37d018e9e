// Self-attention of the queries in float32: a warp is a head, a lane takes every 32nd key.
#pragma once
#include "include/decoder_rows.cuh"

namespace bev {

// Beyond this (in powers of two) over the reference the sums are rescaled.
constexpr float SELF_HEADROOM = 12.0f;

struct Running {
    float reference, sum, mixed[DEPTH];
};

__device__ __forceinline__ void load_depth(const float* from, float* to) {
#pragma unroll
    for (u32 i = 0; i < DEPTH / 4; ++i) {
        float4 four = reinterpret_cast<const float4*>(from)[i];
        to[4 * i] = four.x;
        to[4 * i + 1] = four.y;
        to[4 * i + 2] = four.z;
        to[4 * i + 3] = four.w;
    }
}

__device__ __forceinline__ void attend(Running& state, const float* query, const float* key, const float* value) {
    float score = 0.0f;
#pragma unroll
    for (u32 i = 0; i < DEPTH; ++i) score = fmaf(query[i], key[i], score);
    if (score > state.reference + SELF_HEADROOM) {
        float factor = exp2_fast(state.reference - score);
        state.reference = score;
        state.sum *= factor;
#pragma unroll
        for (u32 i = 0; i < DEPTH; ++i) state.mixed[i] *= factor;
    }
    float weight = exp2_fast(score - state.reference);
    state.sum += weight;
#pragma unroll
    for (u32 i = 0; i < DEPTH; ++i) state.mixed[i] = fmaf(weight, value[i], state.mixed[i]);
}

// One halving of a sum over lanes in which each lane keeps half of the values.
template <u32 KEPT>
__device__ __forceinline__ void halve(float* values, u32 lane, u32 step) {
    bool upper = lane & step;
#pragma unroll
    for (u32 i = 0; i < KEPT; ++i) {
        float mine = upper ? values[i + KEPT] : values[i];
        float other = upper ? values[i] : values[i + KEPT];
        values[i] = mine + __shfl_xor_sync(ALL_LANES, other, step);
    }
}

// Sums of all lanes; the result is channel lane / 2 of the head.
__device__ __forceinline__ float merged(Running& state, u32 lane) {
    float reference = warp_max(state.reference);
    float factor = exp2_fast(state.reference - reference);
    float sum = warp_sum(state.sum * factor);
#pragma unroll
    for (u32 i = 0; i < DEPTH; ++i) state.mixed[i] *= factor;
    halve<8>(state.mixed, lane, 16);
    halve<4>(state.mixed, lane, 8);
    halve<2>(state.mixed, lane, 4);
    halve<1>(state.mixed, lane, 2);
    float total = state.mixed[0] + __shfl_xor_sync(ALL_LANES, state.mixed[0], 1);
    return total / sum;
}

// Attention of four queries from `first` on; writes columns of mixed [128][R] from row `row` on.
template <u32 R>
__device__ __forceinline__ void attend_four(const DecoderParams& p, u32 first, float* mixed, u32 row) {
    u32 lane = threadIdx.x % WARP, head = threadIdx.x / WARP;
    float query[4][DEPTH];
    Running state[4];
#pragma unroll
    for (u32 q = 0; q < 4; ++q) {
        u32 at = min(first + q, p.proposals - 1);
        load_depth(p.self_qkv + at * 3 * CHANNELS + head * DEPTH, query[q]);
        state[q].reference = -INFINITY_F;
        state[q].sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < DEPTH; ++i) {
            query[q][i] *= LOG2_E;
            state[q].mixed[i] = 0.0f;
        }
    }
    for (u32 at = lane; at < p.proposals; at += WARP) {
        const float* from = p.self_qkv + at * 3 * CHANNELS + head * DEPTH;
        float key[DEPTH], value[DEPTH];
        load_depth(from + CHANNELS, key);
        load_depth(from + 2 * CHANNELS, value);
#pragma unroll
        for (u32 q = 0; q < 4; ++q) attend(state[q], query[q], key, value);
    }
#pragma unroll
    for (u32 q = 0; q < 4; ++q) {
        float value = merged(state[q], lane);
        if (lane % 2 == 0) mixed[(head * DEPTH + lane / 2) * R + row + q] = value;
    }
}

}  // namespace bev
