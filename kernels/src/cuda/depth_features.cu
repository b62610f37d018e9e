// The first two layers on the depth images, fused: 1x1 convolution to 8 channels, then 5x5 with stride 4 and
// padding 2 to 32 channels, each with bias and ReLU.
//
// In: the map of depth_image.cu. Out: fp16 NHWC [images][ceil(H/4)][ceil(W/4)][pitch], 32 channels. Implicit
// GEMM: a row is an output pixel, k counts the 25 taps of the 5x5 kernel by 8 channels, a 26th tap is zero.
// The 8 channels of a tap are computed in registers from its depth and rounded to fp16; outside the image
// they are zero, as the padding of the second layer says.

#include "include/mma.cuh"

namespace bev {

constexpr u32 THREADS = 128;
constexpr u32 STRIDE = 4;
constexpr u32 KERNEL = 5;
constexpr u32 TAPS = KERNEL * KERNEL;
constexpr u32 STEPS = (TAPS + 1) / 2;  // a product of k = 16 takes two taps
constexpr u32 OUTPUTS = 32;
// Output pixels of a block; a warp has rows warp and warp + 4.
constexpr u32 TILE_ROWS = 8;
constexpr u32 TILE_COLUMNS = 16;
constexpr u32 INPUT_ROWS = (TILE_ROWS - 1) * STRIDE + KERNEL;
constexpr u32 INPUT_COLUMNS = (TILE_COLUMNS - 1) * STRIDE + KERNEL;
// Below every depth.
constexpr float BEYOND = -1.0f;

struct DepthFeaturesParams {
    const u64* map;
    const uint4* weights;  // [STEPS][lane][2]
    u16* out;              // first channel
    u32 height;
    u32 width;
    u32 out_height;
    u32 out_width;
    u32 pitch;
    u32 spare;
    float first_weight[8];
    float first_bias[8];
    float bias[OUTPUTS];
};

// Two channels of a tap.
__device__ __forceinline__ u32 lifted(float depth, const float2& weight, const float2& bias) {
    const float low = relu(weight.x * depth + bias.x), high = relu(weight.y * depth + bias.y);
    return depth < 0.0f ? 0 : to_half2(low, high);
}

__device__ __forceinline__ void load_tile(const DepthFeaturesParams& p, float (&tile)[INPUT_ROWS][INPUT_COLUMNS]) {
    const i32 top = static_cast<i32>(blockIdx.y * TILE_ROWS * STRIDE) - 2;
    const i32 left = static_cast<i32>(blockIdx.x * TILE_COLUMNS * STRIDE) - 2;
    const u64* image = p.map + static_cast<u64>(blockIdx.z) * p.height * p.width;
#pragma unroll 4
    for (u32 i = threadIdx.x; i < INPUT_ROWS * INPUT_COLUMNS; i += THREADS) {
        const u32 row = i / INPUT_COLUMNS, column = i % INPUT_COLUMNS;
        const i32 y = top + static_cast<i32>(row), x = left + static_cast<i32>(column);
        float depth = BEYOND;
        if (y >= 0 && x >= 0 && y < static_cast<i32>(p.height) && x < static_cast<i32>(p.width)) {
            depth = __uint_as_float(static_cast<u32>(image[static_cast<u64>(y) * p.width + x]));
        }
        tile[row][column] = depth;
    }
}

__device__ __forceinline__ void store_pixel(const DepthFeaturesParams& p, u32 y, u32 x, u32 channel,
                                            const float (&sums)[8]) {
    if (y >= p.out_height || x >= p.out_width) {
        return;
    }
    float v[8];
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        v[i] = relu(sums[i] + p.bias[channel + i]);
    }
    const u64 pixel = (static_cast<u64>(blockIdx.z) * p.out_height + y) * p.out_width + x;
    *reinterpret_cast<uint4*>(p.out + pixel * p.pitch + channel) =
        make_uint4(to_half2(v[0], v[1]), to_half2(v[2], v[3]), to_half2(v[4], v[5]), to_half2(v[6], v[7]));
}

extern "C" __global__ void __launch_bounds__(THREADS) depth_features(PARAMS DepthFeaturesParams p) {
    __shared__ float tile[INPUT_ROWS][INPUT_COLUMNS];
    __shared__ uint4 weights[STEPS * WARP * 2];
    for (u32 i = threadIdx.x; i < STEPS * WARP * 2; i += THREADS) {
        weights[i] = p.weights[i];
    }
    load_tile(p, tile);
    __syncthreads();

    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const float2 first_weight = make_float2(p.first_weight[2 * t], p.first_weight[2 * t + 1]);
    const float2 first_bias = make_float2(p.first_bias[2 * t], p.first_bias[2 * t + 1]);
    constexpr u32 PARTS = TILE_ROWS / (THREADS / WARP);
    float sums[PARTS][4][4] = {};
#pragma unroll
    for (u32 step = 0; step < STEPS; ++step) {
        const uint4 b0 = weights[(step * WARP + lane) * 2], b1 = weights[(step * WARP + lane) * 2 + 1];
#pragma unroll
        for (u32 part = 0; part < PARTS; ++part) {
            const u32 row = (warp + part * (THREADS / WARP)) * STRIDE;
            u32 a[4] = {};
#pragma unroll
            for (u32 which = 0; which < 2; ++which) {
                const u32 tap = 2 * step + which;
                if (tap < TAPS) {
                    const float* depths = &tile[row + tap / KERNEL][g * STRIDE + tap % KERNEL];
                    a[2 * which] = lifted(depths[0], first_weight, first_bias);
                    a[2 * which + 1] = lifted(depths[8 * STRIDE], first_weight, first_bias);
                }
            }
            mma(sums[part][0], a[0], a[1], a[2], a[3], b0.x, b0.y);
            mma(sums[part][1], a[0], a[1], a[2], a[3], b0.z, b0.w);
            mma(sums[part][2], a[0], a[1], a[2], a[3], b1.x, b1.y);
            mma(sums[part][3], a[0], a[1], a[2], a[3], b1.z, b1.w);
        }
    }
    // Columns are numbered so that a lane has 8 neighbouring channels.
#pragma unroll
    for (u32 part = 0; part < PARTS; ++part) {
        const u32 y = blockIdx.y * TILE_ROWS + warp + part * (THREADS / WARP);
        const u32 x = blockIdx.x * TILE_COLUMNS + g;
        const float(&s)[4][4] = sums[part];
        const float low[8] = {s[0][0], s[0][1], s[1][0], s[1][1], s[2][0], s[2][1], s[3][0], s[3][1]};
        const float high[8] = {s[0][2], s[0][3], s[1][2], s[1][3], s[2][2], s[2][3], s[3][2], s[3][3]};
        store_pixel(p, y, x, 8 * t, low);
        store_pixel(p, y, x + 8, 8 * t, high);
    }
}

}  // namespace bev
