// The two passes of a tile, as products of its source with the weights, and the store of its patches.
//
// Both passes multiply windows of 32 levels, from the word on in which the support of eight outputs starts,
// with the weights of these eight; weights are zero beyond each support, so what else a window covers does
// not matter. The first pass takes 16 rows of the source at a time. A lane's sums are those of two rows one
// above the other: bytes side by side in `middle`, which is column by column, in words of four rows. The
// second pass takes 16 columns of that. A lane's sums are then those of four pixels, two by two.
#pragma once
#include "include/image_pixels.cuh"
#include "include/image_weights.cuh"

namespace bev {

constexpr u32 TILE_THREADS = 128;
constexpr u32 TILE_WARPS = TILE_THREADS / WARP;
constexpr u32 TILE_COLUMNS = 32;
constexpr u32 STRIP = 16;  // rows of the source, or columns, of a product
constexpr u32 BATCH = 8;   // outputs of it
constexpr u32 PATCH_WORDS = PATCH_VALUES / 2;
constexpr u32 PATCH_CHUNKS = PATCH_VALUES * 2 / 16;
constexpr u32 PITCH_CHUNKS = PATCH_PITCH * 2 / 16;
constexpr u32 STRIP_PATCHES = STRIP / PATCH;
constexpr u32 BATCH_PATCHES = STRIP_PATCHES * BATCH / PATCH;  // patches of 16 columns and eight rows
constexpr u32 PIXEL_BYTES = 3;
constexpr u32 WORD_BYTES = 4 * PIXEL_BYTES;

// The output of a block and the source under it.
struct Tile {
    u32 left, top;
    u32 word, words;    // columns of the source, four each
    u32 group, groups;  // rows of the source, four each
};

// Entry of a table for an output column or row; outside the resized image that of its border.
__device__ __forceinline__ u32 entry_of(u32 at, u32 first, u32 count) {
    return at < first ? 0 : min(at - first, count - 1);
}

__device__ __forceinline__ bool shows_nothing(const ImageCamera& c) { return c.columns == 0 || c.rows == 0; }

__device__ __forceinline__ const u32* row_entry(const ImageCamera& c, u32 entry) {
    return c.table + c.rows_at + entry * c.row_size;
}

// Bytes from the first row of the source in shared memory to another one. Pairs of rows are moved apart so
// that lanes that read every second row use different banks.
__device__ __forceinline__ u32 row_offset(const ImageCamera& c, u32 row) {
    return row * c.row_pitch + (row >> 1) * 16;
}

// Bytes from a chunk of 16 to the first byte that is staged of a row.
struct Misalignment {
    u32 first, step, mask;

    __device__ __forceinline__ Misalignment(const ImageCamera& c, const Tile& t)
        : first(static_cast<u32>(reinterpret_cast<u64>(c.pixels)) + t.group * 4 * c.stride + t.word * WORD_BYTES),
          step(c.stride), mask(c.staged ? 15 : 0) {}

    __device__ __forceinline__ u32 of(u32 row) const { return (first + row * step) & mask; }

    __device__ __forceinline__ bool of_words() const { return ((first | step) & mask & 3) == 0; }
};

__device__ __forceinline__ WeightList column_list(const ImageCamera& c, const Tile& t, u32 batch) {
    u32 left = t.left + batch * BATCH, lane = threadIdx.x % WARP;
    u32 first = __ldg(c.table + entry_of(left, c.first_column, c.columns));
    const u32* entry = c.table + entry_of(left + lane / 4, c.first_column, c.columns);
    return {entry + c.columns, c.columns, c.column_words, first - t.word, __ldg(entry) - first};
}

__device__ __forceinline__ WeightList row_list(const ImageCamera& c, const Tile& t, u32 batch) {
    u32 top = t.top + batch * BATCH, lane = threadIdx.x % WARP;
    u32 first = __ldg(row_entry(c, entry_of(top, c.first_row, c.rows)));
    const u32* entry = row_entry(c, entry_of(top + lane / 4, c.first_row, c.rows));
    // Rows of the plain bilinear resize have no planes.
    return {entry + 1, 1, c.linear ? 0 : c.row_groups, first - t.group, __ldg(entry) - first};
}

// How the twelve bytes of a word lie in shared memory.
enum Layout : u32 { BY_CHANNEL, INTERLEAVED, INTERLEAVED_ANYWHERE };

template <Layout LAYOUT>
__device__ __forceinline__ FourPixels four_staged(const u8* from) {
    if constexpr (LAYOUT == INTERLEAVED_ANYWHERE) {
        u32 shift = static_cast<u32>(__cvta_generic_to_shared(from)) % 4 * 8;
        const u32* words = reinterpret_cast<const u32*>(from - shift / 8);
        return from_interleaved(__funnelshift_r(words[0], words[1], shift), __funnelshift_r(words[1], words[2], shift),
                                __funnelshift_r(words[2], words[3], shift));
    } else {
        const u32* words = reinterpret_cast<const u32*>(from);
        return LAYOUT == INTERLEAVED ? from_interleaved(words[0], words[1], words[2])
                                     : FourPixels{{words[0], words[1], words[2]}};
    }
}

// The lane's levels of two rows, of a word and the one four words on.
struct StripLevels {
    u32 channel[CHANNELS][4];

