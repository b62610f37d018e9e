// Query decoder: from proposals to box codes and scores.
//
// In: shared features, keys and values of every cell (fp16), proposals. Out: codes [10][P], scores, labels.
// Four kernels: start (query, position embedding, query, key and value of the self-attention), self
// (self-attention, norm, query of the cross-attention), cross (attention to a part of the cells), finish
// (parts put together, norm, FFN, norm, predictions). All sums have a fixed order.
#include "include/decoder_cross.cuh"
#include "include/decoder_rows.cuh"
#include "include/decoder_self.cuh"

namespace bev {

// Query and embedded position of R proposals, both summed into x [128][R].
template <u32 R>
__device__ __forceinline__ void place(const DecoderParams& p, float* x, float* parts) {
    u32 first = blockIdx.x * R;
    for (u32 i = threadIdx.x; i < R * CHANNELS; i += ROW_THREADS) {
        u32 row = i / CHANNELS, column = i % CHANNELS, cells = p.cells;
        u32 cell = static_cast<u32>(p.index[min(first + row, p.proposals - 1)]) % cells;
        float px = static_cast<float>(cell / p.columns) + 0.5f, py = static_cast<float>(cell % p.columns) + 0.5f;
        const Dense& layer = p.position[0];
        float sum = fmaf(py, layer.weight[CHANNELS + column], px * layer.weight[column]);
        x[column * R + row] = relu(sum + layer.bias[column]);
    }
    __syncthreads();
    multiply<R, CHANNELS, CHANNELS>(p.position[1].weight, CHANNELS, x, parts);
    gather<R, CHANNELS>(parts, p.position[1].bias, [&](u32 row, u32 column, float placed) {
        u32 at = min(first + row, p.proposals - 1);
        u64 cell = static_cast<u32>(p.index[at]) % p.cells;
        float query = from_half(p.shared[cell * CHANNELS + column]) +
                      p.class_table[static_cast<u32>(p.label[at]) * CHANNELS + column];
        if (blockIdx.y == 0 && first + row < p.proposals) {
            p.query[at * CHANNELS + column] = query;
            p.placed[at * CHANNELS + column] = placed;
        }
        x[column * R + row] = query + placed;
    });
}

template <u32 R>
__device__ __forceinline__ void start(const DecoderParams& p, float* memory) {
    float *x = memory, *parts = x + CHANNELS * R;
    u32 first = blockIdx.x * R, shift = blockIdx.y * CHANNELS;
    place<R>(p, x, parts);
    multiply<R, CHANNELS, CHANNELS>(p.self_in.weight + shift, 3 * CHANNELS, x, parts);
    gather<R, CHANNELS>(parts, p.self_in.bias + shift, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.self_qkv[(first + row) * 3 * CHANNELS + shift + column] = value;
    });
}

template <u32 R>
__device__ __forceinline__ void self_attention(const DecoderParams& p, float* memory) {
    float *x = memory, *rows = x + CHANNELS * R, *parts = rows + CHANNELS * R;
    u32 first = blockIdx.x * R;
#pragma unroll 1
    for (u32 row = 0; row < R; row += 4) attend_four<R>(p, first + row, x, row);
    __syncthreads();
    multiply<R, CHANNELS, CHANNELS>(p.self_out.weight, CHANNELS, x, parts);
    gather<R, CHANNELS>(parts, p.self_out.bias, [&](u32 row, u32 column, float value) {
        u32 at = min(first + row, p.proposals - 1);
        rows[row * CHANNELS + column] = p.query[at * CHANNELS + column] + value;
    });
    normalize<R>(rows, p.norms[0], [&](u32 row, u32 column, float value) {
        u32 at = min(first + row, p.proposals - 1);
        if (first + row < p.proposals) p.attended[at * CHANNELS + column] = value;
        x[column * R + row] = value + p.placed[at * CHANNELS + column];
    });
    multiply<R, CHANNELS, CHANNELS>(p.cross_query.weight, CHANNELS, x, parts);
    gather<R, CHANNELS>(parts, p.cross_query.bias, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.cross[(first + row) * CHANNELS + column] = value;
    });
}

