// Sites of all levels of the sparse encoder, and packed rulebooks of all its convolutions.
//
// In: occupancy, ranks and sites of level 0. Out: the same of each further level, the number of rows of
// each, and for each convolution `entry[tap][row]` with tap = kx * KY + ky and the row fastest:
// (first input row << 3) | mask, where mask bit dz tells whether kernel offset (kx, ky, dz) has an input.
// z is fastest in the order of rows, so the inputs of a tap are consecutive. Rows from the count up to the
// next multiple of 128 are zero.
//
// Sites of a level beyond its capacity are cut in canonical order; nothing further sees them.

#include "include/common.cuh"
#include "include/frame.cuh"
#include "include/scan.cuh"

namespace bev {

constexpr u32 MAX_MAPS = 12;
constexpr u32 LEVEL_THREADS = 1024;
constexpr u32 MAP_THREADS = 256;
// Columns of a thread in large levels.
constexpr u32 WIDE_ROWS = 4;
constexpr u32 TILE_ROWS = 128;

struct Geometry {
    i32 kernel[3];
    i32 stride[3];
    i32 padding[3];
    i32 input[3];   // extents
    i32 output[3];  // extents
    u32 spare;
};

struct LevelParams {
    FrameCounts* counts;
    const u64* input_words;
    u64* words;
    u32* prefix;
    u32* site;
    u32* chunk_counts;
    u32* order;  // blocks of the kernel that have started
    Geometry geometry;
    u32 columns;
    u32 capacity;
    u32 level;
    u32 spare;
};

struct MapParams {
    const u64* input_words;
    const u32* input_prefix;
    const u32* site;
    u32* entry;
    Geometry geometry;
    u32 level;
    u32 row_stride;
    u32 first_block;
    u32 spare;
};

struct MapsParams {
    const FrameCounts* counts;
    u32* chunk_counts;  // of all levels
    u32 chunks;
    u32 maps;
    MapParams map[MAX_MAPS];
};

__device__ __forceinline__ u64 shifted(u64 word, i32 right) {
    return right >= 0 ? word >> right : word << -right;
}

// Every second bit, close together.
__device__ __forceinline__ u64 even_bits(u64 w) {
    w &= 0x5555555555555555ull;
    w = (w | w >> 1) & 0x3333333333333333ull;
    w = (w | w >> 2) & 0x0f0f0f0f0f0f0f0full;
    w = (w | w >> 4) & 0x00ff00ff00ff00ffull;
    w = (w | w >> 8) & 0x0000ffff0000ffffull;
    return (w | w >> 16) & 0x00000000ffffffffull;
}

// Output bit z is set where any input bit of [z * stride - padding, ... + kernel) is.
__device__ u64 output_word(u64 word, const Geometry& g) {
    u64 reach = 0;
    for (i32 dz = 0; dz < g.kernel[2]; ++dz) {
        reach |= shifted(word, dz - g.padding[2]);
    }
    u64 out = reach;
    if (g.stride[2] == 2) {
        out = even_bits(reach);
    } else if (g.stride[2] > 2) {
        out = 0;
        for (i32 z = 0; z < g.output[2] && z * g.stride[2] < 64; ++z) {
            out |= (reach >> (z * g.stride[2]) & 1) << z;
        }
    }
    return g.output[2] == 64 ? out : out & bits_below(g.output[2]);
}

template <i32 KX, i32 KY>
__device__ __forceinline__ u64 gather_columns(const LevelParams& p, i32 x, i32 y) {
    const Geometry& g = p.geometry;
    const i32 kernel_x = KX > 0 ? KX : g.kernel[0], kernel_y = KY > 0 ? KY : g.kernel[1];
    u64 word = 0;
#pragma unroll
    for (i32 kx = 0; kx < kernel_x; ++kx) {
#pragma unroll
        for (i32 ky = 0; ky < kernel_y; ++ky) {
            const i32 in_x = x * g.stride[0] - g.padding[0] + kx;
            const i32 in_y = y * g.stride[1] - g.padding[1] + ky;
            if (in_x >= 0 && in_x < g.input[0] && in_y >= 0 && in_y < g.input[1]) {
                word |= p.input_words[in_x * g.input[1] + in_y];
            }
        }
    }
    return word;
}

// The lowest `count` set bits.
__device__ u64 lowest_bits(u64 word, u32 count) {
    u64 kept = 0;
    for (; count > 0 && word != 0; --count, word &= word - 1) {
        kept |= word & -word;
    }
    return kept;
}

__device__ __forceinline__ u64 level_word(const LevelParams& p, u32 column) {
    const Geometry& g = p.geometry;
    if (column >= p.columns) {
        return 0;
    }
    const i32 x = column / g.output[1], y = column % g.output[1];
    const bool usual = g.kernel[0] == 3 && g.kernel[1] == 3;
    return output_word(usual ? gather_columns<3, 3>(p, x, y) : gather_columns<0, 0>(p, x, y), g);
}

// Cuts the column at the level's capacity.
__device__ __forceinline__ void emit_column(const LevelParams& p, u32 column, u64 word, u32 rank) {
    if (rank + __popcll(word) > p.capacity) {
        word = lowest_bits(word, p.capacity - min(rank, p.capacity));
    }
    p.words[column] = word;
    if (word != 0) {
        p.prefix[column] = rank;
    }
    for (; word != 0; word &= word - 1, ++rank) {
        p.site[rank] = column * 64 + __ffsll(word) - 1;
    }
}

// Occupancy, ranks and sites of a level from the occupancy of the level before.
template <u32 ROWS>
__device__ void make_level(const LevelParams& p) {
    __shared__ u32 scratch[SCAN_WORDS<LEVEL_THREADS>];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 chunk = start_order(p.order, scratch);
    const u32 first = (chunk * LEVEL_THREADS + warp * WARP) * ROWS + lane;
    u64 words[ROWS];
    u32 counts[ROWS], ranks[ROWS], sites;
#pragma unroll
    for (u32 row = 0; row < ROWS; ++row) {
        words[row] = level_word(p, first + row * WARP);
        counts[row] = __popcll(words[row]);
    }
    scan_rows<LEVEL_THREADS>(counts, ranks, scratch, sites);
    const u32 before = sum_before<LEVEL_THREADS>(p.chunk_counts, chunk, sites, scratch);
    if (chunk + 1 == gridDim.x && threadIdx.x == 0) {
        p.counts->sites[p.level] = before + sites;
        p.counts->rows[p.level] = min(before + sites, p.capacity);
    }
#pragma unroll
    for (u32 row = 0; row < ROWS; ++row) {
        const u32 column = first + row * WARP;
        if (column < p.columns) {
            emit_column(p, column, words[row], before + ranks[row]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(LEVEL_THREADS) rulebook_level(PARAMS LevelParams p) {
    make_level<1>(p);
}

extern "C" __global__ void __launch_bounds__(LEVEL_THREADS, 1) rulebook_level_wide(PARAMS LevelParams p) {
    make_level<WIDE_ROWS>(p);
}

// Input column of a tap, or none.
__device__ __forceinline__ i32 input_column(const Geometry& g, i32 x, i32 y, i32 kx, i32 ky) {
    const i32 in_x = x * g.stride[0] - g.padding[0] + kx;
    const i32 in_y = y * g.stride[1] - g.padding[1] + ky;
    const bool inside = in_x >= 0 && in_x < g.input[0] && in_y >= 0 && in_y < g.input[1];
    return inside ? in_x * g.input[1] + in_y : -1;
}

// All words of a row are on their way before the first is used.
template <i32 KX, i32 KY>
__device__ void fill_taps(const MapParams& map, i32 x, i32 y, i32 z, u32* out) {
    const Geometry& g = map.geometry;
    i32 column[KX * KY];
    u64 word[KX * KY];
    const i32 lowest = z * g.stride[2] - g.padding[2];
    const u64 window = bits_below(g.kernel[2]), below = bits_below(max(lowest, 0));
#pragma unroll
    for (i32 tap = 0; tap < KX * KY; ++tap) {
        column[tap] = input_column(g, x, y, tap / KY, tap % KY);
        word[tap] = column[tap] >= 0 ? map.input_words[column[tap]] : 0;
    }
    u32 entry[KX * KY];
#pragma unroll
    for (i32 tap = 0; tap < KX * KY; ++tap) {
        const u32 mask = shifted(word[tap], lowest) & window;
        entry[tap] = 0;
        if (mask != 0) {
            const u32 row = map.input_prefix[column[tap]] + __popcll(word[tap] & below);
            entry[tap] = row << 3 | mask;
        }
    }
#pragma unroll
    for (i32 tap = 0; tap < KX * KY; ++tap) {
        out[static_cast<u64>(tap) * map.row_stride] = entry[tap];
    }
}

__device__ void fill_any_taps(const MapParams& map, i32 x, i32 y, i32 z, u32* out) {
    const Geometry& g = map.geometry;
    const i32 lowest = z * g.stride[2] - g.padding[2];
    for (i32 tap = 0; tap < g.kernel[0] * g.kernel[1]; ++tap) {
        const i32 column = input_column(g, x, y, tap / g.kernel[1], tap % g.kernel[1]);
        const u64 word = column >= 0 ? map.input_words[column] : 0;
        const u32 mask = shifted(word, lowest) & bits_below(g.kernel[2]);
        u32 entry = 0;
        if (mask != 0) {
            const u64 below = word & bits_below(max(lowest, 0));
            entry = (map.input_prefix[column] + __popcll(below)) << 3 | mask;
        }
        out[static_cast<u64>(tap) * map.row_stride] = entry;
    }
}

// All maps of the network; one thread per map and output row.
extern "C" __global__ void __launch_bounds__(MAP_THREADS) rulebook_maps(PARAMS MapsParams p) {
    // For the next frame.
    const u32 thread = blockIdx.x * MAP_THREADS + threadIdx.x;
    if (thread < p.chunks) {
        p.chunk_counts[thread] = 0;
    }
    u32 number = 0;
    while (number + 1 < p.maps && p.map[number + 1].first_block <= blockIdx.x) {
        ++number;
    }
    const MapParams& map = p.map[number];
    const Geometry& g = map.geometry;
    const u32 row = (blockIdx.x - map.first_block) * MAP_THREADS + threadIdx.x;
    const u32 rows = p.counts->rows[map.level];
    if (row >= ceil_div(rows, TILE_ROWS) * TILE_ROWS) {
        return;
    }
    u32* out = map.entry + row;
    if (row >= rows) {
        for (i32 tap = 0; tap < g.kernel[0] * g.kernel[1]; ++tap) {
            out[static_cast<u64>(tap) * map.row_stride] = 0;
        }
        return;
    }
    const u32 site = map.site[row];
    const i32 z = site % 64, x = site / 64 / g.output[1], y = site / 64 % g.output[1];
    if (g.kernel[0] == 3 && g.kernel[1] == 3) {
        fill_taps<3, 3>(map, x, y, z, out);
    } else if (g.kernel[0] == 1 && g.kernel[1] == 1) {
        fill_taps<1, 1>(map, x, y, z, out);
    } else {
        fill_any_taps(map, x, y, z, out);
    }
}

}  // namespace bev
