// Occupied cells into voxels in canonical order, and the features of each voxel.
//
// In: occupancy, cells and points of `sweep`. Out: sites ascending by (x, y, z), the rank of each column's
// first site, fp16 features `[voxels][channels]`, counts. The same voxels as the CPU twin's walk over the
// points: a voxel holds the first `max_points` points of its cell, and beyond `max_voxels` the cells whose
// first point comes first stay. Each frame gives the same bits, whatever the order of threads.

#include "include/common.cuh"
#include "include/frame.cuh"
#include "include/scan.cuh"

namespace bev {

constexpr u32 THREADS = 256;
constexpr u32 RANK_THREADS = 1024;
// Pairs of columns that a thread ranks.
constexpr u32 RANK_ROWS = 8;
// Columns whose cells are counted together.
constexpr u32 CHUNK = 2 * RANK_ROWS * RANK_THREADS;
constexpr u32 DROP_THREADS = 512;
constexpr u32 MEAN_THREADS = 128;
constexpr u32 EMPTY = 0xffffffffu;

// Progress of the drop kernel, and the last first-point that found room.
struct DropState {
    u32 ticket;
    u32 done[4];
    u32 last_first;
    u32 spare[2];
};

struct VoxelizeParams {
    FrameCounts* counts;
    u64* words;
    u32* prefix;
    u32* chunk_counts;
    const u32* cell;
    const float* points;
    u32* slots;     // [cells][slot_stride], first points of each cell ascending
    u32* site;      // [max_voxels]
    u32* origin;    // [max_voxels], the cell's rank among all, in that case
    DropState* drop;
    u32* first_counts;
    u32* keep_counts;
    float* means;   // [max_voxels][columns], or null
    u16* features;  // [max_voxels][channels]
    u32* order;     // blocks of the ranking kernel that have started
    float lower[MAX_COLUMNS];
    float upper[MAX_COLUMNS];
    u32 slot_stride;  // a multiple of 4
    u32 columns;
    u32 max_points;
    u32 max_voxels;
    u32 channels;
    u32 frequencies;  // 0: the means are the features
};

__device__ __forceinline__ u32 rank_of(const VoxelizeParams& p, u32 cell) {
    const u32 column = cell / 64;
    return p.prefix[column] + __popcll(p.words[column] & bits_below(cell % 64));
}

__device__ void finish_rank(const VoxelizeParams& p, u32 cells) {
    const u32 voxels = min(cells, p.max_voxels);
    p.counts->sites[0] = cells;
    p.counts->rows[0] = voxels;
    p.counts->dropped_cells = cells - voxels;
    p.drop->ticket = 0;
    for (u32 phase = 0; phase < 4; ++phase) {
        p.drop->done[phase] = 0;
    }
}

// One block ranks the cells of one chunk of columns and empties their slots.
extern "C" __global__ void __launch_bounds__(RANK_THREADS) voxelize_rank(PARAMS VoxelizeParams p) {
    __shared__ u32 scratch[SCAN_WORDS<RANK_THREADS>];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 chunk = start_order(p.order, scratch);
    const u32 first = chunk * CHUNK + warp * RANK_ROWS * 2 * WARP + 2 * lane;
    ulonglong2 words[RANK_ROWS];
    u32 counts[RANK_ROWS], ranks[RANK_ROWS], cells;
#pragma unroll
    for (u32 row = 0; row < RANK_ROWS; ++row) {
        words[row] = *reinterpret_cast<const ulonglong2*>(p.words + first + row * 2 * WARP);
    }
#pragma unroll
    for (u32 row = 0; row < RANK_ROWS; ++row) {
        counts[row] = __popcll(words[row].x) + __popcll(words[row].y);
    }
    scan_rows<RANK_THREADS>(counts, ranks, scratch, cells);
    const u32 before = sum_before<RANK_THREADS>(p.chunk_counts, chunk, cells, scratch);
    if (chunk + 1 == gridDim.x && threadIdx.x == 0) {
        finish_rank(p, before + cells);
    }
    uint4* slots = reinterpret_cast<uint4*>(p.slots + static_cast<u64>(before) * p.slot_stride);
    for (u32 i = threadIdx.x; i < cells * (p.slot_stride / 4); i += RANK_THREADS) {
        slots[i] = make_uint4(EMPTY, EMPTY, EMPTY, EMPTY);
    }
#pragma unroll
    for (u32 row = 0; row < RANK_ROWS; ++row) {
        const u32 column = first + row * 2 * WARP, rank = before + ranks[row];
        if (words[row].x != 0) {
            p.prefix[column] = rank;
        }
        if (words[row].y != 0) {
            p.prefix[column + 1] = rank + __popcll(words[row].x);
        }
    }
}

// A point index sinks to its place among the first points of its cell: slot s ends as the least of the
// indices that came by, so the outcome does not depend on their order. An index may start at slot s when
// it is known that s smaller ones of its cell are on their way or there.
extern "C" __global__ void __launch_bounds__(THREADS) voxelize_assign(PARAMS VoxelizeParams p) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    const u32 cell = index < p.counts->points ? p.cell[index] : NO_POINT;
    const u32 same = __match_any_sync(ALL_LANES, cell);
    if (cell >= NO_CELL) {
        return;
    }
    u32 start = __popc(same & ((1u << threadIdx.x % WARP) - 1));
    if (start >= p.max_points) {
        return;
    }
    u32* slots = p.slots + static_cast<u64>(rank_of(p, cell)) * p.slot_stride;
    u32 there = 0;
    for (u32 s = 0; s < p.max_points; s += 4) {
        const uint4 four = __ldcg(reinterpret_cast<const uint4*>(slots + s));
        const u32 less = (four.x < index) + (four.y < index) + (four.z < index) + (four.w < index);
        there += less;
        if (less < 4) {
            break;
        }
    }
    start = max(start, there);
    u32 value = index;
    for (u32 s = start; s < p.max_points; ++s) {
        const u32 old = atomicMin(slots + s, value);
        if (old == EMPTY) {
            return;
        }
        value = max(old, value);
    }
}

