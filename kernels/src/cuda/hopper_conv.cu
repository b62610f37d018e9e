// Dense 2D convolution on NHWC fp16 maps for Hopper (sm_90a): implicit GEMM by warpgroup products, both
// operands brought in by the tensor copy engine.
//
// A block computes a rectangle of output pixels (at most ROWS) by BN columns. One step is 64 input channels
// (the last of a tap may be fewer: what lies beyond them arrives as zero and is not multiplied) of one tap: the rectangle of input pixels under that tap, shifted by (ky, kx), is one tile of the input
// tensor map, padding included (outside reads as zero, strides are the map's steps). One warp feeds the ring,
// two warpgroups multiply. Output as in dense_output.cuh. On other GPUs gather_conv.cu does the same.

#include "include/dense_output.cuh"
#include "include/hopper.cuh"

using namespace bev;

struct HopperConvParams {
    TensorMap in;       // (channel, x, y, image)
    TensorMap weights;  // (channel, tap * columns + column)
    DenseOutput output;
    u32 kernel_w;
    u32 taps;
    u32 chunks;         // of 64 input channels
    u32 columns;
    u32 stride;
    u32 padding;
    u32 tile_height;    // rectangle of output pixels
    u32 tile_width;
    u32 tiles_y;
    u32 tiles_x;
    u32 gemm_height;    // output pixels before any upsampling
    u32 gemm_width;
    u32 stages;         // of the ring
};

constexpr u32 CONSUMERS = 2;
[[maybe_unused]] constexpr u32 MOST_STAGES = 8;
constexpr u32 HOPPER_THREADS = (CONSUMERS * 4 + 1) * WARP;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr u32 STEP_BYTES = 128;  // one row of a step: 64 fp16 channels

// Where a warpgroup is in the ring.
struct Turn {
    u32 slot, parity, previous;
};

// TAIL: products of 16 channels in the last chunk. A number of products that is only known at run time would
// make the compiler wait for each of them.
template <int MT, int BN, int TAIL, bool GELU>
struct HopperConv {
    static constexpr u32 ROWS = CONSUMERS * MT * 64;
    static constexpr u32 A_BYTES = ROWS * STEP_BYTES;
    static constexpr u32 B_BYTES = BN * STEP_BYTES;
    static constexpr u32 STAGE_BYTES = A_BYTES + B_BYTES;
    static constexpr int GROUP = BN % 32 == 0 ? 4 : 2;

    u32 ring;
    u32 full;   // barriers
    u32 empty;  // barriers
    u32 tile_x, tile_y, image, column;

    __device__ __forceinline__ void produce(const HopperConvParams& p) const {
        const u32 bytes = p.tile_height * p.tile_width * STEP_BYTES + B_BYTES;
        const i32 x0 = static_cast<i32>(tile_x * p.stride) - static_cast<i32>(p.padding);
        const i32 y0 = static_cast<i32>(tile_y * p.stride) - static_cast<i32>(p.padding);
        u32 slot = 0, parity = 1;
        for (u32 tap = 0; tap < p.taps; ++tap) {
            const i32 dy = tap / p.kernel_w, dx = tap % p.kernel_w;
            for (u32 chunk = 0; chunk < p.chunks; ++chunk) {
                barrier_wait(empty + slot * 8, parity);
                const u32 stage = ring + slot * STAGE_BYTES, barrier = full + slot * 8;
                barrier_expect(barrier, bytes);
                copy_tile(stage, &p.in, barrier, chunk * 64, x0 + dx, y0 + dy, image);
                copy_tile(stage + A_BYTES, &p.weights, barrier, chunk * 64, tap * p.columns + column);
                if (++slot == p.stages) slot = 0, parity ^= 1;
            }
        }
    }

    // One step of PRODUCTS times 16 channels. `add` is 0 in the very first.
    template <u32 PRODUCTS>
    __device__ __forceinline__ void step(const HopperConvParams& p, float (&sums)[MT][BN / 2], Turn& turn,
                                         u32 add) const {
        const u32 group = threadIdx.x / (4 * WARP);
        barrier_wait(full + turn.slot * 8, turn.parity);
        const u32 stage = ring + turn.slot * STAGE_BYTES;
        const u64 a = tile_descriptor(stage + group * MT * 64 * STEP_BYTES);
        const u64 b = tile_descriptor(stage + A_BYTES);
#pragma unroll
        for (u32 m = 0; m < MT; ++m) hold(sums[m]);
        warpgroup_fence();
#pragma unroll
        for (u32 k = 0; k < PRODUCTS; ++k) {
#pragma unroll
            for (u32 m = 0; m < MT; ++m) {
                // 16 channels are 32 bytes within the swizzled row; addresses count in 16 bytes.
                warpgroup_mma(sums[m], a + m * (64 * STEP_BYTES >> 4) + k * 2, b + k * 2, add + k);
            }
        }
        warpgroup_commit();
#pragma unroll
        for (u32 m = 0; m < MT; ++m) hold(sums[m]);
        // The products of the step before are done: its stage may be overwritten.
        warpgroup_wait<1>();
        if (add > 0 && threadIdx.x % WARP == 0) barrier_arrive(empty + turn.previous * 8);
        turn.previous = turn.slot;
        if (++turn.slot == p.stages) turn.slot = 0, turn.parity ^= 1;
    }