    template <Layout LAYOUT>
    __device__ __forceinline__ void load_as(const u8* upper, const u8* lower) {
        const u8* from[4] = {upper, lower, upper + 4 * WORD_BYTES, lower + 4 * WORD_BYTES};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            FourPixels four = four_staged<LAYOUT>(from[i]);
#pragma unroll
            for (u32 j = 0; j < CHANNELS; ++j) channel[j][i] = four.channel[j];
        }
    }

    __device__ __forceinline__ void load(Layout layout, const u8* upper, const u8* lower) {
        if (layout == INTERLEAVED) load_as<INTERLEAVED>(upper, lower);
        else if (layout == BY_CHANNEL) load_as<BY_CHANNEL>(upper, lower);
        else load_as<INTERLEAVED_ANYWHERE>(upper, lower);
    }
};

// Sums of a channel: columns 2 i and 2 i + 1 of the warp's eight, rows 2 j and 2 j + 1 of 16.
template <bool LINEAR>
__device__ __forceinline__ void store_sums(const ImageCamera& c, const PlaneSums& sums, u32* column, u32 strip) {
    u32 pair = threadIdx.x % WARP / 4;
    u32 totals[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) totals[i] = static_cast<u32>(sums.total(i));
#pragma unroll
    for (u32 i = 0; i < 2; ++i, column += c.middle_pitch) {
        if constexpr (LINEAR) {
            column[strip * STRIP / 2 + pair] = totals[i] >> 4 | (totals[2 + i] >> 4) << 16;
        } else {
            u32 levels = clipped_pair(static_cast<i32>(totals[i]) >> WEIGHT_BITS,
                                      static_cast<i32>(totals[2 + i]) >> WEIGHT_BITS);
            reinterpret_cast<u16*>(column)[strip * STRIP / 2 + pair] = static_cast<u16>(levels);
        }
    }
}

// Calls use(channel, sums) with what the lists of weights make of 16 rows.
template <u32 STEPS, typename Use>
__device__ __forceinline__ void each_channel(const Weights<STEPS>& weights, Layout layout, const u8* upper,
                                             const u8* lower, u32 start, Use use) {
    constexpr u32 STEP_BYTES = STEP_WORDS * WORD_BYTES;
    if constexpr (STEPS == 0) {
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) {
            PlaneSums sums(start);
            weights.each_step([&](u32 step, const StepWeights& planes) {
                StripLevels levels;
                levels.load(layout, upper + step * STEP_BYTES, lower + step * STEP_BYTES);
                sums.add(levels.channel[i], planes);
            });
            use(i, sums);
        }
    } else {
        StripLevels levels[STEPS];
#pragma unroll
        for (u32 step = 0; step < STEPS; ++step)
            levels[step].load(layout, upper + step * STEP_BYTES, lower + step * STEP_BYTES);
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) {
            PlaneSums sums(start);
            weights.each_step([&](u32 step, const StepWeights& planes) { sums.add(levels[step].channel[i], planes); });
            use(i, sums);
        }
    }
}

// The first pass: a warp makes eight columns.
template <bool LINEAR, u32 STEPS>
__device__ __forceinline__ void across(const ImageCamera& c, const Tile& t, const Weights<STEPS>& weights, u32 word,
                                       const u8* source, u32* middle) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Misalignment away(c, t);
    Layout layout = c.staged == 0 ? BY_CHANNEL : away.of_words() ? INTERLEAVED : INTERLEAVED_ANYWHERE;
    // Rows of BGR go to the channels from the last to the first.
    bool turned = c.staged != 0 && c.format == BGR8;
    u32 channel_step = TILE_COLUMNS * c.middle_pitch, start = LINEAR ? 0 : HALF_LEVEL;
    u32* column = middle + (warp * BATCH + lane % 4 * 2) * c.middle_pitch + (turned ? 2 * channel_step : 0);
    channel_step = turned ? 0 - channel_step : channel_step;
    source += (word + lane % 4) * WORD_BYTES;
#pragma unroll 1
    for (u32 strip = 0; strip * STRIP < t.groups * 4; ++strip) {
        u32 row = strip * STRIP + lane / 4 * 2;
        const u8* upper = source + row_offset(c, row) + away.of(row);
        const u8* lower = source + row_offset(c, row + 1) + away.of(row + 1);
        each_channel(weights, layout, upper, lower, start, [&](u32 channel, const PlaneSums& sums) {
            store_sums<LINEAR>(c, sums, column + static_cast<i32>(channel * channel_step), strip);
        });
    }
}

// Levels of four pixels: [channel][column and row, the row first].
struct FourLevels {
    u32 channel[CHANNELS][4];
};

