// Points of all clouds of a frame into the key frame, their cells, and the occupancy of the grid.
//
// In: the frame header and the clouds, in pinned host or device memory. Out: `points[index][columns]`
// float32 with index in the order of clouds then points (zeros where a point is dropped), `cell[index]`,
// occupancy words and counts. The arithmetic is that of the CPU twins `sweep` and `voxelize`, operation by
// operation.

#include "include/common.cuh"
#include "include/frame.cuh"

namespace bev {

constexpr u32 THREADS = 256;
// Rows up to this size (bytes) go through shared memory, so that the bus sees whole lines.
constexpr u32 STAGED_STRIDE = 64;

constexpr u32 TYPE_U8 = 1;
constexpr u32 TYPE_U16 = 2;

// What an output column holds: an axis of the moved point below this, the lag, or a column of the cloud.
constexpr u32 SOURCE_TIME = 3;
constexpr u32 SOURCE_RAW = 4;

struct BeginParams {
    const FrameHeader* header;
    FramePlan* plan;
    FrameCounts* counts;
    u64* words;
    const u32* cell;          // of the points of the frame before
    const u32* stale_points;  // how many
    u32* chunk_counts;
    u32 chunks;
    u32 point_capacity;
};

struct GatherParams {
    const FramePlan* plan;
    FrameCounts* counts;
    float* points;
    u32* cell;
    u32* stale_points;
    u64* words;
    float range[6];
    float min[3];
    float size[3];
    float grid[3];
    u32 shape_y;
    u32 columns;
    u32 source[MAX_COLUMNS];
    u32 spare;
};

enum Fate : u32 { KEPT, CLOSE, NON_FINITE, OUT_OF_RANGE };

__device__ u32 saturated(u64 value) { return value > 0xffffffffull ? 0xffffffffu : value; }

__device__ void plan_frame(const BeginParams& p, const FrameHeader& header) {
    const u32 clouds = min(header.clouds, MAX_CLOUDS);
    u64 input = 0;
    u32 point = 0, block = 0;
    for (u32 c = 0; c <= MAX_CLOUDS; ++c) {
        p.plan->first_point[c] = point;
        p.plan->first_block[c] = block;
        if (c < clouds) {
            const u32 points = header.cloud[c].points;
            const u32 taken = min(points, p.point_capacity - point);
            input += points;
            point += taken;
            block += ceil_div(taken, THREADS);
        }
    }
    p.counts->input = saturated(input);
    p.counts->points = point;
    p.counts->clipped = saturated(input - point);
}

// Block 0 fetches the header while the others clear the columns that are not empty.
extern "C" __global__ void __launch_bounds__(THREADS) sweep_begin(PARAMS BeginParams p) {
    __shared__ FrameHeader header;
    if (blockIdx.x > 0) {
        const u32 thread = (blockIdx.x - 1) * THREADS + threadIdx.x;
        if (thread < *p.stale_points) {
            const u32 cell = p.cell[thread];
            if (cell < NO_CELL) {
                p.words[cell / 64] = 0;
            }
        }
        if (thread < p.chunks) {
            p.chunk_counts[thread] = 0;
        }
        return;
    }
    const u64* from = reinterpret_cast<const u64*>(p.header);
    u64* here = reinterpret_cast<u64*>(&header);
    u64* device = reinterpret_cast<u64*>(&p.plan->header);
    for (u32 i = threadIdx.x; i < sizeof(FrameHeader) / sizeof(u64); i += THREADS) {
        here[i] = from[i];
        device[i] = here[i];
    }
    u32* counts = reinterpret_cast<u32*>(p.counts);
    for (u32 i = threadIdx.x; i < sizeof(FrameCounts) / sizeof(u32); i += THREADS) {
        counts[i] = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        plan_frame(p, header);
    }
}

__device__ __forceinline__ float load_value(const u8* row, u32 place) {
    const u8* at = row + (place & 0xffff);
    const u32 type = place >> 16;
    if (type == TYPE_U8) {
        return at[0];
    }
    if (type == TYPE_U16) {
        return at[0] | at[1] << 8;
    }
    if ((reinterpret_cast<u64>(at) & 3) == 0) {
        return *reinterpret_cast<const float*>(at);
    }
    const u32 low = at[0] | at[1] << 8, high = at[2] | at[3] << 8;
    return __uint_as_float(low | high << 16);
}

// The rows of a block's points, copied to shared memory in aligned pieces of 16 bytes. Nothing outside
// [begin, end) is read. Returns where the first row is.
__device__ const u8* stage_rows(u64 begin, u64 end, u8* bytes) {
    const u64 base = begin & ~15ull;
    for (u64 at = base + 16 * threadIdx.x; at < end; at += 16 * THREADS) {
        u8* to = bytes + (at - base);
        if (at >= begin && at + 16 <= end) {
            *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(at);
            continue;
        }
        for (u32 i = 0; i < 16; ++i) {
            if (at + i >= begin && at + i < end) {
                to[i] = *reinterpret_cast<const u8*>(at + i);
            }
        }
    }
    return bytes + (begin - base);
}

__device__ __forceinline__ float transform_axis(const float* m, double x, double y, double z) {
    const double xy = __dadd_rn(__dmul_rn(m[0], x), __dmul_rn(m[1], y));
    return __fadd_rn(__double2float_rn(__dadd_rn(xy, __dmul_rn(m[2], z))), m[3]);
}

__device__ __forceinline__ bool inside(float v, float lower, float upper) {
    return lower < v && v < upper;
}

// Moves and judges a point; `values` receives the output columns.
__device__ Fate move_point(const GatherParams& p, const CloudHeader& cloud, const u8* row,
                           float (&values)[MAX_COLUMNS]) {
    const float x = load_value(row, cloud.xyz[0]);
    const float y = load_value(row, cloud.xyz[1]);
    const float z = load_value(row, cloud.xyz[2]);
    if (fabsf(x) < cloud.remove_close && fabsf(y) < cloud.remove_close) {
        return CLOSE;
    }
    float moved[3] = {x, y, z};
    if (cloud.has_transform) {
#pragma unroll
        for (u32 axis = 0; axis < 3; ++axis) {
            moved[axis] = transform_axis(cloud.key_from_sweep + 4 * axis, x, y, z);
        }
    }
    bool finite = isfinite(moved[0]) && isfinite(moved[1]) && isfinite(moved[2]);
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        if (j < p.columns) {
            const u32 source = p.source[j];
            values[j] = source == SOURCE_RAW    ? load_value(row, cloud.column[j])
                        : source == SOURCE_TIME ? cloud.time_lag
                        : source == 0           ? moved[0]
                        : source == 1           ? moved[1]
                                                : moved[2];
            finite = finite && isfinite(values[j]);
        }
    }
    if (!finite) {
        return NON_FINITE;
    }
    const bool kept = inside(moved[0], p.range[0], p.range[3]) &&
                      inside(moved[1], p.range[1], p.range[4]) &&
                      inside(moved[2], p.range[2], p.range[5]);
    return kept ? KEPT : OUT_OF_RANGE;
}

