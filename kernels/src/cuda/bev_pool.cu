// BEV pooling: the sum of the lifted camera features in each cell.
//
// In: depth probabilities and context of depth_softmax.cu, the frame's table set. Out: fp16 map
// [X * Y][pitch], channel z * C + c. A product has 16 cells as its rows: for one image column at a time, the
// probabilities of each cell's run (zeros outside it) times the column's context, summed in fp32. A warp adds a
// cell's runs by ascending (camera, u, depth, v); products for other cells of the tile add zeros. Tiles of
// cells with many runs are shared by the warps of a block, whose sums are added in order; other tiles have a
// warp each. So the order of sums is that of the table set alone.
//
// Cells without runs are never written in a normal frame. `written` says which cells hold sums; when a set of
// another build is used, those that have no runs in it are cleared.

#include "include/mma.cuh"
#include "include/view.cuh"

namespace bev {

constexpr u32 THREADS = 128;
constexpr u32 WARPS = THREADS / WARP;
// Rows that a lane's two loads of a product cover.
constexpr u32 ROW_BLOCK = 32;

struct BevPoolParams {
    const ViewFrame* frame;
    ViewSet set[2];
    const u16* probability;  // [columns][depths][rows]
    const u16* context;      // [columns][channels][rows]
    u16* out;                // first channel
    u32* pooled;             // generation of the set that `written` is of
    u32* written;            // a bit for each cell
    u32* ticket;             // blocks that know the generation
    RunFormat format;
    u32 cells;
    u32 levels;  // Z
    u32 depths;
    u32 channels;
    u32 rows;
    u32 pitch;
};

// The tile that a warp works on. Lanes l and l + 16 look after the same cell.
struct Tile {
    const uint4* list;
    u32 first;
    u32 end;
    u32 part;   // of the products
    u32 parts;  // a power of two
};

// Zeros all of a lane's 8 rows that lie outside the run; `base` is the first of the rows.
__device__ __forceinline__ uint4 masked(const RunFormat& format, u32 run, u32 base, const uint4& rows) {
    const i32 first = static_cast<i32>(format.row(run)) - static_cast<i32>(base);
    const i32 end = first + static_cast<i32>(format.rows(run));
    const u32 low = static_cast<u32>(min(max(first, 0), 8)), high = static_cast<u32>(min(max(end, 0), 8));
    const u32 inside = (1u << high) - (1u << low);
    const auto pair = [&](u32 i) {
        return (inside >> (2 * i) & 1) * 0xffffu | (inside >> (2 * i + 1) & 1) * 0xffff0000u;
    };
    return make_uint4(rows.x & pair(0), rows.y & pair(1), rows.z & pair(2), rows.w & pair(3));
}

// The lane's 8 probabilities of a run, from row `base` on.
__device__ __forceinline__ uint4 load_run(const BevPoolParams& p, u32 run, u32 base) {
    if (run == NO_RUN || p.format.row(run) >= base + 8 || p.format.row(run) + p.format.rows(run) <= base) {
        return make_uint4(0, 0, 0, 0);
    }
    const u32 line = p.format.column(run) * p.depths + p.format.depth(run);
    return masked(p.format, run, base, load16(p.probability + static_cast<u64>(line) * p.rows + base));
}

// The channel of column `g` of block `tile` of the product: over two blocks a lane has 4 neighbouring ones.
__device__ __forceinline__ u32 channel_of(u32 tile, u32 g) {
    return tile / 2 * 16 + g / 2 * 4 + tile % 2 * 2 + g % 2;
}

// Adds the products of one image column. `low` and `high` are the runs of the lane's two cells.
template <u32 TILES, bool WHOLE>
__device__ __forceinline__ void add_column(const BevPoolParams& p, u32 column, u32 low, u32 high,
                                           float (&sums)[TILES][4]) {
    const u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, first_channel = blockIdx.y * TILES * 8;
    for (u32 base = t * 8; base < p.rows; base += ROW_BLOCK) {
        const uint4 a_low = load_run(p, low, base), a_high = load_run(p, high, base);
        const u16* context = p.context + static_cast<u64>(column * p.channels + first_channel) * p.rows + base;
        uint4 b[TILES];
#pragma unroll
        for (u32 tile = 0; tile < TILES; ++tile) {
            const u32 channel = channel_of(tile, g);
            b[tile] = make_uint4(0, 0, 0, 0);
            if (WHOLE || first_channel + channel < p.channels) {
                b[tile] = load16(context + channel * p.rows);
            }
        }
#pragma unroll
        for (u32 tile = 0; tile < TILES; ++tile) {
            mma_pair(sums[tile], a_low, a_high, b[tile]);
        }
    }
}

// Adds the runs of a tile's cells, one image column and one run of each cell at a time. Returns the cell of
// the lane's place in the tile, NO_RUN for none.
template <u32 TILES, bool WHOLE>
__device__ __forceinline__ u32 add_runs(const BevPoolParams& p, const u32* runs, const Tile& tile,
                                        float (&sums)[TILES][4]) {
    const u32 lane = threadIdx.x % WARP, place = tile.first + lane % TILE_CELLS;
    uint4 own = make_uint4(NO_RUN, 0, 0, NO_RUN);
    if (place < tile.end) {
        own = tile.list[place];
    }
    const u32 end = own.y + own.z;
    u32 cursor = own.y + 1, head = own.w;
    u32 next = cursor < end ? runs[cursor] : NO_RUN;
    for (u32 step = 0;; ++step) {
        const u32 least = __reduce_min_sync(ALL_LANES, head);
        if (least == NO_RUN) {
            return own.x;
        }
        const u32 column = p.format.column(least);
        u32 run = NO_RUN;
        if (p.format.column(head) == column) {
            run = head;
            head = next;
            ++cursor;
            next = cursor < end ? runs[cursor] : NO_RUN;
        }
        if ((step & (tile.parts - 1)) == tile.part) {
            const u32 low = __shfl_sync(ALL_LANES, run, lane / 4), high = __shfl_sync(ALL_LANES, run, lane / 4 + 8);
            add_column<TILES, WHOLE>(p, column, low, high, sums);
        }
    }
}

template <u32 TILES, bool WHOLE>
__device__ __forceinline__ void store_row(const BevPoolParams& p, u32 rank, const float (&sums)[TILES][4], u32 half) {
    if (rank == NO_RUN) {
        return;
    }
    const u32 first = blockIdx.y * TILES * 8 + threadIdx.x % 4 * 4;
    u16* out = p.out + static_cast<u64>(rank / p.levels) * p.pitch + rank % p.levels * p.channels + first;
#pragma unroll
    for (u32 pair = 0; pair < TILES / 2; ++pair) {
        if (WHOLE || first + pair * 16 < p.channels) {
            const float(&a)[4] = sums[2 * pair];
            const float(&b)[4] = sums[2 * pair + 1];
            *reinterpret_cast<uint2*>(out + pair * 16) =
                make_uint2(to_half2(a[half], a[half + 1]), to_half2(b[half], b[half + 1]));
        }
    }
}

template <u32 TILES, bool WHOLE>
__device__ __forceinline__ void store_tile(const BevPoolParams& p, u32 rank, const float (&sums)[TILES][4]) {
    const u32 g = threadIdx.x % WARP / 4;
    store_row<TILES, WHOLE>(p, __shfl_sync(ALL_LANES, rank, g), sums, 0);
    store_row<TILES, WHOLE>(p, __shfl_sync(ALL_LANES, rank, g + 8), sums, 2);
}

// Adds the sums of the other warps to those of warp 0, in order.
template <u32 TILES>
__device__ __forceinline__ void join_warps(float (&sums)[TILES][4], float (&partial)[WARPS - 1][TILES * 4][WARP]) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (warp > 0) {
#pragma unroll
        for (u32 i = 0; i < TILES * 4; ++i) {
            partial[warp - 1][i][lane] = sums[i / 4][i % 4];
        }
    }
    __syncthreads();
    if (warp == 0) {
#pragma unroll
        for (u32 other = 0; other < WARPS - 1; ++other) {
#pragma unroll
            for (u32 i = 0; i < TILES * 4; ++i) {
                sums[i / 4][i % 4] += partial[other][i][lane];
            }
        }
    }
    __syncthreads();
}

