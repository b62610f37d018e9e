// Which frustum points fall into which cell of the pooled map, as runs of rows sorted by cell.
//
// In: the camera matrices, in pinned host memory. Out: one table set (view.cuh): the runs of each cell by
// ascending (camera, u, depth, v), and the cells that have any in the order of work: cells with many runs
// first, each part by its first run, so that neighbours read the same columns. Cells are computed as the CPU
// twins do, operation by operation in float32. Every build of the same matrices gives the same bits: runs are
// scattered in any order and sorted by keys that differ.

#include "include/common.cuh"
#include "include/frame.cuh"
#include "include/scan.cuh"
#include "include/view.cuh"

namespace bev {

constexpr u32 THREADS = 256;
constexpr u32 WALK_THREADS = 128;
constexpr u32 SCAN_THREADS = 1024;
constexpr u32 SCAN_ROWS = 8;
// Counts that a block sums; arrays of counts and key words are padded to it.
constexpr u32 CHUNK = SCAN_THREADS * SCAN_ROWS;
// A cell with more runs than this is long: a block pools a tile of such cells.
constexpr u32 LONG_RUNS = 3;
// Runs that a block sorts in shared memory.
constexpr u32 SHARED_RUNS = 2048;
constexpr u32 OUTSIDE = 0xffffffffu;

struct ViewTablesParams {
    const u32* input;   // the words of a ViewRecord
    ViewSet set;
    const i32* ranks;   // cell of each point, [N][D][h][w], in place of the computed ones; or null
    const float* u_px;      // [w]
    const float* v_px;      // [h]
    const float* depth_m;  // [D]
    u32* generation;    // of the set that was built last
    u32* counts;        // [cells], padded: runs of each cell
    u32* cursors;       // [cells], padded: where its next run goes
    u32* count_chunks;
    u32* key_words;     // [2][half_words], padded: a bit for the first run of each cell, long cells first
    u32* key_prefix;    // bits before each word
    u32* key_chunks;
    u32* orders;        // [2]: blocks of the scans that have started
    u32* big_cells;     // [cells]: those that a block sorts
    u32 chunks;         // of counts
    u32 key_chunk_count;
    u32 half_words;
    u32 cells;
    u32 cameras;
    u32 width;
    u32 height;
    u32 depths;
    u32 grid[3];
    float lower[3];
    float cell[3];
    u32 floors;         // else truncates
    RunFormat format;
};

// Copies the matrices and zeroes what the build counts in.
extern "C" __global__ void __launch_bounds__(THREADS) view_tables_begin(PARAMS ViewTablesParams p) {
    const u32 thread = blockIdx.x * THREADS + threadIdx.x, threads = gridDim.x * THREADS;
    if (blockIdx.x == 0) {
        u32* record = reinterpret_cast<u32*>(p.set.record);
        for (u32 i = threadIdx.x; i < sizeof(ViewRecord) / sizeof(u32); i += THREADS) {
            record[i] = p.input[i];
        }
        if (threadIdx.x == 0) {
            const u32 generation = *p.generation + 1;
            *p.generation = generation;
            SetCounts counts = {};
            counts.generation = generation;
            *p.set.counts = counts;
        }
    }
    const uint4 zero = make_uint4(0, 0, 0, 0);
    for (u32 i = thread; i < p.chunks * (CHUNK / 4); i += threads) {
        reinterpret_cast<uint4*>(p.counts)[i] = zero;
    }
    for (u32 i = thread; i < p.key_chunk_count * (CHUNK / 4); i += threads) {
        reinterpret_cast<uint4*>(p.key_words)[i] = zero;
    }
    for (u32 i = thread; i < p.chunks; i += threads) {
        p.count_chunks[i] = 0;
    }
    for (u32 i = thread; i < p.key_chunk_count; i += threads) {
        p.key_chunks[i] = 0;
    }
}

// Index along an axis; false outside. Far away the conversion saturates.
__device__ __forceinline__ bool index_of(const ViewTablesParams& p, u32 axis, float at, u32& index) {
    float place = __fdiv_rn(__fsub_rn(at, p.lower[axis]), p.cell[axis]);
    if (p.floors != 0) {
        place = floorf(place);
    }
    const i32 whole = __float2int_rz(place);
    index = static_cast<u32>(whole);
    return place == place && whole >= 0 && index < p.grid[axis];
}

__device__ __forceinline__ u32 rank_of(const ViewTablesParams& p, const Affine& lidar, const CameraRecord& camera,
                                       float u, float v, float depth) {
    const Affine& undo = camera.undo_augmentation;
    const float x = __fsub_rn(u, undo.translation[0]);
    const float y = __fsub_rn(v, undo.translation[1]);
    const float z = __fsub_rn(depth, undo.translation[2]);
    const float d = product_row(undo.linear + 6, x, y, z);
    const float along = __fmul_rn(product_row(undo.linear, x, y, z), d);
    const float down = __fmul_rn(product_row(undo.linear + 3, x, y, z), d);
    float point[3];
#pragma unroll
    for (u32 axis = 0; axis < 3; ++axis) {
        point[axis] = affine_row(camera.lidar_from_image, axis, along, down, d);
    }
    u32 rank = 0;
    bool inside = true;
#pragma unroll
    for (u32 axis = 0; axis < 3; ++axis) {
        u32 index;
        const float at = affine_row(lidar, axis, point[0], point[1], point[2]);
        inside = index_of(p, axis, at, index) && inside;
        rank = rank * p.grid[axis] + index;
    }
    return inside ? rank : OUTSIDE;
}

// Calls `emit(rank, run)` for every run of the thread's column and depth.
template <class Emit>
__device__ __forceinline__ void walk(const ViewTablesParams& p, Emit emit) {
    const u32 thread = blockIdx.x * WALK_THREADS + threadIdx.x;
    const u32 u = thread % p.width, depth = thread / p.width % p.depths;
    const u32 camera = thread / p.width / p.depths;
    if (camera >= p.cameras) {
        return;
    }
    const u32 column = camera * p.width + u;
    const Affine lidar = p.set.record->lidar_augmentation;
    const CameraRecord& there = p.set.record->camera[camera];
    CameraRecord matrices = {};
    matrices.undo_augmentation = there.undo_augmentation;
    matrices.lidar_from_image = there.lidar_from_image;
    const float u_px = p.u_px[u], depth_m = p.depth_m[depth];
    u32 current = OUTSIDE, first = 0;
    for (u32 v = 0; v <= p.height; ++v) {
        u32 rank = OUTSIDE;
        if (v < p.height) {
            if (p.ranks != nullptr) {
                const u64 row = static_cast<u64>(camera * p.depths + depth) * p.height + v;
                const u32 given = static_cast<u32>(p.ranks[row * p.width + u]);
                rank = given < p.cells ? given : OUTSIDE;
            } else {
                rank = rank_of(p, lidar, matrices, u_px, p.v_px[v], depth_m);
            }
        }
        if (rank != current) {
            if (current != OUTSIDE) {
                emit(current, p.format.pack(column, depth, first, v - first));
            }
            current = rank;
            first = v;
        }
    }
}

extern "C" __global__ void __launch_bounds__(WALK_THREADS) view_tables_count(PARAMS ViewTablesParams p) {
    walk(p, [&](u32 rank, u32) { atomicAdd(p.counts + rank, 1u); });
}

// Where each cell's runs begin.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) view_tables_starts(PARAMS ViewTablesParams p) {
    __shared__ u32 scratch[SCAN_WORDS<SCAN_THREADS>];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 chunk = start_order(p.orders, scratch);
    const u32 first = chunk * CHUNK + warp * SCAN_ROWS * WARP + lane;
    u32 counts[SCAN_ROWS], before[SCAN_ROWS], all;
#pragma unroll
    for (u32 row = 0; row < SCAN_ROWS; ++row) {
        counts[row] = p.counts[first + row * WARP];
    }
    scan_rows<SCAN_THREADS>(counts, before, scratch, all);
    const u32 start = sum_before<SCAN_THREADS>(p.count_chunks, chunk, all, scratch);
#pragma unroll
    for (u32 row = 0; row < SCAN_ROWS; ++row) {
        p.set.starts[first + row * WARP] = start + before[row];
        p.cursors[first + row * WARP] = start + before[row];
    }
    if (chunk + 1 == gridDim.x && threadIdx.x == 0) {
        p.set.starts[gridDim.x * CHUNK] = start + all;
        p.set.counts->runs = start + all;
    }
}

