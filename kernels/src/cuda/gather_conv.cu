// Dense 2D convolution on NHWC fp16 maps for every GPU from SM 80 up: implicit GEMM whose rows are output
// pixels (stream_gemm.cuh).
//
// in fp16 [images][height][width][in_pitch] (cin channels are read), weights packed by packing.rs, bias f32
// [columns]. Output pixel (y, x) sees input (y * stride - padding + ky, x * stride - padding + kx). With
// `upsample` u > 1 the columns are [u*u][cout] and column block s goes to pixel (y*u + s/u, x*u + s%u): a
// transposed convolution whose kernel equals its stride.

#include "include/dense_output.cuh"
#include "include/stream_gemm.cuh"

using namespace bev;

struct GatherConvParams {
    const u16* in;
    const u16* weights;
    DenseOutput output;
    u32 images;
    u32 in_height;
    u32 in_width;
    u32 in_pitch;
    u32 cin;
    u32 out_height;
    u32 out_width;
    u32 kernel_h;
    u32 kernel_w;
    u32 stride;
    u32 padding;
    u32 columns;
};

struct PixelRows {
    const u16* in;
    const int4* origins;  // per row: first pixel of the image or -1, top row, left column
    u32 pitch;
    int height;
    int width;
    u32 kernel_w;
    u32 taps;
    u32 warp_row;

    __device__ __forceinline__ u32 block_taps() const { return taps; }
    __device__ __forceinline__ bool warp_has(u32) const { return true; }
    __device__ __forceinline__ const u16* row(u32 tap, u32 local) const {
        const int4 origin = origins[warp_row + local];
        const int y = origin.y + static_cast<int>(tap / kernel_w);
        const int x = origin.z + static_cast<int>(tap % kernel_w);
        if (origin.x < 0 || y < 0 || y >= height || x < 0 || x >= width) return nullptr;
        return in + (static_cast<u64>(origin.x) + y * width + x) * pitch;
    }
};

template <int KC, int BN, int WM, int WN, int STAGES>
__device__ __forceinline__ void gather_conv(const GatherConvParams& p) {
    using T = StreamTiling<KC, BN, WM, WN, STAGES>;
    extern __shared__ __align__(128) u8 shared[];
    int4* origins = reinterpret_cast<int4*>(shared + T::RING_BYTES);
    const u32 area = p.out_height * p.out_width;
    const u32 first = blockIdx.x * T::ROWS;
    for (u32 local = threadIdx.x; local < T::ROWS; local += T::THREADS) {
        const u32 pixel = first + local;
        const u32 image = pixel / area, y = pixel % area / p.out_width, x = pixel % p.out_width;
        int4 origin = make_int4(-1, 0, 0, 0);
        if (image < p.images) {
            origin.x = static_cast<int>(image * p.in_height * p.in_width);
            origin.y = static_cast<int>(y * p.stride) - static_cast<int>(p.padding);
            origin.z = static_cast<int>(x * p.stride) - static_cast<int>(p.padding);
        }
        origins[local] = origin;
    }
    __syncthreads();
    const u32 warp_row = threadIdx.x / WARP % WM * 32;
    const u32 count = p.kernel_h * p.kernel_w;
    const u32 taps = count >= 32 ? 0xffffffffu : (1u << count) - 1;
    const PixelRows rows{p.in, origins, p.in_pitch, static_cast<int>(p.in_height), static_cast<int>(p.in_width),
                         p.kernel_w, taps, warp_row};
    StreamGemm<T, KC, BN, WM, WN, STAGES, PixelRows> gemm;
    gemm.run(rows, p.weights, p.cin / KC, p.columns / BN, blockIdx.y, shared);
    gemm.finish([&](u32 local, u32 channel, float (&v)[T::LANE_CHANNELS]) {
        const u32 pixel = first + warp_row + local;
        const u32 image = pixel / area;
        if (image >= p.images) return;
        constexpr int N = T::LANE_CHANNELS;
        const u32 y = pixel % area / p.out_width, x = pixel % p.out_width;
        const DenseOutput::Columns<N> columns = p.output.columns<N>(blockIdx.y * BN + channel);
        if (p.output.activation == ACTIVATION_GELU) {
            p.output.store<N, true>(columns, image, y, x, v);
        } else {
            p.output.store<N, false>(columns, image, y, x, v);
        }
    });
}

#define GATHER_CONV(NAME, KC, BN, WM, WN, STAGES)                                                        \
    extern "C" __global__ void __launch_bounds__(WM* WN * 32) gather_conv_##NAME(PARAMS GatherConvParams p) { \
        gather_conv<KC, BN, WM, WN, STAGES>(p);                                                          \
    }

GATHER_CONV(64_128, 64, 128, 4, 2, 4)
GATHER_CONV(64_64, 64, 64, 4, 1, 4)
GATHER_CONV(64_16, 64, 16, 8, 1, 4)
GATHER_CONV(32_128, 32, 128, 4, 2, 4)
GATHER_CONV(32_64, 32, 64, 4, 1, 4)
GATHER_CONV(32_16, 32, 16, 8, 1, 4)
