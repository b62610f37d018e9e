// Sums of levels with weights of 24 bits, four levels to a word; weights are three planes of bytes.
#pragma once
#include "include/image_ops.cuh"

namespace bev {

constexpr u32 WEIGHT_PLANES = 3;
constexpr u32 WEIGHT_BITS = 22;

// The level of a sum of 22-bit weights.
__device__ __forceinline__ u32 rounded(u32 sum) {
    i32 level = static_cast<i32>(sum + (1u << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return static_cast<u32>(max(0, min(level, 255)));
}

// The level of two sums of 7 fraction bits and two weights of 11, one in each half of `weights`; each product
// is truncated.
__device__ __forceinline__ u32 truncated(u32 first, u32 second, u32 weights) {
    return min((((weights & 0xffff) * first >> 16) + ((weights >> 16) * second >> 16) + 2) >> 2, 255u);
}

// One weight of a list; weights of a word stand `step` words from plane to plane.
__device__ __forceinline__ i32 one_weight(const u32* list, u32 step, u32 tap) {
    const u32* planes = list + static_cast<u64>(tap / 4 * WEIGHT_PLANES) * step;
    u32 shift = tap % 4 * 8, value = 0;
#pragma unroll
    for (u32 i = 0; i < WEIGHT_PLANES; ++i) value |= (__ldg(planes + i * step) >> shift & 255) << 8 * i;
    return static_cast<i32>(value << 8) >> 8;
}

// Weights of one output column or row for WORDS words of levels, in registers.
template <u32 WORDS>
struct Weights {
    u32 planes[WORDS * WEIGHT_PLANES];

    __device__ __forceinline__ Weights(const u32* list, u32 step, u32) {
#pragma unroll
        for (u32 i = 0; i < WORDS * WEIGHT_PLANES; ++i) planes[i] = __ldg(list + i * step);
    }

    __device__ __forceinline__ u32 sum(const u32* levels) const {
        u32 words[WORDS], sum = 0;
#pragma unroll
        for (u32 i = 0; i < WORDS; ++i) words[i] = levels[i];
#pragma unroll
        for (u32 i = 0; i < WORDS; ++i) sum = dot_signed(words[i], planes[WEIGHT_PLANES * i + 2], sum);
        sum <<= 8;
#pragma unroll
        for (u32 i = 0; i < WORDS; ++i) sum = dot_unsigned(words[i], planes[WEIGHT_PLANES * i + 1], sum);
        sum <<= 8;
#pragma unroll
        for (u32 i = 0; i < WORDS; ++i) sum = dot_unsigned(words[i], planes[WEIGHT_PLANES * i], sum);
        return sum;
    }

    // Of four rows `pitch` words apart.
    __device__ __forceinline__ void add(const u32* levels, u32 pitch, u32 (&sums)[4]) const {
#pragma unroll
        for (u32 row = 0; row < 4; ++row) sums[row] = sum(levels + row * pitch);
    }
};

// For any number of words, read where they are used.
template <>
struct Weights<0> {
    const u32* list;
    u32 step, words;

    __device__ __forceinline__ Weights(const u32* from, u32 step, u32 words) : list(from), step(step), words(words) {}

    __device__ __forceinline__ void add(const u32* levels, u32 pitch, u32 (&sums)[4]) const {
        u32 parts[4][WEIGHT_PLANES] = {};
        const u32* from = list;
        for (u32 word = 0; word < words; ++word, from += WEIGHT_PLANES * step) {
            u32 low = __ldg(from), middle = __ldg(from + step), high = __ldg(from + 2 * step);
#pragma unroll
            for (u32 row = 0; row < 4; ++row) {
                u32 four = levels[row * pitch + word];
                parts[row][0] = dot_unsigned(four, low, parts[row][0]);
                parts[row][1] = dot_unsigned(four, middle, parts[row][1]);
                parts[row][2] = dot_signed(four, high, parts[row][2]);
            }
        }
#pragma unroll
        for (u32 row = 0; row < 4; ++row) sums[row] = (parts[row][2] << 16) + (parts[row][1] << 8) + parts[row][0];
    }

    __device__ __forceinline__ u32 sum(const u32* levels) const {
        u32 parts[WEIGHT_PLANES] = {};
        const u32* from = list;
        for (u32 word = 0; word < words; ++word, from += WEIGHT_PLANES * step) {
            u32 four = levels[word];
            parts[0] = dot_unsigned(four, __ldg(from), parts[0]);
            parts[1] = dot_unsigned(four, __ldg(from + step), parts[1]);
            parts[2] = dot_signed(four, __ldg(from + 2 * step), parts[2]);
        }
        return (parts[2] << 16) + (parts[1] << 8) + parts[0];
    }
};

}  // namespace bev
