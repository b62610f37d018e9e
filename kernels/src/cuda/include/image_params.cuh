// What the image kernels are told; mirrored by `image_params.rs`.
#pragma once
#include "include/common.cuh"

namespace bev {

constexpr u32 IMAGE_CAMERAS = 12;
constexpr u32 PATCH = 4;
constexpr u32 PATCH_VALUES = 48;
constexpr u32 PATCH_PITCH = 64;  // values from one patch to the next; the rest stays zero
constexpr u32 LEVELS = 256;
constexpr u32 CHANNELS = 3;

enum PixelFormat : u32 { RGB8, BGR8, RGBA8, BGRA8, MONO8, UYVY, YUY2, NV12, BAYER };  // BAYER + x + 2 y of red

enum MapKind : u32 { NO_MAP, NARROW_MAP, WIDE_MAP };

// One image. A word is four columns of the source, a group four rows of it.
struct ImageCamera {
    const u8* pixels;
    const u8* chroma;
    // Columns: [1 + 3 words][columns], first word and weights; from `rows_at` on rows: [rows][row_size].
    const u32* table;
    const u32* map;
    u32 stride, chroma_stride;
    u32 width, height;
    u32 right, bottom;  // of what is read of the source
    u32 format;
    u32 camera;  // place in the output
    u32 linear;  // 0: two rounded passes of any support; 1: two pixels, truncated products
    u32 tile_rows;
    u32 first_column, columns, first_row, rows;  // of the output that the resized image covers
    u32 column_words, row_groups;                // of the support
    u32 rows_at, row_size;
    u32 steps;         // of 32 source pixels that a product takes, for eight columns and for eight rows
    u32 staged;        // 1: rows are copied as they are; 0: fetched pixel by pixel
    u32 row_pitch;     // bytes of a source row in shared memory
    u32 middle_pitch;  // words of a column after the first pass
    u32 source_at;     // start of the source in shared memory (16 bytes)
    u32 map_kind, map_left, map_top, map_width;
    u32 spare;
};

struct ImageParams {
    u16* out;            // [camera][patch_rows][patch_columns][PATCH_PITCH]
    const u16* levels;   // [3][256]
    u32 width, height, patch_columns, patch_rows;
    ImageCamera cameras[IMAGE_CAMERAS];
};

}  // namespace bev
