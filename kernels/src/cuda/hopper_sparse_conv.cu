// Sparse convolution for Hopper (sm_90a) to 64 channels and more: implicit GEMM by warpgroup products.
// Operands as in sparse_output.cuh; each sum is in ascending tap order.
//
// A block computes ROWS output rows by all COUT columns. One step is 64 values of the depth: half of a tap
// with 128 channels, a tap with 64, or two taps with 32. Four warps gather the rows of a step into a swizzled
// tile with asynchronous copies (a row that does not exist is filled with zeros) while the copy engine brings
// the step's weights; three warpgroups multiply. Steps that no row of the block needs are skipped.

#include "include/hopper.cuh"
#include "include/mma.cuh"
#include "include/sparse_output.cuh"

using namespace bev;

struct HopperSparseParams {
    TensorMap weights;  // (64 values, step * cout + column)
    SparseConvParams conv;
};

constexpr u32 GROUPS = 3;
[[maybe_unused]] constexpr u32 ROWS = GROUPS * 64;
constexpr u32 GATHERERS = 256;
constexpr u32 HOPPER_SPARSE_THREADS = GROUPS * 128 + GATHERERS;
[[maybe_unused]] constexpr u32 TAPS = 27;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr u32 STEP_BYTES = 128;                    // a row of a step: 64 fp16 values
constexpr u32 PIECES = STEP_BYTES / 16;            // copies of a row
constexpr u32 NO_ROW = 0xffffffffu;

// cp.async of 16 bytes, or zeros.
__device__ __forceinline__ void gather16(u32 shared, const u8* from, bool exists) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
}