// Factor of every part of the cells, [splits][R][8].
template <u32 R>
__device__ __forceinline__ void weigh(const DecoderParams& p, float* factors) {
    u32 first = blockIdx.x * R, lane = threadIdx.x % WARP;
    for (u32 pair = threadIdx.x / WARP; pair < R * HEADS; pair += ROW_WARPS) {
        u32 row = min(first + pair / HEADS, p.proposals - 1);
        float most = -INFINITY_F, total = 0.0f;
        for (u32 split = lane; split < p.splits; split += WARP)
            most = fmaxf(most, p.part_sum[(split * p.proposals + row) * HEADS + pair % HEADS].x);
        most = warp_max(most);
        for (u32 split = lane; split < p.splits; split += WARP) {
            float2 part = p.part_sum[(split * p.proposals + row) * HEADS + pair % HEADS];
            float factor = exp2_fast(part.x - most);
            factors[split * R * HEADS + pair] = factor;
            total = fmaf(factor, part.y, total);
        }
        float share = 1.0f / warp_sum(total);
        for (u32 split = lane; split < p.splits; split += WARP) factors[split * R * HEADS + pair] *= share;
    }
    __syncthreads();
}

// The cross-attention of all cells: x [128][R].
template <u32 R>
__device__ __forceinline__ void combine(const DecoderParams& p, float* x, float* parts, float* factors) {
    weigh<R>(p, factors);
    u32 first = blockIdx.x * R, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float4 sums[R];
#pragma unroll
    for (u32 row = 0; row < R; ++row) sums[row] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 2
    for (u32 split = warp; split < p.splits; split += ROW_WARPS) {
#pragma unroll
        for (u32 row = 0; row < R; ++row) {
            u64 at = static_cast<u64>(split) * p.proposals + min(first + row, p.proposals - 1);
            float4 part = reinterpret_cast<const float4*>(p.part + at * CHANNELS)[lane];
            float factor = factors[split * R * HEADS + row * HEADS + lane / 4];
            sums[row].x = fmaf(factor, part.x, sums[row].x);
            sums[row].y = fmaf(factor, part.y, sums[row].y);
            sums[row].z = fmaf(factor, part.z, sums[row].z);
            sums[row].w = fmaf(factor, part.w, sums[row].w);
        }
    }
#pragma unroll
    for (u32 row = 0; row < R; ++row) reinterpret_cast<float4*>(parts + (warp * R + row) * CHANNELS)[lane] = sums[row];
    __syncthreads();
    for (u32 i = threadIdx.x; i < R * CHANNELS; i += ROW_THREADS) {
        u32 row = i / CHANNELS, column = i % CHANNELS;
        float sum = 0.0f;
        for (u32 slice = 0; slice < ROW_WARPS; ++slice) sum += parts[(slice * R + row) * CHANNELS + column];
        x[column * R + row] = sum;
    }
    __syncthreads();
}

// Which of the six heads makes an output channel.
__device__ __forceinline__ u32 head_of(u32 channel) {
    constexpr u32 STARTS[5] = {2, 3, 6, 8, 10};
    u32 head = 0;
#pragma unroll
    for (u32 i = 0; i < 5; ++i) head += channel >= STARTS[i];
    return head;
}

// Second layers of the prediction heads, hidden [384][R]: a warp makes one value.
template <u32 R>
__device__ __forceinline__ void predict(const DecoderParams& p, const float* hidden) {
    u32 first = blockIdx.x * R, lane = threadIdx.x % WARP;
    for (u32 i = threadIdx.x / WARP; i < R * (BOX_CHANNELS + 1); i += ROW_WARPS) {
        u32 row = i % R, at = first + row, channel = i / R;
        if (at >= p.proposals) continue;
        u32 label = static_cast<u32>(p.label[at]);
        u32 output = channel < BOX_CHANNELS ? channel : BOX_CHANNELS + label;
        const float* weight = p.heads_second.weight + output * PREDICTION;
        const float* in = hidden + head_of(output) * PREDICTION * R + row;
        float sum = fmaf(weight[lane], in[lane * R], weight[lane + WARP] * in[(lane + WARP) * R]);
        sum = warp_sum(sum) + p.heads_second.bias[output];
        if (lane != 0) continue;
        u32 cell = static_cast<u32>(p.index[at]) % p.cells;
        if (channel == 0) sum += static_cast<float>(cell / p.columns) + 0.5f;
        if (channel == 1) sum += static_cast<float>(cell % p.columns) + 0.5f;
        if (channel < BOX_CHANNELS) {
            p.boxes[channel * p.proposals + at] = sum;
        } else {
            p.score[at] = 1.0f / (1.0f + expf(-sum)) * p.heat[at];
            p.label_out[at] = p.label[at];
        }
    }
}