__device__ u32 cell_of(const GatherParams& p, const float (&point)[MAX_COLUMNS]) {
    u32 cell[3];
#pragma unroll
    for (u32 axis = 0; axis < 3; ++axis) {
        const float index = floorf(__fdiv_rn(__fsub_rn(point[axis], p.min[axis]), p.size[axis]));
        if (!(index >= 0.0f && index < p.grid[axis])) {
            return NO_CELL;
        }
        cell[axis] = static_cast<u32>(index);
    }
    return (cell[0] * p.shape_y + cell[1]) * 64 + cell[2];
}

__device__ void count_fate(u32* counter, bool mine) {
    const u32 count = __syncthreads_count(mine);
    if (threadIdx.x == 0 && count > 0) {
        atomicAdd(counter, count);
    }
}

// The part of a cloud that a block works on.
struct Part {
    u32 cloud;
    u32 first;  // point of the cloud
    u32 points;
    u32 index;  // of that point in the frame
};

// False when the block has nothing to do. The plan is read once, by the lanes of each warp.
__device__ bool find_part(const FramePlan& plan, Part& part) {
    const u32 lane = threadIdx.x % WARP;
    const bool entry = lane <= MAX_CLOUDS;
    const u32 first_block = entry ? plan.first_block[lane] : 0xffffffffu;
    const u32 first_point = entry ? plan.first_point[lane] : 0;
    if (blockIdx.x >= __shfl_sync(ALL_LANES, first_block, MAX_CLOUDS)) {
        return false;
    }
    // Of clouds that start at the same block, all but the last are empty.
    part.cloud = __popc(__ballot_sync(ALL_LANES, first_block <= blockIdx.x)) - 1;
    part.first = (blockIdx.x - __shfl_sync(ALL_LANES, first_block, part.cloud)) * THREADS;
    const u32 start = __shfl_sync(ALL_LANES, first_point, part.cloud);
    const u32 end = __shfl_sync(ALL_LANES, first_point, part.cloud + 1);
    part.points = min(end - start - part.first, THREADS);
    part.index = start + part.first;
    return true;
}

