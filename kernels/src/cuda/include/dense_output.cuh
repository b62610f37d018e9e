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

    // N consecutive columns of the product, `column` the first: their bias and where they go.
    template <int N>
    struct Columns {
        float bias[N];
        u32 column;
        u32 dy, dx;  // of a transposed convolution's part
    };

    template <int N>
    __device__ __forceinline__ Columns<N> columns(u32 column) const {
        Columns<N> c;
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const float4 b = *reinterpret_cast<const float4*>(bias + column + i);
            c.bias[i] = b.x, c.bias[i + 1] = b.y, c.bias[i + 2] = b.z, c.bias[i + 3] = b.w;
        }
        c.column = column, c.dy = 0, c.dx = 0;
        if (upsample > 1) {
            const u32 part = column / channels;
            c.column = column - part * channels;
            c.dy = part / upsample, c.dx = part % upsample;
        }
        return c;
    }

    // `y`, `x`: pixel of the GEMM row. A kernel is made for GELU or for the others, which are a lower bound:
    // with all of them in one epilogue its code outgrows the instruction cache. A NaN stays one.
    template <int N, bool GELU>
    __device__ __forceinline__ void store(const Columns<N>& c, u32 image, u32 y, u32 x, float (&v)[N]) const {
        const u64 row = static_cast<u64>(image) * out_height + (y * upsample + c.dy);
        const u64 pixel = row * out_width + (x * upsample + c.dx);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] += c.bias[i];
        if (addend) add_half(v, addend + pixel * addend_pitch + c.column);
        const float floor = activation == ACTIVATION_RELU ? 0.0f : -__int_as_float(0x7f800000);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = GELU ? gelu(v[i]) : v[i] < floor ? floor : v[i];
        const u64 at = pixel * out_pitch + out_channel + c.column;
        if (is_float) {
            store_float(static_cast<float*>(out) + at, v);
        } else {
            store_half(static_cast<u16*>(out) + at, v);
        }
    }
};

}  // namespace bev
