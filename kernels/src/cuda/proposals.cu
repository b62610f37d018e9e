// Proposals: the best P values of the class heatmaps, in order.
//
// In: logits f32 [X*Y][stride], a row per cell x*Y + y. Out: flat index class*X*Y + cell, class, score, [P]
// each, by descending score, equal scores by ascending index; a NaN comes after everything else. Pooled
// classes keep only cells that no cell of their window exceeds. Three kernels: heat scores, histogram of
// the scores; pick those from the histogram bin on in which the P-th lies; rank those that were picked.
// Counts are added in any order and ranks depend on no order, so that a frame repeats to the bit.
#include "include/common.cuh"

namespace bev {

constexpr u32 LANES = 16;            // classes of a cell with padding
constexpr u32 TILE_X = 8, TILE_Y = 16;
constexpr u32 BINS = 4096;           // 16 octaves of 256 bins, from 2^-16 to 1
constexpr u32 BIN_SHIFT = 15;
constexpr u32 BIN_FIRST = 111u << 8; // 2^-16 without its low bits
constexpr u32 PICK_THREADS = 256;
constexpr u32 RANK_THREADS = 512;
constexpr u32 RANKED = 4096;         // candidates that are ranked at once
constexpr u32 MAX_PROPOSALS = 1024;

struct ProposalParams {
    const float* logits;
    u32* keys;        // [X*Y][16]
    u32* histogram;   // [4096], zero before and after
    u64* candidates;  // [K*X*Y]
    u32* picked;      // [1]
    i32* index;
    i32* label;
    float* score;
    u32 rows, columns, classes, stride;
    u32 radius, keep_border, pooled, proposals;
};

// Scores in their order as integers; 0 is NaN.
__device__ __forceinline__ u32 key_of(float score) {
    return score != score ? 0u : __float_as_uint(score) + 1u;
}

__device__ __forceinline__ float score_of(u32 key) {
    return __uint_as_float(key == 0u ? 0x7fc00000u : key - 1u);
}

__device__ __forceinline__ u32 bin_of(u32 key) {
    u32 top = key >> BIN_SHIFT;
    return top < BIN_FIRST ? 0u : min(top - BIN_FIRST, BINS - 1u);
}

__device__ __forceinline__ float sigmoid(float logit) { return 1.0f / (1.0f + expf(-logit)); }

// Largest of a window of four classes; fmaxf passes over NaN.
__device__ __forceinline__ float4 largest(const float4* tile, u32 first, u32 width, u32 window) {
    float4 most = make_float4(-1.0f, -1.0f, -1.0f, -1.0f);
    for (u32 dx = 0; dx < window; ++dx) {
        for (u32 dy = 0; dy < window; ++dy) {
            float4 four = tile[(first + dx * width + dy) * (LANES / 4)];
            most.x = fmaxf(most.x, four.x);
            most.y = fmaxf(most.y, four.y);
            most.z = fmaxf(most.z, four.z);
            most.w = fmaxf(most.w, four.w);
        }
    }
    return most;
}

// Key of a score whose window's largest is `most`; `whole` windows lie inside the map.
__device__ __forceinline__ u32 pooled_key(const ProposalParams& p, float own, float most, u32 lane, bool whole) {
    bool goes = (p.pooled >> lane & 1u) && ((!whole && !p.keep_border) || most > own);
    return own == own && goes ? key_of(0.0f) : key_of(own);
}

// `WINDOW` is the window, or 0 for any.
template <u32 WINDOW>
__device__ __forceinline__ void heat(const ProposalParams& p, float4* tile) {
    __shared__ u32 histogram[BINS];
    u32 r = WINDOW == 0 ? p.radius : WINDOW / 2, width = TILE_Y + 2 * r, cells = (TILE_X + 2 * r) * width;
    u32 quad = threadIdx.x % (LANES / 4), quads = ceil_div(p.classes, 4), each = blockDim.x / (LANES / 4);
    for (u32 i = threadIdx.x; i < BINS / 4; i += blockDim.x)
        reinterpret_cast<uint4*>(histogram)[i] = make_uint4(0, 0, 0, 0);
    if (blockIdx.x + blockIdx.y + threadIdx.x == 0) *p.picked = 0;
#pragma unroll 3
    for (u32 cell = threadIdx.x / (LANES / 4); cell < cells; cell += each) {
        i32 x = static_cast<i32>(blockIdx.y * TILE_X + cell / width) - static_cast<i32>(r);
        i32 y = static_cast<i32>(blockIdx.x * TILE_Y + cell % width) - static_cast<i32>(r);
        bool inside = x >= 0 && y >= 0 && x < static_cast<i32>(p.rows) && y < static_cast<i32>(p.columns);
        float4 four = make_float4(-1.0f, -1.0f, -1.0f, -1.0f);
        if (inside && quad < quads) {
            u64 at = static_cast<u64>(x) * p.columns + static_cast<u64>(y);
            four = *reinterpret_cast<const float4*>(p.logits + at * p.stride + quad * 4);
            four = make_float4(sigmoid(four.x), sigmoid(four.y), sigmoid(four.z), sigmoid(four.w));
        }
        tile[cell * (LANES / 4) + quad] = four;
    }
    __syncthreads();
    for (u32 cell = threadIdx.x / (LANES / 4); cell < TILE_X * TILE_Y; cell += each) {
        u32 x = blockIdx.y * TILE_X + cell / TILE_Y, y = blockIdx.x * TILE_Y + cell % TILE_Y;
        if (x >= p.rows || y >= p.columns || quad >= quads) continue;
        u32 first = cell / TILE_Y * width + cell % TILE_Y;
        float4 own = tile[(first + r * width + r) * (LANES / 4) + quad];
        float4 most = largest(tile + quad, first, width, WINDOW == 0 ? 2 * r + 1 : WINDOW);
        bool whole = x >= r && y >= r && x + r < p.rows && y + r < p.columns;
        u32 keys[4] = {pooled_key(p, own.x, most.x, quad * 4, whole), pooled_key(p, own.y, most.y, quad * 4 + 1, whole),
                       pooled_key(p, own.z, most.z, quad * 4 + 2, whole),
                       pooled_key(p, own.w, most.w, quad * 4 + 3, whole)};
        reinterpret_cast<uint4*>(p.keys)[(static_cast<u64>(x) * p.columns + y) * (LANES / 4) + quad] =
            make_uint4(keys[0], keys[1], keys[2], keys[3]);
#pragma unroll
        for (u32 i = 0; i < 4; ++i)
            if (quad * 4 + i < p.classes && bin_of(keys[i]) > 0) atomicAdd(&histogram[bin_of(keys[i])], 1u);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < BINS; i += blockDim.x)
        if (histogram[i] != 0) atomicAdd(&p.histogram[i], histogram[i]);
}

}  // namespace bev