__device__ bool is_first(const VoxelizeParams& p, u32 index) {
    if (index >= p.counts->points || p.cell[index] >= NO_CELL) {
        return false;
    }
    return p.slots[static_cast<u64>(rank_of(p, p.cell[index])) * p.slot_stride] == index;
}

// Phase 1: the first-point that takes the last voxel.
__device__ void find_last_first(const VoxelizeParams& p, u32 chunk, u32* scratch) {
    const u32 before = counted_before<DROP_THREADS>(p.first_counts, chunk, scratch);
    const u32 index = chunk * DROP_THREADS + threadIdx.x;
    const bool first = is_first(p, index);
    u32 total;
    const u32 rank = before + scan_block<DROP_THREADS>(first, scratch, total);
    if (first && rank == p.max_voxels - 1) {
        p.drop->last_first = index;
    }
}

__device__ u32 first_point(const VoxelizeParams& p, u32 rank) {
    return p.slots[static_cast<u64>(rank) * p.slot_stride];
}

// Phase 2: clears the bits of cells without room and counts the others.
__device__ void clear_cells(const VoxelizeParams& p, u32 chunk, u32 cells) {
    const u32 rank = chunk * DROP_THREADS + threadIdx.x;
    bool kept = false;
    if (rank < cells) {
        const u32 first = first_point(p, rank);
        kept = first <= p.drop->last_first;
        if (!kept) {
            const u32 site = p.cell[first];
            atomicAnd(p.words + site / 64, ~(1ull << (site % 64)));
        }
    }
    const u32 count = __syncthreads_count(kept);
    if (threadIdx.x == 0) {
        p.keep_counts[chunk] = count;
    }
}

// Phase 3: ranks the cells that stay. Their sites follow with the means.
__device__ void rank_again(const VoxelizeParams& p, u32 chunk, u32 cells, u32* scratch) {
    const u32 before = counted_before<DROP_THREADS>(p.keep_counts, chunk, scratch);
    const u32 rank = chunk * DROP_THREADS + threadIdx.x;
    const u32 first = rank < cells ? first_point(p, rank) : EMPTY;
    const bool kept = first <= p.drop->last_first;
    u32 total;
    const u32 row = before + scan_block<DROP_THREADS>(kept, scratch, total);
    if (kept) {
        const u32 site = p.cell[first];
        p.origin[row] = rank;
        if ((p.words[site / 64] & bits_below(site % 64)) == 0) {
            p.prefix[site / 64] = row;
        }
    }
}

