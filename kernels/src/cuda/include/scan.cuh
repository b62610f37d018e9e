// Sums over a block, and where a chunk's rows begin. All threads of the block call these together.
// Comes after `common.cuh`.
#pragma once

namespace bev {

// One value per warp; `scan_block` needs as many words of shared memory.
template <u32 THREADS>
constexpr u32 SCAN_WORDS = THREADS / WARP + 1;

// Sum of the values of the threads before this one; `total` is that of all.
template <u32 THREADS>
__device__ u32 scan_block(u32 value, u32* scratch, u32& total) {
    constexpr u32 WARPS = THREADS / WARP;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 sum = value;
#pragma unroll
    for (u32 step = 1; step < WARP; step *= 2) {
        const u32 other = __shfl_up_sync(ALL_LANES, sum, step);
        sum += lane >= step ? other : 0;
    }
    // The scratch may still be read by the call before.
    __syncthreads();
    if (lane == WARP - 1) {
        scratch[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        u32 mine = lane < WARPS ? scratch[lane] : 0, before = mine;
#pragma unroll
        for (u32 step = 1; step < WARP; step *= 2) {
            const u32 other = __shfl_up_sync(ALL_LANES, before, step);
            before += lane >= step ? other : 0;
        }
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

struct ChunkStart {
    u32 before;
    u32 all;
};

// Sums of the counts before `chunk` and of all `chunks`.
template <u32 THREADS>
__device__ ChunkStart chunk_start(const u32* counts, u32 chunk, u32 chunks, u32* scratch) {
    u32 before = 0, all = 0;
    for (u32 i = threadIdx.x; i < chunks; i += THREADS) {
        const u32 count = counts[i];
        all += count;
        before += i < chunk ? count : 0;
    }
    ChunkStart start;
    scan_block<THREADS>(before, scratch, start.before);
    scan_block<THREADS>(all, scratch, start.all);
    return start;
}

}  // namespace bev
