// Camera images to the network's input: decoded, undistorted, resized, cropped, normalised, in patches.
//
// In: 8-bit images of any format (`image_pixels.cuh`). Out: fp16 [camera][ceil(H/4)][ceil(W/4)][64], value
// dy * 12 + dx * 3 + channel; pixels beyond H, W are 0. A block makes 32 columns of up to 32 rows: it brings
// the source under them into shared memory; weighs it along rows, then along columns, on tensor cores
// (`image_passes.cuh`); looks levels up; and stores whole patches. Where the support of a tile is beyond
// shared memory, `image_far` gives a warp to each pixel.
#include "include/image_passes.cuh"

namespace bev {

constexpr u32 IMAGE_THREADS = 256;
// Blocks of `image_tiles` that registers leave room for without spills.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr u32 TILE_BLOCKS = 6;
#else
constexpr u32 TILE_BLOCKS = 7;
#endif
constexpr u32 IMAGE_WARPS = IMAGE_THREADS / WARP;

__device__ __forceinline__ Tile tile_of(const ImageParams& p, const ImageCamera& c) {
    Tile t = {blockIdx.x * TILE_COLUMNS, blockIdx.y * c.tile_rows, 0, 0, 0, 0};
    u32 right = min(t.left + TILE_COLUMNS, p.width) - 1, bottom = min(t.top + c.tile_rows, p.height) - 1;
    t.word = __ldg(c.table + entry_of(t.left, c.first_column, c.columns));
    t.words = __ldg(c.table + entry_of(right, c.first_column, c.columns)) + c.column_words - t.word;
    // Two at least, for the division by multiplication.
    t.words = max(t.words, 2u);
    t.group = __ldg(row_entry(c, entry_of(t.top, c.first_row, c.rows)));
    t.groups = __ldg(row_entry(c, entry_of(bottom, c.first_row, c.rows))) + c.row_groups - t.group;
    return t;
}

// Rows of three bytes a pixel, as they are, in chunks of 16 bytes; half a warp takes a row.
__device__ __forceinline__ void stage(const ImageCamera& c, const Tile& t, u8* source) {
    constexpr u32 LANES = 16, ROWS = TILE_THREADS / LANES;  // a round
    u32 lane = threadIdx.x % LANES, first = t.group * 4, rows = min(t.groups * 4, c.bottom - first);
    u32 bytes = (min((t.word + t.words) * 4, c.right) - t.word * 4) * PIXEL_BYTES;
    u64 start = reinterpret_cast<u64>(row_of(c, first + threadIdx.x / LANES)) + t.word * WORD_BYTES;
    u8* to = source + row_offset(c, threadIdx.x / LANES) + lane * 16;
    u32 step = row_offset(c, ROWS);
    u64 stride = static_cast<u64>(c.stride) * ROWS;
    if (c.stride % 16 == 0 && c.row_pitch <= LANES * 16) {
        // All rows start alike, and a lane's chunk is the same in all of them.
        u32 away = static_cast<u32>(start) & 15, end = away + bytes;
        if (lane * 16 >= end) return;
        u32 size = min(end - lane * 16, 16u);
        const u8* from = reinterpret_cast<const u8*>(start - away) + lane * 16;
#pragma unroll 2
        for (u32 row = threadIdx.x / LANES; row < rows; row += ROWS, to += step, from += stride)
            copy_part_async(to, from, size);
        return;
    }
#pragma unroll 1
    for (u32 row = threadIdx.x / LANES; row < rows; row += ROWS, to += step, start += stride) {
        u32 away = static_cast<u32>(start) & 15, end = away + bytes;
        const u8* from = reinterpret_cast<const u8*>(start - away);
#pragma unroll 1
        for (u32 at = lane * 16; at < end; at += LANES * 16)
            copy_part_async(to + at - lane * 16, from + at, min(end - at, 16u));
    }
}

// Pixel by pixel. Words beyond the source keep what they hold: nothing weighs them.
__device__ __forceinline__ void fetch(const ImageCamera& c, const Tile& t, u8* source) {
    u32 all = t.groups * 4 * t.words, inverse = 0xffffffffu / t.words + 1;
    for (u32 i = threadIdx.x; i < all; i += TILE_THREADS) {
        u32 row = __umulhi(i, inverse), word = i - row * t.words, x = (t.word + word) * 4, y = t.group * 4 + row;
        if (x >= c.right || y >= c.bottom) continue;
        FourPixels four = c.map_kind == NO_MAP ? four_at(c, x, y) : four_unbent(c, x, y);
        u32* to = reinterpret_cast<u32*>(source + row_offset(c, row) + word * WORD_BYTES);
#pragma unroll
        for (u32 j = 0; j < CHANNELS; ++j) to[j] = four.channel[j];
    }
}

// The normalised levels, on their way to shared memory.
struct Lookup {
    u32 words[CHANNELS * LEVELS / 2 / TILE_THREADS];

