// Where the columns of a dense convolution go: bias, a constant or residual map, activation, fp16 or fp32,
// a slice of a wider map, and the pixel shuffle of a transposed convolution.
#pragma once

#include "include/epilogue.cuh"

namespace bev {

struct DenseOutput {
    const float* bias;    // [columns]
    const u16* addend;    // fp16 map of the output's pixels, pitch addend_pitch; or null
    void* out;            // fp16 or fp32
    u32 addend_pitch;
    u32 out_pitch;        // elements per output pixel
    u32 out_channel;      // first channel of this convolution in the map
    u32 out_height;       // of the map that is written
    u32 out_width;
    u32 channels;         // real channels of one pixel, the rest of a block is dropped
    u32 upsample;         // 1, or the stride of a transposed convolution
    u32 activation;
    u32 is_float;

    // `y`, `x`: pixel of the GEMM row; `column`: first of N consecutive columns.
    template <int N>
    __device__ __forceinline__ void store(u32 image, u32 y, u32 x, u32 column, float (&v)[N]) const {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const float4 b = *reinterpret_cast<const float4*>(bias + column + i);
            v[i] += b.x, v[i + 1] += b.y, v[i + 2] += b.z, v[i + 3] += b.w;
        }
        if (upsample > 1) {
            const u32 part = column / channels;
            column -= part * channels;
            y = y * upsample + part / upsample;
            x = x * upsample + part % upsample;
        }
        const u64 pixel = (static_cast<u64>(image) * out_height + y) * out_width + x;
        if (addend) add_half(v, addend + pixel * addend_pitch + column);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = activate(v[i], activation);
        const u64 at = pixel * out_pitch + out_channel + column;
        if (is_float) {
            store_float(static_cast<float*>(out) + at, v);
        } else {
            store_half(static_cast<u16*>(out) + at, v);
        }
    }
};

}  // namespace bev
