// Pixels of an image of any format: one, four in a row, and one seen through a lens.
#pragma once
#include "include/image_ops.cuh"
#include "include/image_params.cuh"

namespace bev {

// Level of each channel in the low bytes.
__device__ __forceinline__ u32 packed(u32 r, u32 g, u32 b) { return r | g << 8 | b << 16; }

__device__ __forceinline__ u32 byte_at(const u8* from) { return __ldg(from); }

// Four bytes at any address; words without one of them are not touched.
__device__ __forceinline__ u32 word_at(const u8* from) {
    u64 address = reinterpret_cast<u64>(from);
    const u32* words = reinterpret_cast<const u32*>(address & ~3ull);
    u32 shift = static_cast<u32>(address & 3) * 8, low = __ldg(words);
    return shift == 0 ? low : __funnelshift_r(low, __ldg(words + 1), shift);
}

__device__ __forceinline__ u32 clip_level(i32 value) { return static_cast<u32>(max(0, min(value, 255))); }

// BT.601 of limited range in 20-bit fixed point.
__device__ __forceinline__ u32 from_yuv(u32 luma, u32 u_level, u32 v_level) {
    i32 u = static_cast<i32>(u_level) - 128, v = static_cast<i32>(v_level) - 128;
    i32 y = max(static_cast<i32>(luma) - 16, 0) * 1220542 + (1 << 19);
    return packed(clip_level((y + 1673527 * v) >> 20), clip_level((y - 852492 * v - 409993 * u) >> 20),
                  clip_level((y + 2116026 * u) >> 20));
}

__device__ __forceinline__ const u8* row_of(const ImageCamera& c, u32 y) {
    return c.pixels + static_cast<u64>(y) * c.stride;
}

__device__ __forceinline__ const u8* chroma_of(const ImageCamera& c, u32 y) {
    return c.chroma + static_cast<u64>(y / 2) * c.chroma_stride;
}

// Linear interpolation of a mosaic; the outermost pixels repeat their inner neighbours.
__device__ __forceinline__ u32 mosaic(const ImageCamera& c, u32 x, u32 y) {
    if (c.width < 3 || c.height < 3) return 0;
    x = min(max(x, 1u), c.width - 2);
    y = min(max(y, 1u), c.height - 2);
    const u8* here = row_of(c, y) + x;
    const u8* above = here - c.stride;
    const u8* below = here + c.stride;
    u32 own = byte_at(here), across = byte_at(here - 1) + byte_at(here + 1), down = byte_at(above) + byte_at(below);
    u32 red = c.format - BAYER;
    bool red_column = x % 2 == red % 2, red_row = y % 2 == red / 2;
    if (red_column == red_row) {
        u32 corners = byte_at(above - 1) + byte_at(above + 1) + byte_at(below - 1) + byte_at(below + 1);
        u32 green = (across + down + 2) >> 2, other = (corners + 2) >> 2;
        return red_row ? packed(own, green, other) : packed(other, green, own);
    }
    across = (across + 1) >> 1;
    down = (down + 1) >> 1;
    return red_row ? packed(across, own, down) : packed(down, own, across);
}

// A pixel inside the image.
__device__ __forceinline__ u32 pixel_at(const ImageCamera& c, u32 x, u32 y) {
    const u8* row = row_of(c, y);
    u32 pair = x / 2 * 4;
    switch (c.format) {
        case RGB8: return packed(byte_at(row + 3 * x), byte_at(row + 3 * x + 1), byte_at(row + 3 * x + 2));
        case BGR8: return packed(byte_at(row + 3 * x + 2), byte_at(row + 3 * x + 1), byte_at(row + 3 * x));
        case RGBA8: return packed(byte_at(row + 4 * x), byte_at(row + 4 * x + 1), byte_at(row + 4 * x + 2));
        case BGRA8: return packed(byte_at(row + 4 * x + 2), byte_at(row + 4 * x + 1), byte_at(row + 4 * x));
        case MONO8: return byte_at(row + x) * 0x010101u;
        case UYVY: return from_yuv(byte_at(row + 2 * x + 1), byte_at(row + pair), byte_at(row + pair + 2));
        case YUY2: return from_yuv(byte_at(row + 2 * x), byte_at(row + pair + 1), byte_at(row + pair + 3));
        case NV12: {
            const u8* chroma = chroma_of(c, y) + x / 2 * 2;
            return from_yuv(byte_at(row + x), byte_at(chroma), byte_at(chroma + 1));
        }
        default: return mosaic(c, x, y);
    }
}

// Four pixels, a word for each channel.
struct FourPixels {
    u32 channel[CHANNELS];
};

__device__ __forceinline__ void put(FourPixels& four, u32 place, u32 pixel) {
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) four.channel[i] |= (pixel >> 8 * i & 255) << 8 * place;
}

