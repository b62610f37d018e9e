// Camera images to the network's input: decoded, undistorted, resized, cropped, normalised, in patches.
//
// In: 8-bit images of any format (`image_pixels.cuh`). Out: fp16 [camera][ceil(H/4)][ceil(W/4)][64], value
// dy * 12 + dx * 3 + channel; pixels beyond H, W are 0. A block makes 32 columns of up to 32 rows: it brings
// the source under them into shared memory, a byte plane for each channel; weighs it along rows, then along
// columns; looks levels up; and stores whole patches. Both passes multiply four bytes at a time: weights of
// 24 bits are three planes of bytes, zero where a word of four reaches beyond the support. Where the support
// of a tile is beyond shared memory, `image_far` gives a warp to each pixel.
#include "include/image_pixels.cuh"
#include "include/image_weights.cuh"

namespace bev {

constexpr u32 IMAGE_THREADS = 256;
constexpr u32 IMAGE_WARPS = IMAGE_THREADS / WARP;
constexpr u32 TILE_COLUMNS = 32;
constexpr u32 TILE_PATCHES = TILE_COLUMNS / PATCH;
constexpr u32 PATCH_CHUNKS = PATCH_VALUES * 2 / 16;
constexpr u32 PITCH_CHUNKS = PATCH_PITCH * 2 / 16;

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

__device__ __forceinline__ Tile tile_of(const ImageParams& p, const ImageCamera& c) {
    Tile t = {blockIdx.x * TILE_COLUMNS, blockIdx.y * c.tile_rows, 0, 0, 0, 0};
    if (shows_nothing(c)) return t;
    u32 right = min(t.left + TILE_COLUMNS, p.width) - 1, bottom = min(t.top + c.tile_rows, p.height) - 1;
    t.word = __ldg(c.table + entry_of(t.left, c.first_column, c.columns));
    t.words = __ldg(c.table + entry_of(right, c.first_column, c.columns)) + c.column_words - t.word;
    // Two at least, for the division by multiplication.
    t.words = max(t.words, 2u);
    t.group = __ldg(row_entry(c, entry_of(t.top, c.first_row, c.rows)));
    t.groups = __ldg(row_entry(c, entry_of(bottom, c.first_row, c.rows))) + c.row_groups - t.group;
    return t;
}

// Calls use(row, word) for every word of every row of the source, shared among the threads.
template <typename Use>
__device__ __forceinline__ void each_word(const Tile& t, Use use) {
    u32 all = t.groups * 4 * t.words, inverse = 0xffffffffu / t.words + 1;
    for (u32 i = threadIdx.x; i < all; i += IMAGE_THREADS) {
        u32 row = __umulhi(i, inverse);
        use(row, i - row * t.words);
    }
}

__device__ __forceinline__ void store_word(const ImageCamera& c, u32* planes, u32 row, u32 word, FourPixels four) {
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) planes[(i * c.group_room * 4 + row) * c.pitch + word] = four.channel[i];
}

// Rows of three bytes a pixel, as they are, in chunks of 16 bytes.
__device__ __forceinline__ void stage(const ImageCamera& c, const Tile& t, u8* raw) {
    u32 room = c.raw_pitch / 16, all = t.groups * 4 * room, end = min((t.word + t.words) * 4, c.right) * 3;
    u32 inverse = 0xffffffffu / room + 1;
    for (u32 i = threadIdx.x; i < all; i += IMAGE_THREADS) {
        u32 row = __umulhi(i, inverse), chunk = i - row * room, y = t.group * 4 + row;
        if (y >= c.bottom) break;
        u64 line = reinterpret_cast<u64>(row_of(c, y)), last = line + end;
        u64 from = ((line + t.word * 12) & ~15ull) + chunk * 16;
        if (from < last)
            copy_part_async(raw + row * c.raw_pitch + chunk * 16, reinterpret_cast<const u8*>(from),
                            static_cast<u32>(min(last - from, 16ull)));
    }
    wait_for_copies();
}

__device__ __forceinline__ u32 staged_word(const u32* words, u32 shift) {
    return __funnelshift_r(words[0], words[1], shift);
}

