// Bilinear resizing of an NHWC fp16 map into a slice of another map's channels.
//
// Pixel centres are at half integers: output x is at (x + 0.5) * width_in / width_out - 0.5 of the input, cut
// at its border. A thread is 8 channels of a pixel; a row of blocks is a row of the output.
#include "include/epilogue.cuh"

namespace bev {

struct UpsampleParams {
    const u16* in;
    u16* out;
    u32 in_pitch, out_pitch;
    u32 in_height, in_width, out_height, out_width;
    u32 eights;  // channels / 8
    float row_scale, column_scale;
    u32 unused;
};

// Two neighbouring places along an axis and the weight of the second.
struct Between {
    u32 first, second;
    float weight;

    __device__ __forceinline__ Between(u32 to, float scale, u32 extent) {
        const float at = fmaxf((static_cast<float>(to) + 0.5f) * scale - 0.5f, 0.0f);
        first = min(static_cast<u32>(at), extent - 1);
        second = min(first + 1, extent - 1);
        weight = fminf(at - static_cast<float>(first), 1.0f);
    }
};

}  // namespace bev

using namespace bev;

extern "C" __global__ void __launch_bounds__(256) upsample_bilinear(PARAMS UpsampleParams p) {
    begin_in_order();
    const u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    const u32 eight = index % p.eights, x = index / p.eights;
    if (x >= p.out_width) return;
    const u32 y = blockIdx.y % p.out_height, image = blockIdx.y / p.out_height;
    const Between rows(y, p.row_scale, p.in_height), columns(x, p.column_scale, p.in_width);
    const u16* from = p.in + static_cast<u64>(image) * p.in_height * p.in_width * p.in_pitch + eight * 8;
    const u32 pixels[4] = {rows.first * p.in_width + columns.first, rows.first * p.in_width + columns.second,
                           rows.second * p.in_width + columns.first, rows.second * p.in_width + columns.second};
    const float weights[4] = {(1.0f - rows.weight) * (1.0f - columns.weight), (1.0f - rows.weight) * columns.weight,
                              rows.weight * (1.0f - columns.weight), rows.weight * columns.weight};
    uint4 corners[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) corners[i] = load16(from + static_cast<u64>(pixels[i]) * p.in_pitch);
    float sums[8] = {};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        const u32 bits[4] = {corners[i].x, corners[i].y, corners[i].z, corners[i].w};
#pragma unroll
        for (u32 c = 0; c < 4; ++c) {
            sums[2 * c] = fmaf(weights[i], half2_low(bits[c]), sums[2 * c]);
            sums[2 * c + 1] = fmaf(weights[i], half2_high(bits[c]), sums[2 * c + 1]);
        }
    }
    const u64 to = (static_cast<u64>(blockIdx.y) * p.out_width + x) * p.out_pitch + eight * 8;
    store_half(p.out + to, sums);
}