__device__ __forceinline__ u32 gathered(const u32 (&words)[4], u32 low, u32 high) {
    return __byte_perm(__byte_perm(words[0], words[1], low), __byte_perm(words[2], words[3], low), high);
}

// From four packed pixels.
__device__ __forceinline__ FourPixels from_packed(const u32 (&pixels)[4]) {
    return {{gathered(pixels, 0x0040, 0x5410), gathered(pixels, 0x0051, 0x5410), gathered(pixels, 0x0062, 0x5410)}};
}

// From the twelve bytes of four interleaved pixels.
__device__ __forceinline__ FourPixels from_interleaved(u32 a, u32 b, u32 c) {
    return {{__byte_perm(__byte_perm(a, b, 0x0630), c, 0x5210), __byte_perm(__byte_perm(a, b, 0x0741), c, 0x6210),
             __byte_perm(__byte_perm(a, b, 0x0052), c, 0x7410)}};
}

__device__ __forceinline__ FourPixels swapped(FourPixels four) {
    return {{four.channel[2], four.channel[1], four.channel[0]}};
}

__device__ __forceinline__ FourPixels from_luma(u32 luma, const u32 (&u)[2], const u32 (&v)[2]) {
    u32 pixels[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) pixels[i] = from_yuv(luma >> 8 * i & 255, u[i / 2], v[i / 2]);
    return from_packed(pixels);
}

// Four of UYVY, or of YUY2 with the bytes of each pair turned.
__device__ __forceinline__ FourPixels from_pairs(u32 first, u32 second) {
    u32 u[2] = {first & 255, second & 255}, v[2] = {first >> 16 & 255, second >> 16 & 255};
    return from_luma(__byte_perm(first, second, 0x7531), u, v);
}

__device__ __forceinline__ FourPixels from_planes(u32 luma, u32 chroma) {
    u32 u[2] = {chroma & 255, chroma >> 16 & 255}, v[2] = {chroma >> 8 & 255, chroma >> 24};
    return from_luma(luma, u, v);
}

// (a + b + 1) / 2 of each byte.
__device__ __forceinline__ u32 mean_of(u32 a, u32 b) { return (a | b) - (((a ^ b) & 0xfefefefeu) >> 1); }

// (a + b + c + d + 2) / 4 of each byte.
__device__ __forceinline__ u32 mean_of(u32 a, u32 b, u32 c, u32 d) {
    constexpr u32 EVEN = 0x00ff00ffu, HALF = 0x00020002u;
    u32 even = (a & EVEN) + (b & EVEN) + (c & EVEN) + (d & EVEN) + HALF;
    u32 odd = (a >> 8 & EVEN) + (b >> 8 & EVEN) + (c >> 8 & EVEN) + (d >> 8 & EVEN) + HALF;
    return (even >> 2 & EVEN) | (odd >> 2 & EVEN) << 8;
}

// Four bytes of a row and those one to the left and one to the right of them.
struct Neighbours {
    u32 left, here, right;
};