    __device__ __forceinline__ explicit Lookup(const ImageParams& p) {
        const u32* from = reinterpret_cast<const u32*>(p.levels) + threadIdx.x;
#pragma unroll
        for (u32 i = 0; i < CHANNELS * LEVELS / 2 / TILE_THREADS; ++i) words[i] = read_now(from + i * TILE_THREADS, true);
    }

    __device__ __forceinline__ void store(u16* to) const {
#pragma unroll
        for (u32 i = 0; i < CHANNELS * LEVELS / 2 / TILE_THREADS; ++i)
            reinterpret_cast<u32*>(to)[threadIdx.x + i * TILE_THREADS] = words[i];
    }
};

// What a block has in shared memory. Patches take the place of the source.
struct TileMemory {
    u16* lookup;
    u32* middle;
    u8* source;

    __device__ __forceinline__ u32* patches() const {
        return reinterpret_cast<u32*>(source) + threadIdx.x / WARP * BATCH_PATCHES * PATCH_WORDS;
    }
};

// Levels of the lane's pixels of a part to patches in global memory.
__device__ __forceinline__ void finish(const ImageParams& p, const ImageCamera& c, const Tile& t, u32 left, u32 top,
                                       const FourLevels& levels, const TileMemory& memory) {
    bool whole = left >= c.first_column && left + STRIP <= min(c.first_column + c.columns, p.width) &&
                 top >= c.first_row && top + BATCH <= min(c.first_row + c.rows, p.height);
    u32* patches = memory.patches();
    if (whole) put_levels<true>(p, c, left, top, levels, memory.lookup, patches);
    else put_levels<false>(p, c, left, top, levels, memory.lookup, patches);
    __syncwarp();
    store_patches(p, c, left, top, t.top + c.tile_rows, reinterpret_cast<const uint4*>(patches));
    __syncwarp();
}

// The second pass; levels_of(top, column) are those of the lane's pixels.
template <typename Levels>
__device__ __forceinline__ void down(const ImageParams& p, const ImageCamera& c, const Tile& t,
                                     const TileMemory& memory, Levels levels_of) {
    each_part(c, [&](u32 batch, u32 strip) {
        u32 left = strip * STRIP, top = t.top + batch * BATCH;
        const u32* column = memory.middle + (left + threadIdx.x % WARP / 4 * 2) * c.middle_pitch;
        finish(p, c, t, t.left + left, top, levels_of(top, column), memory);
    });
}

// The weights that a warp starts with; read before the source is asked for.
struct TileWeights {
    FirstWeights columns, rows;

    __device__ __forceinline__ TileWeights(const ImageCamera& c, const Tile& t)
        : columns(column_list(c, t, threadIdx.x / WARP)), rows(row_list(c, t, batch_of_warp(c))) {}
};

// Both passes, the source being on its way.
template <bool LINEAR, u32 STEPS>
__device__ __forceinline__ void resample(const ImageParams& p, const ImageCamera& c, const Tile& t,
                                         const TileWeights& weights, const TileMemory& memory) {
    Weights<STEPS> columns(weights.columns);
    wait_for_copies();
    __syncthreads();
    across<LINEAR>(c, t, columns, weights.columns.list.first, memory.source, memory.middle);
    __syncthreads();
    if constexpr (LINEAR) {
        down(p, c, t, memory, [&](u32 top, const u32* column) { return down_linear(c, t, top, column); });
    } else {
        Weights<STEPS> rows(weights.rows);
        down(p, c, t, memory, [&](u32, const u32* column) {
            return down_weighed(c, rows, column + weights.rows.list.first);
        });
    }
}

}  // namespace bev

using namespace bev;

extern __shared__ uint4 image_memory[];