__device__ __forceinline__ void split_staged(const ImageCamera& c, const Tile& t, const u8* raw, u32* planes) {
    each_word(t, [&](u32 row, u32 word) {
        u64 line = reinterpret_cast<u64>(row_of(c, t.group * 4 + row)) + t.word * 12;
        u32 byte = row * c.raw_pitch + (static_cast<u32>(line) & 15) + word * 12, shift = byte % 4 * 8;
        const u32* words = reinterpret_cast<const u32*>(raw) + byte / 4;
        FourPixels four = from_interleaved(staged_word(words, shift), staged_word(words + 1, shift),
                                           staged_word(words + 2, shift));
        store_word(c, planes, row, word, c.format == RGB8 ? four : swapped(four));
    });
}

// Words beyond the source keep what they hold: nothing weighs them.
__device__ __forceinline__ void fetch(const ImageCamera& c, const Tile& t, u32* planes) {
    each_word(t, [&](u32 row, u32 word) {
        u32 x = (t.word + word) * 4, y = t.group * 4 + row;
        if (x >= c.right || y >= c.bottom) return;
        store_word(c, planes, row, word, c.map_kind == NO_MAP ? four_at(c, x, y) : four_unbent(c, x, y));
    });
}

// The first pass: a lane is an output column, a task four rows of a channel. Results stand column by column.
template <u32 WORDS>
__device__ __forceinline__ void across(const ImageCamera& c, const Tile& t, const u32* planes, u32* middle) {
    u32 lane = threadIdx.x % WARP;
    u32 entry = entry_of(t.left + lane, c.first_column, c.columns);
    const u32* table = c.table + entry;
    u32 start = __ldg(table) - t.word;
    Weights<WORDS> weights(table + c.columns, c.columns, c.column_words);
    for (u32 task = threadIdx.x / WARP; task < CHANNELS * t.groups; task += IMAGE_WARPS) {
        u32 channel = task >= 2 * t.groups ? 2 : task >= t.groups ? 1 : 0, group = task - channel * t.groups;
        const u32* from = planes + (channel * c.group_room + group) * 4 * c.pitch + start;
        u32 sums[4] = {};
        weights.add(from, c.pitch, sums);
        u32* to = middle + (channel * TILE_COLUMNS + lane) * c.middle_pitch;
        if (c.linear) {
            to[2 * group] = sums[0] >> 4 | (sums[1] >> 4) << 16;
            to[2 * group + 1] = sums[2] >> 4 | (sums[3] >> 4) << 16;
        } else {
            to[group] = rounded(sums[0]) | rounded(sums[1]) << 8 | rounded(sums[2]) << 16 | rounded(sums[3]) << 24;
        }
    }
}

// Levels to halves in the place of their pixel in its patch.
__device__ __forceinline__ void put_pixel(const u16* lookup, u16* to, const u32 (&levels)[CHANNELS], bool inside) {
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) to[i] = inside ? lookup[i * LEVELS + levels[i]] : static_cast<u16>(0);
}

// The second pass: a lane is an output column, a warp a row.
template <u32 GROUPS>
__device__ __forceinline__ void down(const ImageParams& p, const ImageCamera& c, const Tile& t, const u32* middle,
                                     const u16* lookup, u16* patches) {
    u32 lane = threadIdx.x % WARP, x = t.left + lane;
    bool column_shown = !shows_nothing(c) && x - c.first_column < c.columns;
    const u32* from = middle + lane * c.middle_pitch;
    for (u32 row = threadIdx.x / WARP; row < c.tile_rows; row += IMAGE_WARPS) {
        u32 y = t.top + row;
        if (y >= p.patch_rows * PATCH) break;
        u32 levels[CHANNELS] = {};
        if (column_shown && y - c.first_row < c.rows) {
            const u32* entry = row_entry(c, y - c.first_row);
            u32 start = __ldg(entry) - t.group;
            if (c.linear) {
                u32 places = __ldg(entry + 1), weights = __ldg(entry + 2), first = start * 4 + (places & 0xffff);
#pragma unroll
                for (u32 i = 0; i < CHANNELS; ++i) {
                    const u16* column = reinterpret_cast<const u16*>(from + i * TILE_COLUMNS * c.middle_pitch);
                    levels[i] = truncated(column[first], column[first + (places >> 16)], weights);
                }
            } else {
                Weights<GROUPS> weights(entry + 1, 1, c.row_groups);
#pragma unroll
                for (u32 i = 0; i < CHANNELS; ++i)
                    levels[i] = rounded(weights.sum(from + i * TILE_COLUMNS * c.middle_pitch + start));
            }
        }
        u16* to = patches + (row / PATCH * TILE_PATCHES + lane / PATCH) * PATCH_VALUES + row % PATCH * 12 + lane % PATCH * 3;
        put_pixel(lookup, to, levels, x < p.width && y < p.height);
    }
}

