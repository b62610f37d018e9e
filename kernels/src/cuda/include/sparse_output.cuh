// What all sparse convolutions share: their parameters, packed rulebook entries, and where values go.
//
// features fp16 [rows_in][cin], entries u32 [taps_xy][entry_stride] (see rulebook.cu), weights packed by
// packing.rs, bias f32 [cout], residual fp16 [rows_out][cout] or null, out fp16 [rows_out][cout]:
//   out[o] = act(bias + sum_k W_k * in[rules[k][o]] (+ residual[o]))
// The kernel that ends the encoder writes into the dense BEV map [X*Y][cell_pitch] instead, channel
// c * z_extent + z.
#pragma once

#include "include/epilogue.cuh"

namespace bev {

struct SparseConvParams {
    const u16* features;
    const u32* entries;
    const u16* weights;
    const float* bias;
    const u16* residual;
    u16* out;
    const u32* rows;   // number of output rows
    const u32* sites;  // of the output rows: column * 64 + z; for the dense map only
    u32 entry_stride;
    u32 taps_xy;
    u32 cin;
    u32 cout;
    u32 z_extent;
    u32 activation;
    u32 cell_pitch;     // elements of a cell of the dense map
    u32 real_channels;  // channels that the dense map has; the padding is dropped
};

// Slots of a packed entry along z: (first input row << 3) | which of the three exist.
constexpr u32 DZ = 3;
constexpr u32 ENTRY_MASK = 7;

// Input row at dz of a packed entry that has it.
__device__ __forceinline__ u32 input_row(u32 entry, u32 dz) {
    return (entry >> DZ) + __popc(entry & ((1u << dz) - 1));
}

template <bool DENSE, int N>
__device__ __forceinline__ void emit(const SparseConvParams& p, u32 row, u32 channel, float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const float4 bias = *reinterpret_cast<const float4*>(p.bias + channel + i);
        v[i] += bias.x, v[i + 1] += bias.y, v[i + 2] += bias.z, v[i + 3] += bias.w;
    }
    const u64 at = static_cast<u64>(row) * p.cout + channel;
    if (p.residual) add_half(v, p.residual + at);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = activate(v[i], p.activation);
    if constexpr (DENSE) {
        const u32 site = p.sites[row];
        u16* cell = p.out + static_cast<u64>(site >> 6) * p.cell_pitch + (site & 63u);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            if (channel + i < p.real_channels) cell[(channel + i) * p.z_extent] = to_half(v[i]);
        }
    } else {
        store_half(p.out + at, v);
    }
}

}  // namespace bev