// Phase 3 as well: counts the points of cells without room.
__device__ void count_lost_points(const VoxelizeParams& p, u32 chunk) {
    const u32 index = chunk * DROP_THREADS + threadIdx.x;
    bool lost = false;
    if (index < p.counts->points && p.cell[index] < NO_CELL) {
        const u32 cell = p.cell[index];
        lost = (p.words[cell / 64] >> (cell % 64) & 1) == 0;
    }
    const u32 count = __syncthreads_count(lost);
    if (threadIdx.x == 0 && count > 0) {
        atomicAdd(&p.counts->no_voxel, count);
    }
}

__device__ void wait_for(const u32* done, u32 items) {
    if (threadIdx.x == 0) {
        while (*static_cast<const volatile u32*>(done) < items) {
        }
        __threadfence();
    }
    __syncthreads();
}

// More cells than voxels: keeps those whose first point comes first. Work items are taken in the order of
// their phases, so whatever an item waits for is done or in the hands of a block that runs: the kernel
// needs no particular number of blocks on the GPU at once.
extern "C" __global__ void __launch_bounds__(DROP_THREADS) voxelize_drop(PARAMS VoxelizeParams p) {
    __shared__ u32 scratch[SCAN_WORDS<DROP_THREADS>];
    __shared__ u32 taken;
    const u32 cells = p.counts->sites[0];
    if (cells <= p.max_voxels) {
        return;
    }
    const u32 of_points = ceil_div(p.counts->points, DROP_THREADS);
    const u32 of_cells = ceil_div(cells, DROP_THREADS);
    const u32 ends[4] = {of_points, 2 * of_points, 2 * of_points + of_cells, 3 * of_points + 2 * of_cells};
    for (;;) {
        __syncthreads();
        if (threadIdx.x == 0) {
            taken = atomicAdd(&p.drop->ticket, 1);
        }
        __syncthreads();
        const u32 item = taken;
        if (item >= ends[3]) {
            return;
        }
        const u32 phase = (item >= ends[0]) + (item >= ends[1]) + (item >= ends[2]);
        if (phase == 0) {
            const u32 count = __syncthreads_count(is_first(p, item * DROP_THREADS + threadIdx.x));
            if (threadIdx.x == 0) {
                p.first_counts[item] = count;
            }
        } else if (phase == 1) {
            wait_for(p.drop->done + 0, of_points);
            find_last_first(p, item - ends[0], scratch);
        } else if (phase == 2) {
            wait_for(p.drop->done + 1, of_points);
            clear_cells(p, item - ends[1], cells);
        } else {
            wait_for(p.drop->done + 2, of_cells);
            const u32 number = item - ends[2];
            if (number < of_cells) {
                rank_again(p, number, cells, scratch);
            } else {
                count_lost_points(p, number - of_cells);
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(p.drop->done + phase, 1);
        }
    }
}

// Adds four points in their order; what is not there adds zero, which changes no sum that began as +0.
__device__ u32 add_four(const VoxelizeParams& p, uint4 four, float (&sum)[MAX_COLUMNS]) {
    const u32 slots[4] = {four.x, four.y, four.z, four.w};
    float values[4][MAX_COLUMNS];
    u32 count = 0;
#pragma unroll
    for (u32 s = 0; s < 4; ++s) {
        const bool there = slots[s] != EMPTY;
        count += there;
        const float* point = p.points + static_cast<u64>(there ? slots[s] : 0) * p.columns;
#pragma unroll
        for (u32 j = 0; j < MAX_COLUMNS; ++j) {
            values[s][j] = there && j < p.columns ? point[j] : 0.0f;
        }
    }
#pragma unroll
    for (u32 s = 0; s < 4; ++s) {
#pragma unroll
        for (u32 j = 0; j < MAX_COLUMNS; ++j) {
            sum[j] = __fadd_rn(sum[j], values[s][j]);
        }
    }
    return count;
}

// Sums in point order, as the twin does, then one division.
__device__ u32 mean_of(const VoxelizeParams& p, const u32* slots, float (&mean)[MAX_COLUMNS]) {
    u32 count = 0;
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        mean[j] = 0.0f;
    }
    const uint4* fours = reinterpret_cast<const uint4*>(slots);
    uint4 next = fours[0];
    for (u32 i = 1; next.x != EMPTY; ++i) {
        const uint4 four = next;
        next.x = EMPTY;
        if (i < p.slot_stride / 4) {
            next = fours[i];
        }
        count += add_four(p, four, mean);
    }
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        mean[j] = __fdiv_rn(mean[j], static_cast<float>(count));
    }
    return count;
}