extern "C" __global__ void __launch_bounds__(WALK_THREADS) view_tables_scatter(PARAMS ViewTablesParams p) {
    walk(p, [&](u32 rank, u32 run) { p.set.runs[atomicAdd(p.cursors + rank, 1u)] = run; });
}

// The bit of a cell among the key words: its first run, in the half of long cells or in that of the others.
__device__ __forceinline__ u32 key_of(const ViewTablesParams& p, u32 run, u32 runs) {
    const u32 point = (p.format.column(run) * p.depths + p.format.depth(run)) * p.height + p.format.row(run);
    return runs > LONG_RUNS ? point : p.half_words * 32 + point;
}

__device__ __forceinline__ void mark_key(const ViewTablesParams& p, u32 run, u32 runs) {
    const u32 key = key_of(p, run, runs);
    atomicOr(p.key_words + key / 32, 1u << key % 32);
}

// Sorts the runs of cells that have up to a warp's lanes; others are left to the next kernel. A warp looks
// after 32 cells.
extern "C" __global__ void __launch_bounds__(THREADS) view_tables_sort(PARAMS ViewTablesParams p) {
    const u32 rank = blockIdx.x * THREADS + threadIdx.x, lane = threadIdx.x % WARP;
    u32 start = 0, count = 0;
    if (rank < p.cells) {
        start = p.set.starts[rank];
        count = p.set.starts[rank + 1] - start;
    }
    if (count == 1) {
        mark_key(p, p.set.runs[start], 1);
    }
    u32 several = __ballot_sync(ALL_LANES, count > 1);
    while (several != 0) {
        const u32 owner = __ffs(static_cast<i32>(several)) - 1;
        several &= several - 1;
        const u32 first = __shfl_sync(ALL_LANES, start, owner);
        const u32 runs = __shfl_sync(ALL_LANES, count, owner);
        if (runs > WARP) {
            if (lane == 0) {
                p.big_cells[atomicAdd(&p.set.counts->big_cells, 1u)] = rank + owner;
            }
            continue;
        }
        const u32 own = lane < runs ? p.set.runs[first + lane] : NO_RUN;
        u32 place = 0;
        for (u32 other = 0; other < runs; ++other) {
            place += __shfl_sync(ALL_LANES, own, other) < own;
        }
        if (lane < runs) {
            p.set.runs[first + place] = own;
        }
        if (lane < runs && place == 0) {
            mark_key(p, own, runs);
        }
    }
}

