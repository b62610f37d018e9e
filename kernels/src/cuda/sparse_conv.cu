// Sparse convolution as implicit GEMM over packed rulebooks, output-stationary, for every GPU from SM 80 up.
// Operands as in sparse_output.cuh. fp32 accumulation in ascending tap order per output, so the result does
// not depend on the grid.
//
// Up to 32 channels the weights of all taps stay in shared memory and warps run on their own; above that
// they pass through a ring (stream_gemm.cuh). Hopper has its own kernel for that, hopper_sparse_conv.cu.

#include "include/sparse_output.cuh"
#include "include/stream_gemm.cuh"

using namespace bev;

// ---- up to 32 channels: weights resident -----------------------------------------------------------

constexpr int RESIDENT_WARPS = 8;
constexpr int TAPS = 27;

// A lane's share of an input row: 4 of 16 channels, or 8 of 32.
template <int CIN>
struct Piece;

template <>
struct Piece<16> {
    using Type = uint2;
    static __device__ __forceinline__ uint2 zero() { return make_uint2(0, 0); }
};

template <>
struct Piece<32> {
    using Type = uint4;
    static __device__ __forceinline__ uint4 zero() { return make_uint4(0, 0, 0, 0); }
};

// One warp, 32 output rows, all taps unrolled: the rows of DEPTH taps are on their way while one multiplies.
template <int CIN, int COUT, bool DENSE>
struct Resident {
    static constexpr int GROUP = CIN == 16 || COUT == 16 ? 2 : 4;
    static constexpr int TAP_BYTES = CIN * COUT * 2;
    static constexpr u32 ROW_BYTES = CIN * 2;
    static constexpr int DEPTH = CIN == 16 ? 6 : 4;
    using Value = typename Piece<CIN>::Type;

    float sums[2][COUT / 8][4];
    u32 entry[4];   // of rows g, g + 8, g + 16, g + 24
    u32 offset[4];  // of the next existing input row (bytes)

    __device__ __forceinline__ void fetch(const u8* features, const u32* entries, int tap, Value (&to)[4]) {
        const u32 lane = threadIdx.x % WARP;
        const int xy = tap / static_cast<int>(DZ), dz = tap % static_cast<int>(DZ);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            if (dz == 0) {
                entry[r] = entries[xy * WARP + r * 8 + lane / 4];
                offset[r] = (entry[r] >> DZ) * ROW_BYTES;
            }
            const bool exists = entry[r] >> dz & 1;
            to[r] = Piece<CIN>::zero();
            if (exists) {
                to[r] = __ldg(reinterpret_cast<const Value*>(features + offset[r]));
                offset[r] += ROW_BYTES;
            }
        }
    }

    __device__ __forceinline__ void multiply(const Value (&rows)[4], const u8* weights, int tap) {
        const u32 lane = threadIdx.x % WARP;
        const u8* fragments = weights + tap * TAP_BYTES + lane * 16;
        if constexpr (CIN == 16) {
#pragma unroll
            for (int q = 0; q < COUT / 16; ++q) {
                const uint4 b = load16(fragments + q * 512);
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    const Value low = rows[2 * m], high = rows[2 * m + 1];
                    mma(sums[m][2 * q], low.x, high.x, low.y, high.y, b.x, b.y);
                    mma(sums[m][2 * q + 1], low.x, high.x, low.y, high.y, b.z, b.w);
                }
            }
        } else {
#pragma unroll
            for (int j = 0; j < COUT / 8; ++j) {
                const uint4 b = load16(fragments + j * 512);
#pragma unroll
                for (int m = 0; m < 2; ++m) mma_pair(sums[m][j], rows[2 * m], rows[2 * m + 1], b);
            }
        }
    }

    // One tile of 32 output rows.
    __device__ __forceinline__ void tile(const SparseConvParams& p, u32 first, u32 rows, u32* entries,
                                         const u8* weights) {
        const u32 lane = threadIdx.x % WARP;
        u32 own = 0;
#pragma unroll
        for (u32 xy = 0; xy < TAPS / DZ; ++xy) {
            const bool exists = first + lane < rows && xy < p.taps_xy;
            const u32 found = exists ? __ldg(p.entries + static_cast<u64>(xy) * p.entry_stride + first + lane) : 0;
            entries[xy * WARP + lane] = found;
            own |= (found & ENTRY_MASK) << (xy * DZ);
        }
        const u32 taps = __reduce_or_sync(ALL_LANES, own);
        __syncwarp();
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int j = 0; j < COUT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[m][j][i] = 0.0f;

        const u8* features = reinterpret_cast<const u8*>(p.features + (lane % 4) * (CIN / 4));
        Value ring[DEPTH][4];
#pragma unroll
        for (int tap = 0; tap < DEPTH; ++tap) fetch(features, entries, tap, ring[tap]);
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            // With few neighbours many taps are empty for the whole warp; with many a test costs more.
            if (CIN == 32 || taps >> tap & 1) multiply(ring[tap % DEPTH], weights, tap);
            if (tap + DEPTH < TAPS) fetch(features, entries, tap + DEPTH, ring[tap % DEPTH]);
        }
        finish(p, first, rows);
        __syncwarp();
    }

    __device__ __forceinline__ void finish(const SparseConvParams& p, u32 first, u32 rows) {
        const u32 lane = threadIdx.x % WARP;
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const u32 row = first + m * 16 + half * 8 + lane / 4;
                if (row >= rows) continue;
#pragma unroll
                for (int group = 0; group < COUT / 8 / GROUP; ++group) {
                    float v[2 * GROUP];
#pragma unroll
                    for (int j = 0; j < GROUP; ++j) {
                        v[2 * j] = sums[m][group * GROUP + j][2 * half];
                        v[2 * j + 1] = sums[m][group * GROUP + j][2 * half + 1];
                    }
                    emit<DENSE>(p, row, group * GROUP * 8 + (lane % 4) * 2 * GROUP, v);
                }
            }
    }
};