__device__ void write_means(const VoxelizeParams& p, const float (&mean)[MAX_COLUMNS], u16* row) {
    static_assert(MAX_COLUMNS == 8, "the first store holds all columns");
    uint4* out = reinterpret_cast<uint4*>(row);
    float first[MAX_COLUMNS];
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        first[j] = j < p.columns ? mean[j] : 0.0f;
    }
    out[0] = make_uint4(to_half2(first[0], first[1]), to_half2(first[2], first[3]),
                        to_half2(first[4], first[5]), to_half2(first[6], first[7]));
    for (u32 i = 1; i < p.channels / 8; ++i) {
        out[i] = make_uint4(0, 0, 0, 0);
    }
}

// cos then sin of pi * 2^k * (value - lower) / (upper - lower), frequency fastest.
__device__ void write_fourier(const VoxelizeParams& p, const float (&mean)[MAX_COLUMNS], u16* row) {
    constexpr float PI = 3.14159265358979323846f;
    const u32 half_width = p.columns * p.frequencies;
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        if (j < p.columns) {
            const float span = __fsub_rn(p.upper[j], p.lower[j]);
            float phase = __fmul_rn(PI, __fdiv_rn(__fsub_rn(mean[j], p.lower[j]), span));
            for (u32 k = 0; k < p.frequencies; ++k) {
                float sine, cosine;
                sincosf(phase, &sine, &cosine);
                row[j * p.frequencies + k] = to_half(cosine);
                row[half_width + j * p.frequencies + k] = to_half(sine);
                phase = __fmul_rn(phase, 2.0f);
            }
        }
    }
    for (u32 c = 2 * half_width; c < p.channels; ++c) {
        row[c] = 0;
    }
}

extern "C" __global__ void __launch_bounds__(MEAN_THREADS) voxelize_mean(PARAMS VoxelizeParams p) {
    __shared__ u32 warp_counts[MEAN_THREADS / WARP];
    const u32 voxels = p.counts->rows[0];
    if (blockIdx.x * MEAN_THREADS >= voxels) {
        return;
    }
    const u32 row = blockIdx.x * MEAN_THREADS + threadIdx.x;
    u32 count = 0;
    if (row < voxels) {
        const u32 rank = p.counts->sites[0] > p.max_voxels ? p.origin[row] : row;
        const u32* slots = p.slots + static_cast<u64>(rank) * p.slot_stride;
        p.site[row] = p.cell[slots[0]];
        float mean[MAX_COLUMNS];
        count = mean_of(p, slots, mean);
        u16* out = p.features + static_cast<u64>(row) * p.channels;
        if (p.frequencies == 0) {
            write_means(p, mean, out);
        } else {
            write_fourier(p, mean, out);
        }
        if (p.means != nullptr) {
#pragma unroll
            for (u32 j = 0; j < MAX_COLUMNS; ++j) {
                if (j < p.columns) {
                    p.means[static_cast<u64>(row) * p.columns + j] = mean[j];
                }
            }
        }
    }
    const u32 warp_count = __reduce_add_sync(ALL_LANES, count);
    if (threadIdx.x % WARP == 0) {
        warp_counts[threadIdx.x / WARP] = warp_count;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        u32 sum = 0;
        for (u32 warp = 0; warp < MEAN_THREADS / WARP; ++warp) {
            sum += warp_counts[warp];
        }
        atomicAdd(&p.counts->kept_points, sum);
    }
}

}  // namespace bev
