// Sums over a block, and where a chunk's rows begin. All threads of the block call these together.
// Comes after `common.cuh`.
#pragma once

namespace bev {

// One value per warp; `scan_block` needs as many words of shared memory.
template <u32 THREADS>
constexpr u32 SCAN_WORDS = THREADS / WARP + 1;

// Sum of the values of the lanes up to this one.
__device__ __forceinline__ u32 scan_warp(u32 value) {
    const u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 step = 1; step < WARP; step *= 2) {
        const u32 other = __shfl_up_sync(ALL_LANES, value, step);
        value += lane >= step ? other : 0;
    }
    return value;
}

// Sum of the values of the threads before this one; `total` is that of all.
template <u32 THREADS>
__device__ u32 scan_block(u32 value, u32* scratch, u32& total) {
    constexpr u32 WARPS = THREADS / WARP;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 sum = scan_warp(value);
    // The scratch may still be read by the call before.
    __syncthreads();
    if (lane == WARP - 1) {
        scratch[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        const u32 mine = lane < WARPS ? scratch[lane] : 0;
        const u32 before = scan_warp(mine);
        if (lane < WARPS) {
            scratch[lane] = before - mine;
        }
        if (lane == WARPS - 1) {
            scratch[WARPS] = before;
        }
    }
    __syncthreads();
    total = scratch[WARPS];
    return scratch[warp] + sum - value;
}

// Sum of the counts before `chunk`.
template <u32 THREADS>
__device__ u32 counted_before(const u32* counts, u32 chunk, u32* scratch) {
    u32 before = 0, all;
    for (u32 i = threadIdx.x; i < chunk; i += THREADS) {
        before += counts[i];
    }
    scan_block<THREADS>(before, scratch, all);
    return all;
}

// As `scan_block` for several values of a thread: a warp's values are consecutive, in rows of one per lane.
template <u32 THREADS, u32 ROWS>
__device__ void scan_rows(const u32 (&values)[ROWS], u32 (&before)[ROWS], u32* scratch, u32& total) {
    const u32 lane = threadIdx.x % WARP;
    u32 of_warp = 0;
#pragma unroll
    for (u32 row = 0; row < ROWS; ++row) {
        const u32 sum = scan_warp(values[row]);
        before[row] = of_warp + sum - values[row];
        of_warp += __shfl_sync(ALL_LANES, sum, WARP - 1);
    }
    const u32 start = scan_block<THREADS>(lane == 0 ? of_warp : 0, scratch, total);
    const u32 warp_start = __shfl_sync(ALL_LANES, start, 0);
#pragma unroll
    for (u32 row = 0; row < ROWS; ++row) {
        before[row] += warp_start;
    }
}

// Marks the count of a chunk as there.
constexpr u32 PUBLISHED = 0x80000000u;

// Number of this block among those that have started, so that it can wait for all before it: they run or are
// done, whatever order the GPU starts blocks in. The counter is 0 again when the last block has started.
__device__ __forceinline__ u32 start_order(u32* counter, u32* scratch) {
    if (threadIdx.x == 0) {
        scratch[0] = atomicInc(counter, gridDim.x - 1);
    }
    __syncthreads();
    return scratch[0];
}

// Publishes the count of `chunk`, whose number is the block's `start_order`, and sums those of the chunks
// before. Counts start as zeros. Chunks are large, some hundred at most: with many, the waiting would be in
// the way of the work.
template <u32 THREADS>
__device__ u32 sum_before(u32* counts, u32 own, u32 count, u32* scratch) {
    volatile u32* shown = counts;
    if (threadIdx.x == 0) {
        shown[own] = count | PUBLISHED;
    }
    u32 before = 0;
    for (u32 chunk = threadIdx.x; chunk < own; chunk += THREADS) {
        u32 seen = 0;
        while (seen < PUBLISHED) {
            seen = shown[chunk];
        }
        before += seen - PUBLISHED;
    }
    u32 all;
    scan_block<THREADS>(before, scratch, all);
    return all;
}

}  // namespace bev