template <int CIN, int COUT, bool DENSE>
__device__ __forceinline__ void resident(const SparseConvParams& p) {
    extern __shared__ __align__(128) u8 shared[];
    constexpr u32 bytes = TAPS * Resident<CIN, COUT, DENSE>::TAP_BYTES;
    const u32 given = p.taps_xy * DZ * Resident<CIN, COUT, DENSE>::TAP_BYTES;
    for (u32 at = threadIdx.x * 16; at < given; at += blockDim.x * 16) {
        copy16_async(shared_address(shared + at), reinterpret_cast<const u8*>(p.weights) + at);
    }
    // Taps that the kernel lacks meet rows of zeros; their weights must be numbers all the same.
    for (u32 at = given + threadIdx.x * 16; at < bytes; at += blockDim.x * 16) {
        *reinterpret_cast<uint4*>(shared + at) = make_uint4(0, 0, 0, 0);
    }
    commit_copies();
    // Weights are nobody's result: they are on their way before the layer before has ended.
    begin_in_order();
    wait_copies<0>();
    __syncthreads();
    const u32 warp = threadIdx.x / WARP;
    u32* entries = reinterpret_cast<u32*>(shared + bytes) + warp * (TAPS / DZ) * WARP;
    const u32 rows = *p.rows;
    Resident<CIN, COUT, DENSE> gemm;
    const u32 stride = gridDim.x * RESIDENT_WARPS * WARP;
    for (u32 first = (blockIdx.x * RESIDENT_WARPS + warp) * WARP; first < rows; first += stride) {
        gemm.tile(p, first, rows, entries, shared);
    }
}

#define RESIDENT(CIN, COUT)                                                                  \
    extern "C" __global__ void __launch_bounds__(RESIDENT_WARPS * 32, 2)                      \
        sparse_conv_resident_##CIN##_##COUT(PARAMS SparseConvParams p) {                     \
        resident<CIN, COUT, false>(p);                                                       \
    }                                                                                        \
    extern "C" __global__ void __launch_bounds__(RESIDENT_WARPS * 32, 2)                      \
        sparse_conv_resident_##CIN##_##COUT##_dense(PARAMS SparseConvParams p) {             \
        resident<CIN, COUT, true>(p);                                                        \
    }

