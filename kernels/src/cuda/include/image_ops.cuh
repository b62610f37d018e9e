// Instructions of the image kernel: sums of byte products, and copies to shared memory with a length.
#pragma once
#include "include/common.cuh"

namespace bev {

// sum + the products of four unsigned bytes.
__device__ __forceinline__ u32 dot_unsigned(u32 levels, u32 weights, u32 sum) {
    u32 d;
    asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(levels), "r"(weights), "r"(sum));
    return d;
}

// The same with signed weights.
__device__ __forceinline__ u32 dot_signed(u32 levels, u32 weights, u32 sum) {
    u32 d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(levels), "r"(weights), "r"(sum));
    return d;
}

// sum + the products of four unsigned bytes with two halves of `first` and two of `second`.
__device__ __forceinline__ u32 dot_wide(u32 levels, u32 first, u32 second, u32 sum) {
    u32 d;
    asm("dp2a.lo.u32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(first), "r"(levels), "r"(sum));
    asm("dp2a.hi.u32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(second), "r"(levels), "r"(d));
    return d;
}

// Starts a copy of `bytes` (1 to 16) to 16 places in shared memory, the rest zeros; both are 16-aligned.
__device__ __forceinline__ void copy_part_async(void* shared, const void* global, u32 bytes) {
    u32 to = static_cast<u32>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}

// Waits for this thread's copies.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace bev