extern "C" __global__ void __launch_bounds__(THREADS) sweep_gather(PARAMS GatherParams p) {
    __shared__ alignas(16) u8 bytes[THREADS * STAGED_STRIDE + 16];
    __shared__ CloudHeader cloud;
    Part part;
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *p.stale_points = p.plan->first_point[MAX_CLOUDS];
    }
    if (!find_part(*p.plan, part)) {
        return;
    }
    const CloudHeader& there = p.plan->header.cloud[part.cloud];
    if (threadIdx.x < sizeof(CloudHeader) / sizeof(u32)) {
        reinterpret_cast<u32*>(&cloud)[threadIdx.x] = reinterpret_cast<const u32*>(&there)[threadIdx.x];
    }
    const u64 stride = there.stride;
    const u64 begin = reinterpret_cast<u64>(there.address) + part.first * stride;
    const u8* rows = reinterpret_cast<const u8*>(begin);
    if (stride <= STAGED_STRIDE) {
        rows = stage_rows(begin, begin + part.points * stride, bytes);
    }
    __syncthreads();

    Fate fate = KEPT;
    u32 cell = NO_POINT;
    float values[MAX_COLUMNS] = {};
    if (threadIdx.x < part.points) {
        fate = move_point(p, cloud, rows + threadIdx.x * stride, values);
        cell = fate == KEPT ? cell_of(p, values) : NO_POINT;
        p.cell[part.index + threadIdx.x] = cell;
        if (cell < NO_CELL) {
            atomicOr(p.words + cell / 64, 1ull << (cell % 64));
        }
    }
    count_fate(&p.counts->close, fate == CLOSE);
    count_fate(&p.counts->non_finite, fate == NON_FINITE);
    count_fate(&p.counts->out_of_range, fate == OUT_OF_RANGE);
    count_fate(&p.counts->outside, cell == NO_CELL);

    // The rows are read; their place serves to write whole lines.
    float* staged = reinterpret_cast<float*>(bytes);
#pragma unroll
    for (u32 j = 0; j < MAX_COLUMNS; ++j) {
        if (j < p.columns) {
            staged[threadIdx.x * p.columns + j] = fate == KEPT ? values[j] : 0.0f;
        }
    }
    __syncthreads();
    float* out = p.points + static_cast<u64>(part.index) * p.columns;
    for (u32 i = threadIdx.x; i < part.points * p.columns; i += THREADS) {
        out[i] = staged[i];
    }
}

}  // namespace bev