using namespace bev;

extern __shared__ float4 proposals_tile[];

extern "C" __global__ void __launch_bounds__(256) proposals_heat(PARAMS ProposalParams p) {
    begin_in_order();
    heat<0>(p, proposals_tile); }

extern "C" __global__ void __launch_bounds__(256) proposals_heat_3(PARAMS ProposalParams p) {
    begin_in_order();
    heat<3>(p, proposals_tile);
}

namespace bev {

// The highest bin from which on there are at least `wanted` scores; 0 when there is none.
__device__ __forceinline__ u32 threshold_bin(const u32* histogram, u32 wanted) {
    constexpr u32 EACH = BINS / PICK_THREADS;
    __shared__ u32 warp_sums[PICK_THREADS / WARP];
    __shared__ u32 found;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 top = BINS - 1 - threadIdx.x * EACH;
    u32 counts[EACH], own = 0;
#pragma unroll
    for (u32 i = 0; i < EACH; i += 4) {
        uint4 four = *reinterpret_cast<const uint4*>(histogram + (top - i - 3));
        counts[i] = four.w;
        counts[i + 1] = four.z;
        counts[i + 2] = four.y;
        counts[i + 3] = four.x;
        own += four.x + four.y + four.z + four.w;
    }
    u32 before = own;
    for (u32 step = 1; step < WARP; step *= 2) {
        u32 other = __shfl_up_sync(ALL_LANES, before, step);
        if (lane >= step) before += other;
    }
    if (lane == WARP - 1) warp_sums[warp] = before;
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    before -= own;
    for (u32 i = 0; i < warp; ++i) before += warp_sums[i];
    if (before < wanted && before + own >= wanted) {
        u32 bin = top;
#pragma unroll
        for (u32 i = 0; i < EACH; ++i) {
            if (before < wanted) bin = top - i;
            before += counts[i];
        }
        found = bin;
    }
    __syncthreads();
    return found;
}

}  // namespace bev

