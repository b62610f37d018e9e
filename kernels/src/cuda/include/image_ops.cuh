// Instructions of the image kernel: products of bytes, and copies to shared memory with a length.
#pragma once
#include "include/common.cuh"

namespace bev {

// d += a * b for 16x32 unsigned bytes and 32x8 unsigned or signed ones; the lane's registers of each.
__device__ __forceinline__ void multiply_unsigned(u32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply_signed(u32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Both values clipped to 0 to 255, in the low two bytes.
__device__ __forceinline__ u32 clipped_pair(i32 low, i32 high) {
    u32 d;
    asm("cvt.pack.sat.u8.s32.b32 %0, %1, %2, 0;" : "=r"(d) : "r"(high), "r"(low));
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

// A word, or 0. Not through the read-only path: that read would move behind the next barrier, to its first use.
__device__ __forceinline__ u32 read_now(const u32* from, bool there) {
    u32 word;
    asm volatile("{.reg .pred there; setp.ne.u32 there, %2, 0; mov.u32 %0, 0; @there ld.global.u32 %0, [%1];}"
                 : "=r"(word)
                 : "l"(from), "r"(static_cast<u32>(there))
                 : "memory");
    return word;
}

// Waits for this thread's copies.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace bev