// The lane's part of 16 columns and eight rows in patches: columns 2 i and 2 i + 1, rows 2 j and 2 j + 1; WHOLE
// when all of them are of the resized image.
template <bool WHOLE>
__device__ __forceinline__ void put_levels(const ImageParams& p, const ImageCamera& c, u32 left, u32 top,
                                           const FourLevels& levels, const u16* lookup, u32* patches) {
    u32 lane = threadIdx.x % WARP, column = lane / 4 * 2, row = lane % 4 * 2;
    u32 halves[4][CHANNELS];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        u32 x = left + column + i / 2, y = top + row + i % 2;
        bool shown = WHOLE || (x - c.first_column < c.columns && y - c.first_row < c.rows);
        bool inside = WHOLE || (x < p.width && y < p.height);
#pragma unroll
        for (u32 j = 0; j < CHANNELS; ++j)
            halves[i][j] = inside ? lookup[j * LEVELS + (shown ? levels.channel[j][i] : 0)] : 0;
    }
    u32* to = patches + (row / PATCH * STRIP_PATCHES + column / PATCH) * PATCH_WORDS + column % PATCH / 2 * 3;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        u32* words = to + (row % PATCH + i) * (PATCH * CHANNELS / 2);
        words[0] = halves[i][0] | halves[i][1] << 16;
        words[1] = halves[i][2] | halves[2 + i][0] << 16;
        words[2] = halves[2 + i][1] | halves[2 + i][2] << 16;
    }
}

// 16 columns and eight rows of patches, or what of them is in the tile and the image.
__device__ __forceinline__ void store_patches(const ImageParams& p, const ImageCamera& c, u32 left, u32 top, u32 end,
                                              const uint4* patches) {
    u32 first_column = left / PATCH, first_row = top / PATCH, last_row = min(end / PATCH, p.patch_rows);
#pragma unroll
    for (u32 i = threadIdx.x % WARP, round = 0; round < ceil_div(BATCH_PATCHES * PATCH_CHUNKS, WARP); ++round, i += WARP) {
        u32 patch = i / PATCH_CHUNKS, row = first_row + patch / STRIP_PATCHES, column = first_column + patch % STRIP_PATCHES;
        u32 at = (c.camera * p.patch_rows + row) * p.patch_columns + column;
        if (patch < BATCH_PATCHES && row < last_row && column < p.patch_columns)
            reinterpret_cast<uint4*>(p.out)[at * PITCH_CHUNKS + i % PATCH_CHUNKS] = patches[i];
    }
}

// The second pass of the plain bilinear resize, for the lane's four pixels.
__device__ __forceinline__ FourLevels down_linear(const ImageCamera& c, const Tile& t, u32 top, const u32* column) {
    FourLevels levels;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        const u32* entry = row_entry(c, entry_of(top + threadIdx.x % 4 * 2 + i, c.first_row, c.rows));
        u32 places = __ldg(entry + 1), weights = __ldg(entry + 2);
        u32 first = (__ldg(entry) - t.group) * 4 + (places & 0xffff), second = first + (places >> 16);
#pragma unroll
        for (u32 j = 0; j < 2 * CHANNELS; ++j) {
            const u16* sums = reinterpret_cast<const u16*>(column + (j / 2 * TILE_COLUMNS + j % 2) * c.middle_pitch);
            levels.channel[j / 2][j % 2 * 2 + i] = truncated(sums[first], sums[second], weights);
        }
    }
    return levels;
}

// The second pass of any other, for the lane's four pixels.
template <u32 STEPS>
__device__ __forceinline__ FourLevels down_weighed(const ImageCamera& c, const Weights<STEPS>& weights,
                                                   const u32* column) {
    FourLevels levels;
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) {
        PlaneSums sums(HALF_LEVEL);
        const u32* left = column + i * TILE_COLUMNS * c.middle_pitch + threadIdx.x % 4;
        const u32* right = left + c.middle_pitch;
        weights.each_step([&](u32 step, const StepWeights& planes) {
            u32 on = step * STEP_WORDS;
            sums.add({left[on], right[on], left[on + 4], right[on + 4]}, planes);
        });
#pragma unroll
        for (u32 j = 0; j < 4; ++j)
            levels.channel[i][j] = static_cast<u32>(max(0, min(sums.total(j) >> WEIGHT_BITS, 255)));
    }
    return levels;
}

// Eight rows each of a tile, a power of two.
__device__ __forceinline__ u32 batches_of(const ImageCamera& c) { return max(c.tile_rows / BATCH, 1u); }

__device__ __forceinline__ u32 batch_of_warp(const ImageCamera& c) { return threadIdx.x / WARP & (batches_of(c) - 1); }

// Calls use(batch, strip) for all eight rows by 16 columns of the warp; the batch is the same each time.
template <typename Use>
__device__ __forceinline__ void each_part(const ImageCamera& c, Use use) {
    u32 batches = batches_of(c), shift = static_cast<u32>(__popc(static_cast<int>(batches - 1)));
#pragma unroll 1
    for (u32 strip = threadIdx.x / WARP >> shift; strip < TILE_COLUMNS / STRIP; strip += TILE_WARPS >> shift)
        use(batch_of_warp(c), strip);
}

}  // namespace bev
