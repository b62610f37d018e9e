// Tensor-core products of m16n8k16 tiles, fp16 in, fp32 accumulated, and asynchronous copies to shared
// memory. Everything here runs on SM 80 and newer.
//
// Operands never pass through a transposing load: the order of k within a tile is free as long as both
// sides agree, so a lane takes 8 consecutive channels of a row with one 16-byte load, and the weights are
// packed on the host in the order in which lanes read them (see `packing.rs`).
#pragma once

#include "include/common.cuh"

namespace bev {

// d += a * b; the lane's registers of a 16x16, b 16x8 and d 16x8.
__device__ __forceinline__ void mma(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// 32 channels of rows g and g + 8: two products, the lane's 8 channels of each row in `low` and `high`.
__device__ __forceinline__ void mma_pair(float (&d)[4], const uint4& low, const uint4& high,
                                         const uint4& b) {
    mma(d, low.x, high.x, low.y, high.y, b.x, b.y);
    mma(d, low.z, high.z, low.w, high.w, b.z, b.w);
}

__device__ __forceinline__ uint4 load16(const void* address) {
    return *reinterpret_cast<const uint4*>(address);
}

__device__ __forceinline__ uint4 load16_or_zero(const void* address) {
    return address ? load16(address) : make_uint4(0, 0, 0, 0);
}

__device__ __forceinline__ uint2 load8_or_zero(const void* address) {
    return address ? *reinterpret_cast<const uint2*>(address) : make_uint2(0, 0);
}

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void copy16_async(u32 shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `PENDING` of this thread's committed groups are under way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

}  // namespace bev
