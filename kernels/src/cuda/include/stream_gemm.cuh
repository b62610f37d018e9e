// Implicit GEMM with gathered rows: out[m] = sum over taps of W[tap] * in[row(m, tap)].
//
// Rows of the left operand go from global memory straight into the tensor cores' registers; no shared
// memory, no transposition. A row that does not exist is zero, and a tap that no row of a warp has is
// skipped. Weights pass through a ring in shared memory that all warps of the block share.
//
// A block computes WM * 32 rows by BN columns with WM * WN warps. One step of the ring is KC input channels
// of one tap. `Rows` says where rows come from, see `sparse_conv.cu` and `dense_conv.cu`:
//   u32 block_taps()                          taps that some row of the block has, uniform
//   bool warp_has(tap)                        whether some row of the calling warp has it, uniform
//   const u16* row(tap, local_row)            its channels, or null
#pragma once

#include "include/mma.cuh"

namespace bev {

template <int KC, int BN, int WM, int WN, int STAGES>
struct StreamTiling {
    static_assert(KC % 32 == 0 && BN % (WN * 16) == 0, "whole fragments");
    static constexpr int ROWS = WM * 32;
    static constexpr int THREADS = WM * WN * 32;
    static constexpr int COLUMNS_PER_WARP = BN / WN;
    static constexpr int BLOCKS = COLUMNS_PER_WARP / 8;
    // Consecutive channels that a lane ends up with: the packing interleaves 4 (or 2) blocks of 8.
    static constexpr int GROUP = BLOCKS % 4 == 0 ? 4 : 2;
    static constexpr int LANE_CHANNELS = 2 * GROUP;
    static constexpr int STAGE_BYTES = KC * BN * 2;
    static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
};

// Walks over (tap, channel chunk) in ascending order.
struct Steps {
    u32 remaining;
    u32 chunks;
    u32 tap = 0;
    u32 chunk = 0;

    __device__ __forceinline__ Steps(u32 taps, u32 chunks) : remaining(taps), chunks(chunks) {
        tap = remaining ? __ffs(remaining) - 1 : 0;
    }
    __device__ __forceinline__ bool done() const { return remaining == 0; }
    __device__ __forceinline__ void advance() {
        if (++chunk < chunks) return;
        chunk = 0;
        remaining &= remaining - 1;
        tap = remaining ? __ffs(remaining) - 1 : 0;
    }
};

template <class T, int KC, int BN, int WM, int WN, int STAGES, class Rows>
struct StreamGemm {
    static constexpr int HALVES = KC / 32;

    struct RowFragments {
        uint4 low[2][HALVES];
        uint4 high[2][HALVES];
    };

    float sums[2][T::BLOCKS][4];

    __device__ __forceinline__ void run(const Rows& rows, const u16* weights, u32 chunks,
                                        u32 column_blocks, u32 column_block, u8* ring) {
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int j = 0; j < T::BLOCKS; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[m][j][i] = 0.0f;

        const u32 taps = rows.block_taps();
        Steps ahead(taps, chunks);
        const u32 ring_address = shared_address(ring);
        auto fetch = [&](u32 slot) {
            if (!ahead.done()) {
                const u64 index = (ahead.tap * chunks + ahead.chunk) * column_blocks + column_block;
                const u8* from = reinterpret_cast<const u8*>(weights) + index * T::STAGE_BYTES;
                for (u32 at = threadIdx.x * 16; at < T::STAGE_BYTES; at += T::THREADS * 16) {
                    copy16_async(ring_address + slot * T::STAGE_BYTES + at, from + at);
                }
                ahead.advance();
            }
            commit_copies();
        };
#pragma unroll
        for (int slot = 0; slot < STAGES - 1; ++slot) fetch(slot);

        Steps here(taps, chunks);
        Steps next = here;
        RowFragments even, odd;
        if (!next.done()) load(rows, next, even);
        u32 slot = 0;
        while (!here.done()) {
            step(rows, ring, slot, here, next, even, odd, fetch);
            if (here.done()) break;
            step(rows, ring, slot, here, next, odd, even, fetch);
        }
    }

    // One step of the ring: rows of the next one are requested before those at hand are multiplied.
    template <class Fetch>
    __device__ __forceinline__ void step(const Rows& rows, const u8* ring, u32& slot, Steps& here,
                                         Steps& next, const RowFragments& at_hand,
                                         RowFragments& wanted, Fetch& fetch) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        fetch(slot == 0 ? STAGES - 1 : slot - 1);
        next.advance();
        if (!next.done()) load(rows, next, wanted);
        if (rows.warp_has(here.tap)) multiply(at_hand, ring + slot * T::STAGE_BYTES);
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        here.advance();
    }

    __device__ __forceinline__ void load(const Rows& rows, const Steps& at, RowFragments& to) {
        if (!rows.warp_has(at.tap)) return;
        const u32 lane = threadIdx.x % WARP;
        const u32 channel = at.chunk * KC + (lane % 4) * 8;
#pragma unroll
        for (int m = 0; m < 2; ++m) {
            const u16* low = rows.row(at.tap, m * 16 + lane / 4);
            const u16* high = rows.row(at.tap, m * 16 + lane / 4 + 8);
#pragma unroll
            for (int h = 0; h < HALVES; ++h) {
                to.low[m][h] = load16_or_zero(low ? low + channel + h * 32 : nullptr);
                to.high[m][h] = load16_or_zero(high ? high + channel + h * 32 : nullptr);
            }
        }
    }

    __device__ __forceinline__ void multiply(const RowFragments& rows, const u8* stage) {
        const u32 lane = threadIdx.x % WARP;
        const u32 warp_column = threadIdx.x / WARP / WM;
#pragma unroll
        for (int h = 0; h < HALVES; ++h) {
            const u8* fragments = stage + (h * (BN / 8) + warp_column * T::BLOCKS) * 512 + lane * 16;
#pragma unroll
            for (int j = 0; j < T::BLOCKS; ++j) {
                const uint4 b = load16(fragments + j * 512);
                mma_pair(sums[0][j], rows.low[0][h], rows.high[0][h], b);
                mma_pair(sums[1][j], rows.low[1][h], rows.high[1][h], b);
            }
        }
    }

    // Calls store(local_row, first_channel, values) for each run of channels that the lane holds.
    template <class Store>
    __device__ __forceinline__ void finish(Store&& store) {
        const u32 lane = threadIdx.x % WARP;
        const u32 warp_column = threadIdx.x / WARP / WM;
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int high = 0; high < 2; ++high)
#pragma unroll
                for (int group = 0; group < T::BLOCKS / T::GROUP; ++group) {
                    float values[T::LANE_CHANNELS];
#pragma unroll
                    for (int j = 0; j < T::GROUP; ++j) {
                        values[2 * j] = sums[m][group * T::GROUP + j][2 * high];
                        values[2 * j + 1] = sums[m][group * T::GROUP + j][2 * high + 1];
                    }
                    const u32 row = m * 16 + high * 8 + lane / 4;
                    const u32 channel = warp_column * T::COLUMNS_PER_WARP + group * T::GROUP * 8 +
                                        (lane % 4) * T::LANE_CHANNELS;
                    store(row, channel, values);
                }
    }
};

}  // namespace bev