extern "C" __global__ void __launch_bounds__(PICK_THREADS) proposals_pick(PARAMS ProposalParams p) {
    begin_in_order();
    u32 least = threshold_bin(p.histogram, p.proposals);
    u32 lane = threadIdx.x % WARP, cells = p.rows * p.columns;
    u32 quads = cells * (LANES / 4), all = blockDim.x * gridDim.x;
    const uint4* keys = reinterpret_cast<const uint4*>(p.keys);
    // Whole warps stay in the loop, for the votes.
    for (u32 base = blockIdx.x * blockDim.x + threadIdx.x - lane; base < quads; base += all) {
        u32 quad = base + lane;
        uint4 four = quad < quads ? keys[quad] : make_uint4(0, 0, 0, 0);
        u32 key[4] = {four.x, four.y, four.z, four.w};
        u32 first = quad % (LANES / 4) * 4, cell = quad / (LANES / 4), mine = 0;
#pragma unroll
        for (u32 i = 0; i < 4; ++i)
            if (quad < quads && first + i < p.classes && bin_of(key[i]) >= least) mine |= 1u << i;
        if (!__any_sync(ALL_LANES, mine != 0)) continue;
        u32 place = __popc(mine);
        for (u32 step = 1; step < WARP; step *= 2) {
            u32 other = __shfl_up_sync(ALL_LANES, place, step);
            if (lane >= step) place += other;
        }
        u32 total = __shfl_sync(ALL_LANES, place, WARP - 1), start = 0;
        if (lane == 0) start = atomicAdd(p.picked, total);
        place = place - __popc(mine) + __shfl_sync(ALL_LANES, start, 0);
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            if (!(mine >> i & 1u)) continue;
            u32 flat = (first + i) * cells + cell;
            p.candidates[place++] = static_cast<u64>(key[i]) << 32 | (0xffffffffu - flat);
        }
    }
}

namespace bev {

__device__ __forceinline__ void put(const ProposalParams& p, u32 rank, u64 candidate) {
    u32 flat = 0xffffffffu - static_cast<u32>(candidate);
    p.index[rank] = static_cast<i32>(flat);
    p.label[rank] = static_cast<i32>(flat / (p.rows * p.columns));
    p.score[rank] = score_of(static_cast<u32>(candidate >> 32));
}

// Writes every candidate of `list` whose rank is wanted; eight lanes count for one candidate.
__device__ __forceinline__ void rank(const ProposalParams& p, const u64* list, u32 count, u32 group, u32 groups) {
    u32 part = threadIdx.x % 8;
    u32 rounds = ceil_div(count, groups);
    for (u32 round = 0; round < rounds; ++round) {
        u32 own = round * groups + group;
        u64 mine = own < count ? list[own] : ~0ull;
        u32 better = 0;
        for (u32 i = part; i < count; i += 8) better += list[i] > mine;
        for (u32 step = 1; step < 8; step *= 2) better += __shfl_xor_sync(ALL_LANES, better, step);
        if (part == 0 && own < count && better < p.proposals) put(p, better, mine);
    }
}

// The P-th largest of very many candidates, digit by digit from the top.
__device__ __forceinline__ u64 select(const ProposalParams& p, u32 count, u32* bins) {
    __shared__ u32 digit, left;
    u64 prefix = 0, known = 0;
    u32 wanted = p.proposals;
    for (i32 shift = 56; shift >= 0; shift -= 8) {
        for (u32 i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
        __syncthreads();
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            u64 candidate = p.candidates[i];
            if ((candidate & known) == prefix) atomicAdd(&bins[candidate >> shift & 255], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u32 bin = 255, above = 0;
            while (bin > 0 && above + bins[bin] < wanted) above += bins[bin--];
            digit = bin;
            left = wanted - above;
        }
        __syncthreads();
        prefix |= static_cast<u64>(digit) << shift;
        known |= 255ull << shift;
        wanted = left;
        __syncthreads();
    }
    return prefix;
}

}  // namespace bev

extern "C" __global__ void __launch_bounds__(RANK_THREADS) proposals_rank(PARAMS ProposalParams p) {
    __shared__ u64 list[RANKED];
    __shared__ u32 bins[256];
    __shared__ u32 taken;
    begin_in_order();
    u32 count = *p.picked, here = blockDim.x / 8;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < BINS; i += blockDim.x * gridDim.x) p.histogram[i] = 0;
    if (count <= RANKED) {
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) list[i] = p.candidates[i];
        __syncthreads();
        rank(p, list, count, blockIdx.x * here + threadIdx.x / 8, gridDim.x * here);
        return;
    }
    // Many equal scores, as an empty frame has them: one block selects before it ranks.
    if (blockIdx.x != 0) return;
    if (threadIdx.x == 0) taken = 0;
    u64 least = select(p, count, bins);
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
        u64 candidate = p.candidates[i];
        if (candidate >= least) list[min(atomicAdd(&taken, 1u), MAX_PROPOSALS - 1)] = candidate;
    }
    __syncthreads();
    rank(p, list, min(taken, MAX_PROPOSALS), threadIdx.x / 8, here);
}