template <u32 R>
__device__ __forceinline__ void finish(const DecoderParams& p, float* memory) {
    float *hidden = memory, *x = hidden + STACKED * R, *rows = x + CHANNELS * R;
    float *parts = rows + CHANNELS * R, *factors = parts + ROW_WARPS * CHANNELS * R;
    u32 first = blockIdx.x * R;
    combine<R>(p, x, parts, factors);
    multiply<R, CHANNELS, CHANNELS>(p.cross_out.weight, CHANNELS, x, parts);
    gather<R, CHANNELS>(parts, p.cross_out.bias, [&](u32 row, u32 column, float value) {
        u32 at = min(first + row, p.proposals - 1);
        rows[row * CHANNELS + column] = p.attended[at * CHANNELS + column] + value;
    });
    normalize<R>(rows, p.norms[1], [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.after_cross[(first + row) * CHANNELS + column] = value;
        x[column * R + row] = value;
    });
    multiply<R, CHANNELS, FFN>(p.ffn[0].weight, FFN, x, parts);
    gather<R, FFN>(parts, p.ffn[0].bias,
                   [&](u32 row, u32 column, float value) { hidden[column * R + row] = relu(value); });
    multiply<R, FFN, CHANNELS>(p.ffn[1].weight, CHANNELS, hidden, parts);
    gather<R, CHANNELS>(parts, p.ffn[1].bias,
                        [&](u32 row, u32 column, float value) { rows[row * CHANNELS + column] += value; });
    normalize<R>(rows, p.norms[2], [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.out[(first + row) * CHANNELS + column] = value;
        x[column * R + row] = value;
    });
    multiply<R, CHANNELS, FFN>(p.heads_first.weight, STACKED, x, parts);
    gather<R, FFN>(parts, p.heads_first.bias,
                   [&](u32 row, u32 column, float value) { hidden[column * R + row] = relu(value); });
    multiply<R, CHANNELS, CHANNELS>(p.heads_first.weight + FFN, STACKED, x, parts);
    gather<R, CHANNELS>(parts, p.heads_first.bias + FFN,
                        [&](u32 row, u32 column, float value) { hidden[(FFN + column) * R + row] = relu(value); });
    predict<R>(p, hidden);
}

}  // namespace bev

using namespace bev;

extern __shared__ float4 decoder_memory[];

#define ROWS_KERNEL(name, body, rows)                                                    \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS) name(PARAMS DecoderParams p) { \
        body<rows>(p, reinterpret_cast<float*>(decoder_memory));                          \
    }

ROWS_KERNEL(decoder_start_4, start, 4)
ROWS_KERNEL(decoder_start_8, start, 8)
ROWS_KERNEL(decoder_self_4, self_attention, 4)
ROWS_KERNEL(decoder_self_8, self_attention, 8)
ROWS_KERNEL(decoder_finish_4, finish, 4)
ROWS_KERNEL(decoder_finish_8, finish, 8)

extern "C" __global__ void __launch_bounds__(ROW_THREADS, 2) decoder_cross_4(PARAMS DecoderParams p) {
    cross_attention<4>(p, reinterpret_cast<u8*>(decoder_memory));
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, 1) decoder_cross_7(PARAMS DecoderParams p) {
    cross_attention<7>(p, reinterpret_cast<u8*>(decoder_memory));
}