    __device__ __forceinline__ void consume(const HopperConvParams& p, float (&sums)[MT][BN / 2]) const {
        Turn turn{0, 0, 0};
        u32 add = 0;
        for (u32 tap = 0; tap < p.taps; ++tap) {
            for (u32 chunk = 1; chunk < p.chunks; ++chunk) {
                step<4>(p, sums, turn, add);
                add = 1;
            }
            step<TAIL>(p, sums, turn, add);
            add = 1;
        }
        warpgroup_wait<0>();
#pragma unroll
        for (u32 m = 0; m < MT; ++m) hold(sums[m]);
    }

    __device__ __forceinline__ void finish(const HopperConvParams& p, const float (&sums)[MT][BN / 2]) const {
        const u32 group = threadIdx.x / (4 * WARP), warp = threadIdx.x / WARP % 4, lane = threadIdx.x % WARP;
        constexpr int N = 2 * GROUP;
        u32 y[MT][2], x[MT][2];
        bool inside[MT][2];
#pragma unroll
        for (u32 m = 0; m < MT; ++m)
#pragma unroll
            for (u32 high = 0; high < 2; ++high) {
                const u32 row = (group * MT + m) * 64 + warp * 16 + high * 8 + lane / 4;
                y[m][high] = tile_y + row / p.tile_width, x[m][high] = tile_x + row % p.tile_width;
                inside[m][high] = row < p.tile_height * p.tile_width && y[m][high] < p.gemm_height &&
                                  x[m][high] < p.gemm_width;
            }
#pragma unroll
        for (int g = 0; g < BN / 8 / GROUP; ++g) {
            const DenseOutput::Columns<N> columns =
                p.output.columns<N>(column + g * GROUP * 8 + (lane % 4) * N);
#pragma unroll
            for (u32 m = 0; m < MT; ++m)
#pragma unroll
                for (u32 high = 0; high < 2; ++high) {
                    if (!inside[m][high]) continue;
                    float v[N];
#pragma unroll
                    for (int j = 0; j < GROUP; ++j) {
                        v[2 * j] = sums[m][(g * GROUP + j) * 4 + 2 * high];
                        v[2 * j + 1] = sums[m][(g * GROUP + j) * 4 + 2 * high + 1];
                    }
                    p.output.store<N, GELU>(columns, image, y[m][high], x[m][high], v);
                }
        }
    }
};

#endif

template <int MT, int BN, int TAIL, bool GELU>
__device__ __forceinline__ void hopper_conv(const HopperConvParams& p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) u8 shared[];
    __shared__ __align__(8) u64 barriers[2 * MOST_STAGES];
    using Conv = HopperConv<MT, BN, TAIL, GELU>;
    Conv conv;
    conv.ring = (static_cast<u32>(__cvta_generic_to_shared(shared)) + 1023u) & ~1023u;
    conv.full = static_cast<u32>(__cvta_generic_to_shared(barriers));
    conv.empty = conv.full + MOST_STAGES * 8;
    u32 tile = blockIdx.x;
    conv.tile_x = tile % p.tiles_x * p.tile_width, tile /= p.tiles_x;
    conv.tile_y = tile % p.tiles_y * p.tile_height;
    conv.image = tile / p.tiles_y;
    conv.column = blockIdx.y * BN;
    if (threadIdx.x == 0) {
        prefetch_map(&p.in);
        prefetch_map(&p.weights);
        for (u32 i = 0; i < p.stages; ++i) {
            barrier_init(conv.full + i * 8, 1);
            barrier_init(conv.empty + i * 8, CONSUMERS * 4);
        }
        barrier_init_fence();
    }
    __syncthreads();
    begin_in_order();
    if (threadIdx.x >= CONSUMERS * 4 * WARP) {
        if (threadIdx.x % WARP == 0) conv.produce(p);
        return;
    }
    float sums[MT][BN / 2];
    conv.consume(p, sums);
    conv.finish(p, sums);
#endif
}

#define HOPPER_CONV(NAME, MT, BN, TAIL, GELU, BLOCKS)                                     \
    extern "C" __global__ void __launch_bounds__(HOPPER_THREADS, BLOCKS)                  \
        hopper_##NAME##_##MT##_##BN##_##TAIL(PARAMS HopperConvParams p) {                 \
        hopper_conv<MT, BN, TAIL, GELU>(p);                                               \
    }
// One product of rows for two blocks per multiprocessor, two for one. The launcher knows this list; any
// number of channels runs with the tail of 4, over zeros.
#define HOPPER_CONVS(BN, TAIL)                \
    HOPPER_CONV(conv, 1, BN, TAIL, false, 2)  \
    HOPPER_CONV(conv, 2, BN, TAIL, false, 1)

HOPPER_CONVS(16, 4)
HOPPER_CONVS(32, 4)
HOPPER_CONVS(64, 4)
HOPPER_CONVS(64, 2)
HOPPER_CONVS(80, 4)
HOPPER_CONVS(80, 1)
HOPPER_CONVS(96, 4)
HOPPER_CONVS(96, 2)
HOPPER_CONV(conv, 1, 96, 3, false, 2)
HOPPER_CONVS(128, 4)
HOPPER_CONVS(128, 1)
HOPPER_CONV(conv, 1, 192, 4, false, 1)
HOPPER_CONV(gelu, 1, 16, 4, true, 2)
HOPPER_CONV(gelu, 1, 96, 4, true, 2)
HOPPER_CONV(gelu, 1, 128, 4, true, 2)
HOPPER_CONV(gelu, 1, 128, 2, true, 2)
HOPPER_CONV(gelu, 2, 128, 4, true, 1)