__device__ __forceinline__ Neighbours neighbours_at(const u8* from) {
    u32 here = word_at(from);
    return {here << 8 | byte_at(from - 1), here, here >> 8 | byte_at(from + 4) << 24};
}

// Four pixels of a mosaic, 0 < x and x + 4 < width.
__device__ __forceinline__ FourPixels four_of_mosaic(const ImageCamera& c, u32 x, u32 y) {
    y = min(max(y, 1u), c.height - 2);
    const u8* from = row_of(c, y) + x;
    Neighbours above = neighbours_at(from - c.stride), row = neighbours_at(from), below = neighbours_at(from + c.stride);
    u32 red = c.format - BAYER;
    bool red_row = y % 2 == red / 2;
    // Columns that have the colour of the row; the others are green.
    u32 coloured = (red % 2 == 0) == red_row ? 0x00ff00ffu : 0xff00ff00u;
    u32 across = mean_of(row.left, row.right), down = mean_of(above.here, below.here);
    u32 sides = mean_of(row.left, row.right, above.here, below.here);
    u32 corners = mean_of(above.left, above.right, below.left, below.right);
    u32 own = (row.here & coloured) | (across & ~coloured), other = (corners & coloured) | (down & ~coloured);
    u32 green = (sides & coloured) | (row.here & ~coloured);
    return {{red_row ? own : other, green, red_row ? other : own}};
}

// Pixels x to x + 3, x a multiple of 4; beyond the last column it repeats.
__device__ __forceinline__ FourPixels four_at(const ImageCamera& c, u32 x, u32 y) {
    const u8* row = row_of(c, y);
    bool mosaic = c.format >= BAYER;
    if (x + 4 > c.width || (mosaic && (x == 0 || x + 4 >= c.width || c.height < 3))) {
        FourPixels four = {{0, 0, 0}};
#pragma unroll 1
        for (u32 i = 0; i < 4; ++i) put(four, i, pixel_at(c, min(x + i, c.width - 1), y));
        return four;
    }
    switch (c.format) {
        case RGB8:
        case BGR8: {
            FourPixels four = from_interleaved(word_at(row + 3 * x), word_at(row + 3 * x + 4), word_at(row + 3 * x + 8));
            return c.format == RGB8 ? four : swapped(four);
        }
        case RGBA8:
        case BGRA8: {
            u32 pixels[4];
#pragma unroll
            for (u32 i = 0; i < 4; ++i) pixels[i] = word_at(row + 4 * (x + i));
            FourPixels four = from_packed(pixels);
            return c.format == RGBA8 ? four : swapped(four);
        }
        case UYVY: return from_pairs(word_at(row + 2 * x), word_at(row + 2 * x + 4));
        case YUY2:
            return from_pairs(__byte_perm(word_at(row + 2 * x), 0, 0x2301), __byte_perm(word_at(row + 2 * x + 4), 0, 0x2301));
        case NV12: return from_planes(word_at(row + x), word_at(chroma_of(c, y) + x));
        case MONO8: {
            u32 grey = word_at(row + x);
            return {{grey, grey, grey}};
        }
        default: return four_of_mosaic(c, x, y);
    }
}

// Two neighbours of an interleaved row.
__device__ __forceinline__ void two_interleaved(const u8* from, u32 (&pixels)[2]) {
    u64 address = reinterpret_cast<u64>(from);
    const u32* words = reinterpret_cast<const u32*>(address & ~3ull);
    u32 offset = static_cast<u32>(address & 3);
    u32 first = __ldg(words), second = __ldg(words + 1), third = offset == 3 ? __ldg(words + 2) : 0;
    u32 low = __funnelshift_r(first, second, offset * 8), high = __funnelshift_r(second, third, offset * 8);
    pixels[0] = low & 0xffffffu;
    pixels[1] = low >> 24 | (high & 0xffffu) << 8;
}