__device__ __forceinline__ void load_lookup(const ImageParams& p, u16* lookup) {
    for (u32 i = threadIdx.x; i < CHANNELS * LEVELS / 2; i += IMAGE_THREADS)
        reinterpret_cast<u32*>(lookup)[i] = __ldg(reinterpret_cast<const u32*>(p.levels) + i);
}

__device__ __forceinline__ void store_patches(const ImageParams& p, const ImageCamera& c, const Tile& t,
                                              const uint4* patches) {
    u32 first_row = t.top / PATCH, first_column = t.left / PATCH;
    u32 here = min(TILE_PATCHES, p.patch_columns - first_column) * PATCH_CHUNKS;
    constexpr u32 ROOM = TILE_PATCHES * PATCH_CHUNKS;
    for (u32 i = threadIdx.x; i < c.tile_rows / PATCH * ROOM; i += IMAGE_THREADS) {
        u32 row = i / ROOM, chunk = i % ROOM;
        if (first_row + row >= p.patch_rows || chunk >= here) continue;
        u64 patch = (static_cast<u64>(c.camera) * p.patch_rows + first_row + row) * p.patch_columns + first_column;
        const u64 to = (patch + chunk / PATCH_CHUNKS) * PITCH_CHUNKS + chunk % PATCH_CHUNKS;
        reinterpret_cast<uint4*>(p.out)[to] = patches[i];
    }
}

}  // namespace bev

using namespace bev;

extern __shared__ uint4 image_memory[];

extern "C" __global__ void __launch_bounds__(IMAGE_THREADS, 4) image_tiles(PARAMS ImageParams p) {
    __shared__ __align__(16) u16 lookup[CHANNELS * LEVELS];
    const ImageCamera& c = p.cameras[blockIdx.z];
    if (blockIdx.y * c.tile_rows >= p.patch_rows * PATCH) return;
    Tile t = tile_of(p, c);
    u32* planes = reinterpret_cast<u32*>(image_memory);
    uint4* second = image_memory + c.second_at;
    load_lookup(p, lookup);
    if (!shows_nothing(c)) {
        if (c.raw_pitch != 0) {
            stage(c, t, reinterpret_cast<u8*>(second));
            __syncthreads();
            split_staged(c, t, reinterpret_cast<const u8*>(second), planes);
        } else {
            fetch(c, t, planes);
        }
        __syncthreads();
        u32* middle = reinterpret_cast<u32*>(second);
        switch (c.column_words) {
            case 1: across<1>(c, t, planes, middle); break;
            case 2: across<2>(c, t, planes, middle); break;
            case 3: across<3>(c, t, planes, middle); break;
            case 4: across<4>(c, t, planes, middle); break;
            default: across<0>(c, t, planes, middle);
        }
    }
    __syncthreads();
    const u32* middle = reinterpret_cast<const u32*>(second);
    u16* patches = reinterpret_cast<u16*>(image_memory);
    switch (c.row_groups) {
        case 1: down<1>(p, c, t, middle, lookup, patches); break;
        case 2: down<2>(p, c, t, middle, lookup, patches); break;
        case 3: down<3>(p, c, t, middle, lookup, patches); break;
        case 4: down<4>(p, c, t, middle, lookup, patches); break;
        default: down<0>(p, c, t, middle, lookup, patches);
    }
    __syncthreads();
    store_patches(p, c, t, image_memory);
}

namespace bev {

__device__ __forceinline__ u32 warp_total(u32 value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
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