RESIDENT(16, 16)
RESIDENT(16, 32)
RESIDENT(32, 16)
RESIDENT(32, 32)

// ---- above 32 channels: weights in a ring ----------------------------------------------------------

// Rows of a block of output sites: packed entries in shared memory.
template <int ROWS>
struct SparseRows {
    const u16* features;
    const u32* entries;  // [taps_xy][ROWS]
    u32 channels;
    u32 of_block;
    u32 of_warp;
    u32 warp_row;

    __device__ __forceinline__ u32 block_taps() const { return of_block; }
    __device__ __forceinline__ bool warp_has(u32 tap) const { return of_warp >> tap & 1; }
    __device__ __forceinline__ const u16* row(u32 tap, u32 local) const {
        const u32 xy = tap / DZ, dz = tap - xy * DZ;
        const u32 entry = entries[xy * ROWS + warp_row + local];
        if (!(entry >> dz & 1)) return nullptr;
        return features + static_cast<u64>(input_row(entry, dz)) * channels;
    }
};

template <int KC, int BN, int WM, int WN, int STAGES, bool DENSE>
__device__ __forceinline__ void streamed(const SparseConvParams& p) {
    using T = StreamTiling<KC, BN, WM, WN, STAGES>;
    using Rows = SparseRows<T::ROWS>;
    extern __shared__ __align__(128) u8 shared[];
    __shared__ u32 block_taps;
    begin_in_order();
    const u32 rows = *p.rows;
    const u32 first = blockIdx.x * T::ROWS;
    if (first >= rows) return;
    u32* entries = reinterpret_cast<u32*>(shared + T::RING_BYTES);
    if (threadIdx.x == 0) block_taps = 0;
    for (u32 i = threadIdx.x; i < p.taps_xy * T::ROWS; i += T::THREADS) {
        const u32 xy = i / T::ROWS, local = i % T::ROWS;
        const bool exists = first + local < rows;
        entries[i] = exists ? p.entries[static_cast<u64>(xy) * p.entry_stride + first + local] : 0;
    }
    __syncthreads();
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 warp_row = warp % WM * 32;
    u32 own = 0;
    for (u32 xy = 0; xy < p.taps_xy; ++xy) own |= (entries[xy * T::ROWS + warp_row + lane] & ENTRY_MASK) << (xy * DZ);
    const u32 of_warp = __reduce_or_sync(ALL_LANES, own);
    if (lane == 0) atomicOr(&block_taps, of_warp);
    __syncthreads();
    const Rows source{p.features, entries, p.cin, block_taps, of_warp, warp_row};
    StreamGemm<T, KC, BN, WM, WN, STAGES, Rows> gemm;
    gemm.run(source, p.weights, p.cin / KC, p.cout / BN, blockIdx.y, shared);
    gemm.finish([&](u32 local, u32 channel, float (&v)[T::LANE_CHANNELS]) {
        const u32 row = first + warp_row + local;
        if (row < rows) emit<DENSE>(p, row, blockIdx.y * BN + channel, v);
    });
}

#define STREAMED(NAME, KC, BN, WM, WN, STAGES, DENSE)                                                     \
    extern "C" __global__ void __launch_bounds__(WM* WN * 32) sparse_conv_##NAME(PARAMS SparseConvParams p) { \
        streamed<KC, BN, WM, WN, STAGES, DENSE>(p);                                                       \
    }

STREAMED(64_16, 64, 16, 4, 1, 4, false)
STREAMED(32_64, 32, 64, 4, 1, 4, false)
STREAMED(64_64, 64, 64, 4, 1, 4, false)
STREAMED(64_128, 64, 128, 4, 2, 4, false)
STREAMED(64_16_dense, 64, 16, 4, 1, 4, true)
STREAMED(32_64_dense, 32, 64, 4, 1, 4, true)
STREAMED(64_64_dense, 64, 64, 4, 1, 4, true)
STREAMED(64_128_dense, 64, 128, 4, 2, 4, true)