// Clears the cells that hold sums of a set of another build and have no runs in this one. The last block that
// knows of it notes the generation, so that no block misses it.
__device__ __forceinline__ void clear_stale(const BevPoolParams& p, const ViewSet& set) {
    const u32 generation = set.counts->generation;
    if (*p.pooled == generation) {
        return;
    }
    const u32 lane = threadIdx.x % WARP, words = ceil_div(p.cells, WARP);
    u32 word = blockIdx.x * WARPS + threadIdx.x / WARP;
    for (; blockIdx.y == 0 && word < words; word += gridDim.x * WARPS) {
        const u32 rank = word * WARP + lane;
        const bool now = rank < p.cells && set.starts[rank + 1] > set.starts[rank];
        const bool before = p.written[word] >> lane & 1;
        if (before && !now) {
            u16* out = p.out + static_cast<u64>(rank / p.levels) * p.pitch + rank % p.levels * p.channels;
            for (u32 channel = 0; channel < p.channels; channel += 8) {
                *reinterpret_cast<uint4*>(out + channel) = make_uint4(0, 0, 0, 0);
            }
        }
        const u32 bits = __ballot_sync(ALL_LANES, now);
        __syncwarp();
        if (lane == 0) {
            p.written[word] = bits;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        const u32 blocks = gridDim.x * gridDim.y;
        __threadfence();
        if (atomicInc(p.ticket, blocks - 1) == blocks - 1) {
            *p.pooled = generation;
        }
    }
}

template <u32 TILES, bool WHOLE>
__device__ __forceinline__ void pool(const BevPoolParams& p) {
    __shared__ float partial[WARPS - 1][TILES * 4][WARP];
    const ViewSet& set = p.frame->view_tables == 0 ? p.set[0] : p.set[1];
    const u32 warp = threadIdx.x / WARP;
    const u32 long_cells = set.counts->long_cells, gap = whole_tiles(long_cells);
    const u32 end = gap + set.counts->cells - long_cells;
    const u32 long_tiles = gap / TILE_CELLS;
    const u32 items = long_tiles + ceil_div(end - gap, TILE_CELLS * WARPS);
    for (u32 round = 0; round * gridDim.x < items; ++round) {
        // Blocks that had the longest items have the last ones of the next round.
        const u32 item = round * gridDim.x + (round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
        if (item >= items) {
            continue;
        }
        float sums[TILES][4] = {};
        const bool is_long = item < long_tiles;
        const u32 own = is_long ? item : long_tiles + (item - long_tiles) * WARPS + warp;
        const Tile tile{set.list, own * TILE_CELLS, is_long ? long_cells : end, is_long ? warp : 0,
                        is_long ? WARPS : 1};
        const u32 rank = add_runs<TILES, WHOLE>(p, set.runs, tile, sums);
        if (is_long) {
            join_warps<TILES>(sums, partial);
        }
        if (!is_long || warp == 0) {
            store_tile<TILES, WHOLE>(p, rank, sums);
        }
    }
    clear_stale(p, set);
}

// 80 channels, or a multiple of it.
extern "C" __global__ void __launch_bounds__(THREADS, 4) bev_pool_80(PARAMS BevPoolParams p) {
    begin_in_order();
    pool<10, true>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) bev_pool_any(PARAMS BevPoolParams p) {
    begin_in_order();
    pool<8, false>(p);
}

}  // namespace bev
