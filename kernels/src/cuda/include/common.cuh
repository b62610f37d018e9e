// What every kernel file shares: fixed-width types and half-precision conversions. No header of the
// toolkit is included, so that NVRTC compiles the files without one.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;

// One kernel parameter, by value and constant.
#define PARAMS const __grid_constant__

namespace bev {

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// fp16 bits of a float, rounded to nearest even; beyond the range it becomes infinite.
__device__ __forceinline__ u16 to_half(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float from_half(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// Two fp16 values in a register, the first in the low half.
__device__ __forceinline__ u32 to_half2(float low, float high) {
    u32 bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ __forceinline__ float half2_low(u32 bits) { return from_half(static_cast<u16>(bits)); }
__device__ __forceinline__ float half2_high(u32 bits) { return from_half(static_cast<u16>(bits >> 16)); }

// max(x, 0), but a NaN stays one: a broken frame must not look like an empty one.
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }

// The first thing that a kernel does whose launcher says `overlapping`: the launch behind it may begin as soon
// as there is room, and this one goes on when the launch before it has ended and its writes are visible. On
// GPUs that cannot overlap launches it does nothing, because they start in order anyway.
__device__ __forceinline__ void begin_in_order() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;\n\tgriddepcontrol.wait;" ::: "memory");
#endif
}

__host__ __device__ constexpr u32 ceil_div(u32 a, u32 b) { return (a + b - 1) / b; }

}  // namespace bev