extern "C" __global__ void __launch_bounds__(TILE_THREADS, TILE_BLOCKS) image_tiles(PARAMS ImageParams p) {
    const ImageCamera& c = p.cameras[blockIdx.z];
    if (blockIdx.y * c.tile_rows >= p.patch_rows * PATCH) return;
    constexpr u32 LOOKUP_CHUNKS = CHANNELS * LEVELS * 2 / 16;
    TileMemory memory = {reinterpret_cast<u16*>(image_memory), reinterpret_cast<u32*>(image_memory + LOOKUP_CHUNKS),
                         reinterpret_cast<u8*>(image_memory + c.source_at)};
    Lookup values(p);
    if (shows_nothing(c)) {
        Tile t = {blockIdx.x * TILE_COLUMNS, blockIdx.y * c.tile_rows, 0, 0, 0, 0};
        values.store(memory.lookup);
        __syncthreads();
        each_part(c, [&](u32 batch, u32 strip) {
            finish(p, c, t, t.left + strip * STRIP, t.top + batch * BATCH, FourLevels{}, memory);
        });
        return;
    }
    Tile t = tile_of(p, c);
    TileWeights weights(c, t);
    if (c.staged) stage(c, t, memory.source);
    else fetch(c, t, memory.source);
    values.store(memory.lookup);
    if (c.linear) {
        if (c.steps == 1) resample<true, 1>(p, c, t, weights, memory);
        else resample<true, 0>(p, c, t, weights, memory);
    } else {
        if (c.steps == 1) resample<false, 1>(p, c, t, weights, memory);
        else if (c.steps == 2) resample<false, 2>(p, c, t, weights, memory);
        else resample<false, 0>(p, c, t, weights, memory);
    }
}

namespace bev {

__device__ __forceinline__ u32 warp_total(u32 value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

// Levels to halves in the place of their pixel in its patch.
__device__ __forceinline__ void put_pixel(const u16* lookup, u16* to, const u32 (&levels)[CHANNELS], bool inside) {
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) to[i] = inside ? lookup[i * LEVELS + levels[i]] : static_cast<u16>(0);
}

// Sums of a source row for one output column; a lane takes every 32nd pixel.
__device__ __forceinline__ void far_row(const ImageCamera& c, u32 column, u32 y, u32 (&sums)[CHANNELS]) {
    u32 start = __ldg(c.table + column);
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) sums[i] = 0;
    for (u32 tap = threadIdx.x % WARP; tap < c.column_words * 4; tap += WARP) {
        i32 weight = one_weight(c.table + c.columns + column, c.columns, tap);
        if (weight == 0) continue;
        u32 x = start * 4 + tap, pixel = c.map_kind == NO_MAP ? pixel_at(c, x, y) : unbent_pixel(c, x, y);
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) sums[i] += (pixel >> 8 * i & 255) * static_cast<u32>(weight);
    }
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) sums[i] = warp_total(sums[i]);
}

// Levels of one output pixel, inside the resized image; a warp's work.
__device__ __forceinline__ void far_pixel(const ImageCamera& c, u32 column, u32 row, u32 (&levels)[CHANNELS]) {
    const u32* entry = row_entry(c, row);
    u32 start = __ldg(entry) * 4, sums[CHANNELS];
    if (c.linear) {
        u32 places = __ldg(entry + 1), weights = __ldg(entry + 2), first[CHANNELS];
        far_row(c, column, start + (places & 0xffff), first);
        far_row(c, column, start + (places & 0xffff) + (places >> 16), sums);
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) levels[i] = truncated(first[i] >> 4, sums[i] >> 4, weights);
        return;
    }
    u32 totals[CHANNELS] = {};
    for (u32 tap = 0; tap < c.row_groups * 4; ++tap) {
        i32 weight = one_weight(entry + 1, 1, tap);
        if (weight == 0) continue;
        far_row(c, column, start + tap, sums);
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) totals[i] += rounded(sums[i]) * static_cast<u32>(weight);
    }
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) levels[i] = rounded(totals[i]);
}

}  // namespace bev

// Any scale, without shared memory: a block is a patch.
extern "C" __global__ void __launch_bounds__(IMAGE_THREADS, 4) image_far(PARAMS ImageParams p) {
    const ImageCamera& c = p.cameras[blockIdx.z];
    u64 patch = (static_cast<u64>(c.camera) * p.patch_rows + blockIdx.y) * p.patch_columns + blockIdx.x;
    for (u32 pixel = threadIdx.x / WARP; pixel < PATCH * PATCH; pixel += IMAGE_WARPS) {
        u32 x = blockIdx.x * PATCH + pixel % PATCH, y = blockIdx.y * PATCH + pixel / PATCH;
        u32 levels[CHANNELS] = {};
        bool shown = !shows_nothing(c) && x - c.first_column < c.columns && y - c.first_row < c.rows;
        if (shown) far_pixel(c, x - c.first_column, y - c.first_row, levels);
        if (threadIdx.x % WARP == 0)
            put_pixel(p.levels, p.out + patch * PATCH_PITCH + pixel * CHANNELS, levels, x < p.width && y < p.height);
    }
}

namespace bev {

struct ImageUploadParams {
    const u32* from;
    u32* to;
    u64 words;
};

}  // namespace bev

// Tables from page-locked memory to the device, in the stream's order.
extern "C" __global__ void __launch_bounds__(IMAGE_THREADS) image_upload(PARAMS ImageUploadParams p) {
    u64 step = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 i = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x; i < p.words; i += step) p.to[i] = p.from[i];
}
