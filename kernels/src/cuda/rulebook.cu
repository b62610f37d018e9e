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
constexpr u32 RANK_THREADS = 256;
constexpr u32 MAP_THREADS = 256;
// Columns of a level whose sites are counted together.
constexpr u32 LEVEL_CHUNK = 1024;
constexpr u32 COLUMNS_PER_THREAD = LEVEL_CHUNK / RANK_THREADS;
constexpr u32 TILE_ROWS = 128;
constexpr u32 NO_CUT = 0xffffffffu;

struct Geometry {
    i32 kernel[3];
    i32 stride[3];
    i32 padding[3];
    i32 input[3];   // extents
    i32 output[3];  // extents
    u32 spare;
};

struct LevelParams {
    const u64* input_words;
    u64* words;
    const u32* input_counts;  // per chunk; null for level 0, which is cut already
    u32* chunk_counts;
    Geometry geometry;
    u32 columns;
    u32 input_chunks;
    u32 input_capacity;
    u32 spare;
};

struct RankLevel {
    u64* words;
    u32* prefix;
    u32* site;
    const u32* chunk_counts;
    u32 chunks;
    u32 first_block;
    u32 capacity;
    u32 level;
};

struct RankParams {
    FrameCounts* counts;
    u32 levels;
    u32 spare;
    RankLevel level[MAX_LEVELS];
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
    u32 maps;
    u32 spare;
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

// Where a level is cut: its site of rank `capacity`, or NO_CUT. Uniform over the block.
__device__ u32 cut_of(const LevelParams& p, u32* scratch) {
    __shared__ u32 found[2];
    if (p.input_counts == nullptr) {
        return NO_CUT;
    }
    const ChunkStart start = chunk_start<LEVEL_THREADS>(p.input_counts, 0, p.input_chunks, scratch);
    if (start.all <= p.input_capacity) {
        return NO_CUT;
    }
    for (u32 base = 0, before = 0; base < p.input_chunks; base += LEVEL_THREADS) {
        const u32 chunk = base + threadIdx.x;
        const u32 count = chunk < p.input_chunks ? p.input_counts[chunk] : 0;
        u32 all;
        const u32 rank = before + scan_block<LEVEL_THREADS>(count, scratch, all);
        if (rank <= p.input_capacity && p.input_capacity < rank + count) {
            found[0] = chunk;
            found[1] = rank;
        }
        before += all;
    }
    __syncthreads();
    const u32 column = found[0] * LEVEL_CHUNK + threadIdx.x, before = found[1];
    u64 word = p.input_words[column];
    u32 all;
    u32 rank = before + scan_block<LEVEL_THREADS>(__popcll(word), scratch, all);
    for (; word != 0; word &= word - 1, ++rank) {
        if (rank == p.input_capacity) {
            found[0] = column * 64 + __ffsll(word) - 1;
        }
    }
    __syncthreads();
    return found[0];
}

__device__ __forceinline__ u64 word_before(u64 word, u32 column, u32 cut) {
    if (column < cut / 64) {
        return word;
    }
    return column == cut / 64 ? word & bits_below(cut % 64) : 0;
}

template <i32 KX, i32 KY>
__device__ __forceinline__ u64 gather_columns(const LevelParams& p, i32 x, i32 y, u32 cut) {
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
                const u32 column = in_x * g.input[1] + in_y;
                word |= word_before(p.input_words[column], column, cut);
            }
        }
    }
    return word;
}

// Occupancy of a level from that of the level before; one thread per column.
extern "C" __global__ void __launch_bounds__(LEVEL_THREADS) rulebook_level(PARAMS LevelParams p) {
    __shared__ u32 scratch[SCAN_WORDS<LEVEL_THREADS>];
    const Geometry& g = p.geometry;
    const u32 cut = cut_of(p, scratch);
    const u32 column = blockIdx.x * LEVEL_CHUNK + threadIdx.x;
    u64 word = 0;
    if (column < p.columns) {
        const i32 x = column / g.output[1], y = column % g.output[1];
        if (g.kernel[0] == 3 && g.kernel[1] == 3) {
            word = gather_columns<3, 3>(p, x, y, cut);
        } else {
            word = gather_columns<0, 0>(p, x, y, cut);
        }
        word = output_word(word, g);
        p.words[column] = word;
    }
    u32 sites;
    scan_block<LEVEL_THREADS>(__popcll(word), scratch, sites);
    if (threadIdx.x == 0) {
        p.chunk_counts[blockIdx.x] = sites;
    }
}

// The lowest `count` set bits.
__device__ u64 lowest_bits(u64 word, u32 count) {
    u64 kept = 0;
    for (; count > 0 && word != 0; --count, word &= word - 1) {
        kept |= word & -word;
    }
    return kept;
}

// Ranks and sites of all levels; one block per chunk of columns.
extern "C" __global__ void __launch_bounds__(RANK_THREADS) rulebook_rank(PARAMS RankParams p) {
    __shared__ u32 scratch[SCAN_WORDS<RANK_THREADS>];
    u32 number = 0;
    while (number + 1 < p.levels && p.level[number + 1].first_block <= blockIdx.x) {
        ++number;
    }
    const RankLevel& level = p.level[number];
    const u32 chunk = blockIdx.x - level.first_block;
    const ChunkStart start = chunk_start<RANK_THREADS>(level.chunk_counts, chunk, level.chunks, scratch);
    if (chunk == 0 && threadIdx.x == 0) {
        p.counts->sites[level.level] = start.all;
        p.counts->rows[level.level] = min(start.all, level.capacity);
    }
    if (level.chunk_counts[chunk] == 0) {
        return;
    }
    const u32 first = chunk * LEVEL_CHUNK + threadIdx.x * COLUMNS_PER_THREAD;
    u64 words[COLUMNS_PER_THREAD];
    u32 mine = 0;
#pragma unroll
    for (u32 i = 0; i < COLUMNS_PER_THREAD; i += 2) {
        const ulonglong2 pair = *reinterpret_cast<const ulonglong2*>(level.words + first + i);
        words[i] = pair.x, words[i + 1] = pair.y;
        mine += __popcll(pair.x) + __popcll(pair.y);
    }
    u32 sites;
    u32 rank = start.before + scan_block<RANK_THREADS>(mine, scratch, sites);
#pragma unroll
    for (u32 i = 0; i < COLUMNS_PER_THREAD; ++i) {
        u64 word = words[i];
        const u32 here = __popcll(word);
        if (rank + here > level.capacity) {
            word = lowest_bits(word, level.capacity - min(rank, level.capacity));
            level.words[first + i] = word;
        }
        if (word != 0) {
            level.prefix[first + i] = rank;
        }
        for (u32 row = rank; word != 0; word &= word - 1, ++row) {
            level.site[row] = (first + i) * 64 + __ffsll(word) - 1;
        }
        rank += here;
    }
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