__device__ __forceinline__ void order_pair(u32* data, u32 low, u32 high, u32 count) {
    if (high < count) {
        const u32 a = data[low], b = data[high];
        if (b < a) {
            data[low] = b;
            data[high] = a;
        }
    }
}

// Sorts by a network that only ever moves the smaller word to the lower place, so that the missing words at
// the end of a list may count as larger than all.
__device__ void sort_block(u32* data, u32 count) {
    for (u32 size = 2; size < 2 * count; size *= 2) {
        const u32 half = size / 2, pairs = ceil_div(count, size) * half;
        __syncthreads();
        for (u32 i = threadIdx.x; i < pairs; i += THREADS) {
            const u32 base = i / half * size, at = i % half;
            order_pair(data, base + at, base + size - 1 - at, count);
        }
        for (u32 step = half / 2; step > 0; step /= 2) {
            __syncthreads();
            for (u32 i = threadIdx.x; i < pairs; i += THREADS) {
                const u32 low = i / step * 2 * step + i % step;
                order_pair(data, low, low + step, count);
            }
        }
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS) view_tables_sort_big(PARAMS ViewTablesParams p) {
    __shared__ u32 shared[SHARED_RUNS];
    const u32 cells = p.set.counts->big_cells;
    for (u32 i = blockIdx.x; i < cells; i += gridDim.x) {
        const u32 rank = p.big_cells[i];
        u32* runs = p.set.runs + p.set.starts[rank];
        const u32 count = p.set.starts[rank + 1] - p.set.starts[rank];
        if (count <= SHARED_RUNS) {
            for (u32 at = threadIdx.x; at < count; at += THREADS) {
                shared[at] = runs[at];
            }
            sort_block(shared, count);
            for (u32 at = threadIdx.x; at < count; at += THREADS) {
                runs[at] = shared[at];
            }
        } else {
            sort_block(runs, count);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            mark_key(p, runs[0], count);
        }
    }
}

// Cells with a lower key than those of each word.
extern "C" __global__ void __launch_bounds__(SCAN_THREADS) view_tables_order(PARAMS ViewTablesParams p) {
    __shared__ u32 scratch[SCAN_WORDS<SCAN_THREADS>];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 chunk = start_order(p.orders + 1, scratch);
    const u32 first = chunk * CHUNK + warp * SCAN_ROWS * WARP + lane;
    u32 counts[SCAN_ROWS], before[SCAN_ROWS], all;
#pragma unroll
    for (u32 row = 0; row < SCAN_ROWS; ++row) {
        counts[row] = __popc(p.key_words[first + row * WARP]);
    }
    scan_rows<SCAN_THREADS>(counts, before, scratch, all);
    const u32 start = sum_before<SCAN_THREADS>(p.key_chunks, chunk, all, scratch);
#pragma unroll
    for (u32 row = 0; row < SCAN_ROWS; ++row) {
        p.key_prefix[first + row * WARP] = start + before[row];
    }
    if (chunk + 1 == gridDim.x && threadIdx.x == 0) {
        p.set.counts->cells = start + all;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) view_tables_list(PARAMS ViewTablesParams p) {
    const u32 rank = blockIdx.x * THREADS + threadIdx.x;
    const u32 long_cells = p.key_prefix[p.half_words];
    if (rank == 0) {
        p.set.counts->long_cells = long_cells;
    }
    if (rank >= p.cells) {
        return;
    }
    const u32 start = p.set.starts[rank], runs = p.set.starts[rank + 1] - start;
    if (runs == 0) {
        return;
    }
    const u32 run = p.set.runs[start], key = key_of(p, run, runs);
    u32 place = p.key_prefix[key / 32] + __popc(p.key_words[key / 32] & ((1u << key % 32) - 1));
    if (runs <= LONG_RUNS) {
        place += whole_tiles(long_cells) - long_cells;
    }
    p.set.list[place] = make_uint4(rank, start, runs, run);
}

}  // namespace bev