// Arrives at the barrier when the calling thread's copies so far have landed.
__device__ __forceinline__ void arrive_when_copied(u32 barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

template <int CIN, int COUT, int STAGES>
struct SparseHopper {
    static constexpr u32 TAPS_PER_STEP = CIN < 64 ? 64 / CIN : 1;
    static constexpr u32 STEPS_PER_TAP = CIN == 128 ? 2 : 1;
    static constexpr int GROUP = COUT % 32 == 0 ? 4 : 2;
    static constexpr u32 A_BYTES = ROWS * STEP_BYTES;
    static constexpr u32 B_BYTES = COUT * STEP_BYTES;
    static constexpr u32 STAGE_BYTES = A_BYTES + B_BYTES;
    static constexpr u32 ROWS_AT_ONCE = GATHERERS / PIECES;
    static constexpr u32 ROWS_PER_THREAD = ROWS / ROWS_AT_ONCE;
    static_assert(ROWS_AT_ONCE % 8 == 0, "a thread's rows have the same place in the swizzle");

    u32 ring;
    u32 full;    // barriers [STAGES]
    u32 empty;   // barriers [STAGES]
    u64 active;  // bit per step
    u32* sources;  // [taps][rows at once][rows per thread]: byte offset of the input row, or NO_ROW

    static __device__ __forceinline__ void copy_row(u32 to, const u8* features, u32 source) {
        const bool exists = source != NO_ROW;
        gather16(to, features + (exists ? source : 0), exists);
    }

    // Where the input rows of the block are; returns the taps that this thread saw.
    __device__ __forceinline__ u32 find_rows(const SparseConvParams& p, u32 first, u32 rows) const {
        u32 seen = 0;
        for (u32 i = threadIdx.x; i < TAPS / DZ * ROWS; i += blockDim.x) {
            const u32 xy = i / ROWS, local = i % ROWS, row = first + local;
            const bool exists = xy < p.taps_xy && row < rows;
            const u32 entry = exists ? p.entries[static_cast<u64>(xy) * p.entry_stride + row] : 0;
            seen |= (entry & ENTRY_MASK) << (xy * DZ);
            u32* to = sources + (xy * DZ * ROWS_AT_ONCE + local % ROWS_AT_ONCE) * ROWS_PER_THREAD + local / ROWS_AT_ONCE;
#pragma unroll
            for (u32 dz = 0; dz < DZ; ++dz) {
                to[dz * ROWS] = entry >> dz & 1 ? input_row(entry, dz) * (CIN * 2) : NO_ROW;
            }
        }
        // The last step may reach past the last tap.
        for (u32 i = TAPS * ROWS + threadIdx.x; i < ceil_div(TAPS, TAPS_PER_STEP) * TAPS_PER_STEP * ROWS; i += blockDim.x) {
            sources[i] = NO_ROW;
        }
        return seen;
    }

    // Calls body(step, slot, parity of the full barrier) for each active step.
    template <class Body>
    __device__ __forceinline__ void each_step(Body&& body) const {
        u32 slot = 0, parity = 0;
        for (u64 rest = active; rest != 0; rest &= rest - 1) {
            body(static_cast<u32>(__ffsll(static_cast<long long>(rest)) - 1), slot, parity);
            if (++slot == STAGES) slot = 0, parity ^= 1;
        }
    }

    __device__ __forceinline__ void gather(const HopperSparseParams& p, u32 thread) const {
        const u32 piece = thread % PIECES, first = thread / PIECES;
        each_step([&](u32 step, u32 slot, u32 parity) {
            barrier_wait(empty + slot * 8, parity ^ 1);
            const u32 stage = ring + slot * STAGE_BYTES, barrier = full + slot * 8;
            if (thread == 0) {
                barrier_expect(barrier, B_BYTES);
                copy_tile(stage + A_BYTES, &p.weights, barrier, 0, step * COUT);
            }
            u32 tap, channel;
            if constexpr (TAPS_PER_STEP > 1) {
                constexpr u32 PIECES_PER_TAP = PIECES / TAPS_PER_STEP;
                tap = step * TAPS_PER_STEP + piece / PIECES_PER_TAP, channel = piece % PIECES_PER_TAP * 8;
            } else {
                tap = step / STEPS_PER_TAP, channel = step % STEPS_PER_TAP * 64 + piece * 8;
            }
            const u8* features = reinterpret_cast<const u8*>(p.conv.features + channel);
            const u32* of_thread = sources + (tap * ROWS_AT_ONCE + first) * ROWS_PER_THREAD;
            const u32 to = stage + first * STEP_BYTES + ((piece ^ (first & 7)) * 16);
#pragma unroll
            for (u32 i = 0; i < ROWS_PER_THREAD; i += 2) {
                const uint2 pair = *reinterpret_cast<const uint2*>(of_thread + i);
                copy_row(to + i * ROWS_AT_ONCE * STEP_BYTES, features, pair.x);
                copy_row(to + (i + 1) * ROWS_AT_ONCE * STEP_BYTES, features, pair.y);
            }
            arrive_when_copied(barrier);
        });
    }

    __device__ __forceinline__ void multiply(float (&sums)[COUT / 2], u32 group) const {
        u32 previous = 0, done = 0;
        each_step([&](u32, u32 slot, u32 parity) {
            barrier_wait(full + slot * 8, parity);
            // Rows were written by ordinary copies; the tensor cores read through the asynchronous proxy.
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            const u32 stage = ring + slot * STAGE_BYTES;
            const u64 a = tile_descriptor(stage + group * 64 * STEP_BYTES);
            const u64 b = tile_descriptor(stage + A_BYTES);
            hold(sums);
            warpgroup_fence();
#pragma unroll
            for (u32 k = 0; k < 4; ++k) warpgroup_mma(sums, a + k * 2, b + k * 2, done + k);
            warpgroup_commit();
            hold(sums);
            warpgroup_wait<1>();
            if (done > 0 && threadIdx.x % WARP == 0) barrier_arrive(empty + previous * 8);
            previous = slot, done = 1;
        });
        warpgroup_wait<0>();
        hold(sums);
        if (done == 0) {
#pragma unroll
            for (int i = 0; i < COUT / 2; ++i) sums[i] = 0.0f;
        }
    }
};

#endif

template <int CIN, int COUT, int STAGES, bool DENSE>
__device__ __forceinline__ void hopper_sparse_conv(const HopperSparseParams& p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    using Conv = SparseHopper<CIN, COUT, STAGES>;
    extern __shared__ __align__(1024) u8 shared[];
    __shared__ __align__(8) u64 barriers[2 * STAGES];
    __shared__ u32 taps;
    const SparseConvParams& conv = p.conv;
    begin_in_order();
    const u32 rows = *conv.rows, first = blockIdx.x * ROWS;
    if (first >= rows) return;
    Conv gemm;
    const u32 base = static_cast<u32>(__cvta_generic_to_shared(shared));
    gemm.ring = (base + 1023u) & ~1023u;
    gemm.full = static_cast<u32>(__cvta_generic_to_shared(barriers));
    gemm.empty = gemm.full + STAGES * 8;
    gemm.sources = reinterpret_cast<u32*>(shared + (gemm.ring - base) + STAGES * Conv::STAGE_BYTES);
    if (threadIdx.x == 0) {
        taps = 0;
        for (u32 i = 0; i < STAGES; ++i) {
            barrier_init(gemm.full + i * 8, GATHERERS + 1);
            barrier_init(gemm.empty + i * 8, GROUPS * 4);
        }
        barrier_init_fence();
    }
    __syncthreads();
    const u32 own = __reduce_or_sync(ALL_LANES, gemm.find_rows(conv, first, rows));
    if (threadIdx.x % WARP == 0 && own) atomicOr(&taps, own);
    __syncthreads();
    // Bits of taps to bits of steps.
    gemm.active = 0;
    for (u32 rest = taps; rest != 0; rest &= rest - 1) {
        const u32 tap = __ffs(rest) - 1;
        const u32 step = tap / Conv::TAPS_PER_STEP * Conv::STEPS_PER_TAP;
        gemm.active |= ((1ull << Conv::STEPS_PER_TAP) - 1) << step;
    }
    const u32 group = threadIdx.x / 128;
    if (group >= GROUPS) {
        gemm.gather(p, threadIdx.x - GROUPS * 128);
        return;
    }
    float sums[COUT / 2];
    gemm.multiply(sums, group);
    const u32 warp = threadIdx.x / WARP % 4, lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 high = 0; high < 2; ++high) {
        const u32 row = first + group * 64 + warp * 16 + high * 8 + lane / 4;
        if (row >= rows) continue;
#pragma unroll
        for (int g = 0; g < COUT / 8 / Conv::GROUP; ++g) {
            float v[2 * Conv::GROUP];
#pragma unroll
            for (int j = 0; j < Conv::GROUP; ++j) {
                v[2 * j] = sums[(g * Conv::GROUP + j) * 4 + 2 * high];
                v[2 * j + 1] = sums[(g * Conv::GROUP + j) * 4 + 2 * high + 1];
            }
            emit<DENSE>(conv, row, g * Conv::GROUP * 8 + (lane % 4) * 2 * Conv::GROUP, v);
        }
    }
#endif
}

#define HOPPER_SPARSE(CIN, COUT, STAGES)                                                       \
    extern "C" __global__ void __launch_bounds__(HOPPER_SPARSE_THREADS, 1)                     \
        hopper_sparse_conv_##CIN##_##COUT(PARAMS HopperSparseParams p) {                       \
        hopper_sparse_conv<CIN, COUT, STAGES, false>(p);                                       \
    }                                                                                          \
    extern "C" __global__ void __launch_bounds__(HOPPER_SPARSE_THREADS, 1)                     \
        hopper_sparse_conv_##CIN##_##COUT##_dense(PARAMS HopperSparseParams p) {               \
        hopper_sparse_conv<CIN, COUT, STAGES, true>(p);                                        \
    }

HOPPER_SPARSE(32, 64, 6)
HOPPER_SPARSE(64, 64, 6)
HOPPER_SPARSE(64, 128, 5)
HOPPER_SPARSE(128, 128, 5)
