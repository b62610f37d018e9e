// The sparse depth image of each camera: points of the frame projected into the network's image.
//
// In: points and cells of `sweep`, the matrices of the frame's table set. Out: `map[camera][row][column]`, a
// 64-bit word each: 0 where no point fell, else a rank of the point above the bits of its depth (m). The
// highest rank stays, so that any order of threads gives the same image: the last point, or the nearest one.
// The arithmetic is that of the CPU twin, operation by operation.

#include "include/common.cuh"
#include "include/frame.cuh"
#include "include/view.cuh"

namespace bev {

constexpr u32 THREADS = 256;
constexpr float NEAREST_DEPTH = 1e-5f;
constexpr float FARTHEST_DEPTH = 1e5f;

struct BeginParams {
    const FrameHeader* header;  // pinned
    ViewFrame* frame;
    u64* map;
    u64 words;  // of the map, even
};

struct ProjectParams {
    const ViewFrame* frame;
    const ViewRecord* record[2];
    const FrameCounts* counts;
    const float* points;
    const u32* cell;
    u64* map;
    u32 columns;
    u32 cameras;
    u32 height;
    u32 width;
    u32 drop_behind;
    u32 nearest;
};

// Clears the map; block 0 fetches the frame's settings.
extern "C" __global__ void __launch_bounds__(THREADS) depth_image_begin(PARAMS BeginParams p) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        ViewFrame frame = {};
        frame.active_cameras = p.header->active_cameras;
        frame.view_tables = p.header->view_tables & 1;
        *p.frame = frame;
    }
    ulonglong2* pairs = reinterpret_cast<ulonglong2*>(p.map);
    const u64 threads = static_cast<u64>(gridDim.x) * THREADS;
    for (u64 i = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x; i < p.words / 2; i += threads) {
        pairs[i] = make_ulonglong2(0, 0);
    }
}

__device__ __forceinline__ void project(const ProjectParams& p, u32 camera, const CameraRecord& record,
                                        const float (&point)[3], u32 index) {
    const float z = affine_row(record.image_from_lidar, 2, point[0], point[1], point[2]);
    if (p.drop_behind != 0 && z <= 0.0f) {
        return;
    }
    const float x = affine_row(record.image_from_lidar, 0, point[0], point[1], point[2]);
    const float y = affine_row(record.image_from_lidar, 1, point[0], point[1], point[2]);
    // A NaN stays one.
    float depth = z < NEAREST_DEPTH ? NEAREST_DEPTH : z;
    depth = depth > FARTHEST_DEPTH ? FARTHEST_DEPTH : depth;
    const float right = __fdiv_rn(x, depth), down = __fdiv_rn(y, depth);
    const float u = affine_row(record.augmentation, 0, right, down, depth);
    const float v = affine_row(record.augmentation, 1, right, down, depth);
    if (!(v >= 0.0f && v < static_cast<float>(p.height) && u >= 0.0f && u < static_cast<float>(p.width))) {
        return;
    }
    const u32 row = static_cast<u32>(v), column = static_cast<u32>(u);
    const u32 bits = __float_as_uint(depth);
    const u32 rank = p.nearest != 0 ? ~bits : index + 1;
    const u64 pixel = (static_cast<u64>(camera) * p.height + row) * p.width + column;
    atomicMax(p.map + pixel, static_cast<u64>(rank) << 32 | bits);
}

extern "C" __global__ void __launch_bounds__(THREADS) depth_image_project(PARAMS ProjectParams p) {
    __shared__ ViewRecord record;
    const u32 points = p.counts->points;
    if (blockIdx.x * THREADS >= points) {
        return;
    }
    const u32 active = p.frame->active_cameras;
    const u32* from = reinterpret_cast<const u32*>(p.frame->view_tables == 0 ? p.record[0] : p.record[1]);
    const u32 words = (2 * sizeof(Affine) + p.cameras * sizeof(CameraRecord)) / sizeof(u32);
    for (u32 i = threadIdx.x; i < words; i += THREADS) {
        reinterpret_cast<u32*>(&record)[i] = from[i];
    }
    __syncthreads();
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= points || p.cell[index] == NO_POINT) {
        return;
    }
    const float* own = p.points + static_cast<u64>(index) * p.columns;
    const Affine& undo = record.undo_lidar_augmentation;
    const float x = __fsub_rn(own[0], undo.translation[0]);
    const float y = __fsub_rn(own[1], undo.translation[1]);
    const float z = __fsub_rn(own[2], undo.translation[2]);
    float point[3];
#pragma unroll
    for (u32 axis = 0; axis < 3; ++axis) {
        point[axis] = product_row(undo.linear + 3 * axis, x, y, z);
    }
    for (u32 camera = 0; camera < p.cameras; ++camera) {
        if (active >> camera & 1) {
            project(p, camera, record.camera[camera], point, index);
        }
    }
}

}  // namespace bev
