// Weights of 24 bits in three planes of bytes, as operands of tensor-core products, and what sums become.
#pragma once
#include "include/image_ops.cuh"

namespace bev {

constexpr u32 WEIGHT_PLANES = 3;
constexpr u32 WEIGHT_BITS = 22;
constexpr u32 HALF_LEVEL = 1u << (WEIGHT_BITS - 1);
// Words of four levels that a product takes.
constexpr u32 STEP_WORDS = 8;

// The level of a sum of 22-bit weights.
__device__ __forceinline__ u32 rounded(u32 sum) {
    i32 level = static_cast<i32>(sum + HALF_LEVEL) >> WEIGHT_BITS;
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

// Where the weights of a lane's output index are, one of eight; the eight are weighed together.
struct WeightList {
    const u32* list;  // planes of its first word
    u32 step;         // words from plane to plane
    u32 words;        // of its support
    u32 first;        // word in which the support of the eight starts
    u32 behind;       // words from there to its own
};

// The lane's registers of one step: words `lane % 4` and 4 behind it.
struct StepWeights {
    u32 planes[WEIGHT_PLANES][2];

    __device__ __forceinline__ void load(const WeightList& from, u32 step) {
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            // Wraps around before the first word of the list, which is not below its length then.
            u32 word = step * STEP_WORDS + half * 4 + threadIdx.x % 4 - from.behind;
            const u32* planes_of_word = from.list + word * WEIGHT_PLANES * from.step;
#pragma unroll
            for (u32 i = 0; i < WEIGHT_PLANES; ++i)
                planes[i][half] = read_now(planes_of_word + i * from.step, word < from.words);
        }
    }
};

// A list and what it has for the first step, read early.
struct FirstWeights {
    WeightList list;
    StepWeights step;

    __device__ __forceinline__ explicit FirstWeights(const WeightList& from) : list(from) { step.load(from, 0); }
};

// Weights of STEPS steps, in registers.
template <u32 STEPS>
struct Weights {
    StepWeights held[STEPS];

    __device__ __forceinline__ explicit Weights(const FirstWeights& from) {
        held[0] = from.step;
#pragma unroll
        for (u32 step = 1; step < STEPS; ++step) held[step].load(from.list, step);
    }

    template <typename Use>
    __device__ __forceinline__ void each_step(Use use) const {
#pragma unroll
        for (u32 step = 0; step < STEPS; ++step) use(step, held[step]);
    }
};

// Of any number of steps, read where they are used.
template <>
struct Weights<0> {
    WeightList from;
    u32 steps;

    __device__ __forceinline__ explicit Weights(const FirstWeights& first) : from(first.list) {
        u32 words = from.behind + from.words;
#pragma unroll
        for (u32 distance = WARP / 2; distance >= 4; distance /= 2)
            words = max(words, __shfl_xor_sync(ALL_LANES, words, distance));
        steps = ceil_div(words, STEP_WORDS);
    }

    template <typename Use>
    __device__ __forceinline__ void each_step(Use use) const {
#pragma unroll 1
        for (u32 step = 0; step < steps; ++step) {
            StepWeights weights;
            weights.load(from, step);
            use(step, weights);
        }
    }
};

// Sums of 16 rows of levels with eight lists of weights, a plane of weights each.
struct PlaneSums {
    u32 planes[WEIGHT_PLANES][4];

    // The first sums start with `start`.
    __device__ __forceinline__ explicit PlaneSums(u32 start) {
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            planes[0][i] = start;
            planes[1][i] = planes[2][i] = 0;
        }
    }

    __device__ __forceinline__ void add(const u32 (&levels)[4], const StepWeights& weights) {
        multiply_unsigned(planes[0], levels, weights.planes[0]);
        multiply_unsigned(planes[1], levels, weights.planes[1]);
        multiply_signed(planes[2], levels, weights.planes[2]);
    }

    __device__ __forceinline__ i32 total(u32 i) const {
        return static_cast<i32>((((planes[2][i] << 8) + planes[1][i]) << 8) + planes[0][i]);
    }
};

}  // namespace bev