// Position that target pixel (x, y) is read at (1/32 px).
__device__ __forceinline__ int2 position_of(const ImageCamera& c, u32 x, u32 y) {
    u64 at = static_cast<u64>(y - c.map_top) * c.map_width + (x - c.map_left);
    if (c.map_kind == WIDE_MAP) return reinterpret_cast<const int2*>(c.map)[at];
    u32 away = __ldg(c.map + at);
    return make_int2(static_cast<i32>(x * 32) + static_cast<short>(away & 0xffff),
                     static_cast<i32>(y * 32) + static_cast<short>(away >> 16));
}

// The pixels around a position.
struct Corner {
    i32 left, top;
    u32 dx, dy;

    __device__ __forceinline__ explicit Corner(int2 position)
        : left(position.x >> 5), top(position.y >> 5), dx(static_cast<u32>(position.x) & 31),
          dy(static_cast<u32>(position.y) & 31) {}

    __device__ __forceinline__ bool inside(const ImageCamera& c) const {
        return left >= 0 && top >= 0 && left + 1 < static_cast<i32>(c.width) && top + 1 < static_cast<i32>(c.height);
    }

    // The packed pixels (left, top), (right, top), (left, bottom), (right, bottom) by their shares.
    __device__ __forceinline__ u32 weighed(const u32 (&pixels)[4]) const {
        FourPixels four = from_packed(pixels);
        u32 columns = (32 - dx) | dx << 16, result = 0;
        u32 above = columns * (32 - dy), below = columns * dy;
#pragma unroll
        for (u32 i = 0; i < CHANNELS; ++i) result |= (dot_wide(four.channel[i], above, below, 512) >> 10) << 8 * i;
        return result;
    }
};

// Inside an interleaved image.
__device__ __forceinline__ u32 weighed_interleaved(const ImageCamera& c, const Corner& corner) {
    const u8* row = row_of(c, static_cast<u32>(corner.top)) + 3 * corner.left;
    u32 above[2], below[2];
    two_interleaved(row, above);
    two_interleaved(row + c.stride, below);
    u32 pixels[4] = {above[0], above[1], below[0], below[1]};
    u32 pixel = corner.weighed(pixels);
    return c.format == RGB8 ? pixel : __byte_perm(pixel, 0, 0x4012);
}

// Pixel (x, y) as seen without the lens, x < right and y < bottom.
__device__ __forceinline__ u32 unbent_pixel(const ImageCamera& c, u32 x, u32 y) {
    Corner corner(position_of(c, x, y));
    u32 pixels[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        i32 u = corner.left + static_cast<i32>(i % 2), v = corner.top + static_cast<i32>(i / 2);
        bool inside = u >= 0 && v >= 0 && u < static_cast<i32>(c.width) && v < static_cast<i32>(c.height);
        pixels[i] = inside ? pixel_at(c, static_cast<u32>(u), static_cast<u32>(v)) : 0;
    }
    return corner.weighed(pixels);
}

// As `four_at`, without the lens; what lies beyond what is read is 0.
__device__ __forceinline__ FourPixels four_unbent(const ImageCamera& c, u32 x, u32 y) {
    if (c.format <= BGR8 && x + 4 <= c.right) {
        Corner corners[4] = {Corner(position_of(c, x, y)), Corner(position_of(c, x + 1, y)),
                             Corner(position_of(c, x + 2, y)), Corner(position_of(c, x + 3, y))};
        if (corners[0].inside(c) && corners[1].inside(c) && corners[2].inside(c) && corners[3].inside(c)) {
            u32 pixels[4];
#pragma unroll
            for (u32 i = 0; i < 4; ++i) pixels[i] = weighed_interleaved(c, corners[i]);
            return from_packed(pixels);
        }
    }
    FourPixels four = {{0, 0, 0}};
#pragma unroll 1
    for (u32 i = 0; i < 4 && x + i < c.right; ++i) put(four, i, unbent_pixel(c, x + i, y));
    return four;
}

}  // namespace bev
