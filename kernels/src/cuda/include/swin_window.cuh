// Windows of a token map: the map is padded at the bottom and right to whole windows, then rolled by
// (-shift, -shift). A window's tokens are numbered row by row.
#pragma once

#include "include/common.cuh"

namespace bev {

struct WindowAttentionParams {
    const u16* qkv;           // [images * height * width][qkv_pitch]: query, key, value of all heads
    const u16* padding;       // [3 C]: the same of a token in the padding
    const void* bias;         // relative position bias, see the kernels
    u16* out;                 // [images * height * width][out_pitch]
    u32 qkv_pitch, out_pitch;
    u32 height, width;
    u32 rows, columns;        // windows along the map
    u32 heads, shift;
    u32 units;                // windows of all images times heads
    u32 window, depth;        // tokens along a window's edge, channels of a head
    u32 unused;
};

constexpr u32 NO_TOKEN = 0xffffffffu;

// One head of one window.
struct WindowUnit {
    u32 image, row, column, head;

    __device__ __forceinline__ WindowUnit(const WindowAttentionParams& p, u32 unit) {
        head = unit % p.heads;
        const u32 window = unit / p.heads;
        column = window % p.columns;
        row = window / p.columns % p.rows;
        image = window / p.columns / p.rows;
    }

    // Index in the map of the window's token `place`, or NO_TOKEN in the padding.
    __device__ __forceinline__ u32 token(const WindowAttentionParams& p, u32 place, u32 edge) const {
        u32 y = row * edge + place / edge + p.shift;
        u32 x = column * edge + place % edge + p.shift;
        if (y >= p.rows * edge) y -= p.rows * edge;
        if (x >= p.columns * edge) x -= p.columns * edge;
        return y < p.height && x < p.width ? (image * p.height + y) * p.width + x : NO_TOKEN;
    }

    // Whether the roll brought together tokens in this window that were no neighbours.
    __device__ __forceinline__ bool is_mixed(const WindowAttentionParams& p) const {
        return p.shift != 0 && (row + 1 == p.rows || column + 1 == p.columns);
    }

    // Which of the up to four parts of a mixed window a token is in.
    __device__ __forceinline__ u32 part(const WindowAttentionParams& p, u32 place, u32 edge) const {
        const u32 from = edge - p.shift;
        const u32 lower = row + 1 == p.rows && place / edge >= from;
        const u32 right = column + 1 == p.columns && place % edge >= from;
        return lower | right << 1;
    }
};

}  // namespace bev
