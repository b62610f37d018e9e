// What the kernels of the view transform share: the camera matrices, the two table sets and how a run of
// frustum points is kept. Mirrored in `view_shape.rs` and `view_record.rs`.
//
// A column is an image column u of a camera: camera * w + u. A run is a stretch of consecutive rows v of one
// column and depth whose points fall into one cell. It is one word: column, depth, first row, rows - 1, from
// the highest bit down, so that ascending words are ascending (camera, u, depth, v).
// Comes after `common.cuh`.
#pragma once

namespace bev {

constexpr u32 MAX_CAMERAS = 16;
constexpr u32 NO_RUN = 0xffffffffu;
// Cells of a tile of the pooling: rows of a tensor-core product.
constexpr u32 TILE_CELLS = 16;

struct Affine {
    float linear[9];  // row-major
    float translation[3];
};

struct CameraRecord {
    // From image to LiDAR: subtract the shift, undo the augmentation, then lidar_from_image.
    Affine undo_augmentation;
    Affine lidar_from_image;
    // From LiDAR to the image and its augmentation.
    Affine image_from_lidar;
    Affine augmentation;
};

struct ViewRecord {
    Affine lidar_augmentation;
    Affine undo_lidar_augmentation;  // the translation is subtracted before the product
    CameraRecord camera[MAX_CAMERAS];
};

struct SetCounts {
    u32 generation;  // 0: never built
    u32 runs;
    u32 cells;       // with runs
    u32 long_cells;  // with more runs than LONG_RUNS; first in the list
    u32 big_cells;   // while it is built: cells that a block sorts
    u32 spare[3];
};

// One table set. `list` is in the order of work: rank, first run's place, runs, first run.
struct ViewSet {
    ViewRecord* record;
    SetCounts* counts;
    u32* starts;  // [cells + 1], into `runs`
    u32* runs;
    uint4* list;  // long cells, a gap up to a whole tile, the others
};

// The frame's settings, read from its header once.
struct ViewFrame {
    u32 active_cameras;
    u32 view_tables;
    u32 spare[2];
};

struct RunFormat {
    u32 row_bits;
    u32 depth_bits;

    __device__ __forceinline__ u32 pack(u32 column, u32 depth, u32 row, u32 rows) const {
        return (((column << depth_bits | depth) << row_bits | row) << row_bits) | (rows - 1);
    }
    __device__ __forceinline__ u32 column(u32 run) const { return run >> (depth_bits + 2 * row_bits); }
    __device__ __forceinline__ u32 depth(u32 run) const {
        return run >> (2 * row_bits) & ((1u << depth_bits) - 1);
    }
    __device__ __forceinline__ u32 row(u32 run) const { return run >> row_bits & ((1u << row_bits) - 1); }
    __device__ __forceinline__ u32 rows(u32 run) const { return (run & ((1u << row_bits) - 1)) + 1; }
};

// One row of a 3x3 product in the order of the CPU twins, each step rounded.
__device__ __forceinline__ float product_row(const float* m, float x, float y, float z) {
    return __fadd_rn(__fadd_rn(__fmul_rn(m[0], x), __fmul_rn(m[1], y)), __fmul_rn(m[2], z));
}

__device__ __forceinline__ float affine_row(const Affine& a, u32 row, float x, float y, float z) {
    return __fadd_rn(product_row(a.linear + 3 * row, x, y, z), a.translation[row]);
}

__device__ __forceinline__ u32 whole_tiles(u32 cells) { return ceil_div(cells, TILE_CELLS) * TILE_CELLS; }

}  // namespace bev
