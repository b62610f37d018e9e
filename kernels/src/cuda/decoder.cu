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
__device__ __forceinline__ void place(const DecoderParams& p, float* x, float* parts, float* ring, Rows next) {
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
    multiply<R, CHANNELS, CHANNELS>(rows_of<CHANNELS, CHANNELS>(p.position[1].weight, CHANNELS), x, parts, ring, next);
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

// The rows that a result is added to, [R][128]; valid after the next barrier.
template <u32 R>
__device__ __forceinline__ void load_rows(const DecoderParams& p, const float* from, float* rows) {
    for (u32 i = threadIdx.x; i < R * CHANNELS; i += ROW_THREADS) {
        u32 at = min(blockIdx.x * R + i / CHANNELS, p.proposals - 1);
        rows[i] = from[at * CHANNELS + i % CHANNELS];
    }
}

template <u32 R>
__device__ __forceinline__ void start(const DecoderParams& p, float* memory) {
    float *x = memory, *parts = x + CHANNELS * R, *ring = parts + ROW_WARPS * CHANNELS * R;
    u32 first = blockIdx.x * R, shift = blockIdx.y * CHANNELS;
    Rows in = rows_of<CHANNELS, CHANNELS>(p.self_in.weight + shift, 3 * CHANNELS);
    stream(rows_of<CHANNELS, CHANNELS>(p.position[1].weight, CHANNELS), ring);
    place<R>(p, x, parts, ring, in);
    multiply<R, CHANNELS, CHANNELS>(in, x, parts, ring, Rows{});
    gather<R, CHANNELS>(parts, p.self_in.bias + shift, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.self_qkv[(first + row) * 3 * CHANNELS + shift + column] = value;
    });
}

template <u32 R>
__device__ __forceinline__ void self_attention(const DecoderParams& p, float* memory) {
    float *x = memory, *rows = x + CHANNELS * R, *parts = rows + CHANNELS * R;
    float* ring = parts + ROW_WARPS * CHANNELS * R;
    u32 first = blockIdx.x * R;
    Rows out = rows_of<CHANNELS, CHANNELS>(p.self_out.weight, CHANNELS);
    Rows cross = rows_of<CHANNELS, CHANNELS>(p.cross_query.weight, CHANNELS);
    stream(out, ring);
    load_rows<R>(p, p.query, rows);
#pragma unroll 1
    for (u32 row = 0; row < R; row += 4) attend_four<R>(p, first + row, x, row);
    __syncthreads();
    multiply<R, CHANNELS, CHANNELS>(out, x, parts, ring, cross);
    gather<R, CHANNELS>(parts, p.self_out.bias, [&](u32 row, u32 column, float value) {
        rows[row * CHANNELS + column] += value;
    });
    normalize<R>(rows, p.norms[0], p.channels, [&](u32 row, u32 column, float value) {
        u32 at = min(first + row, p.proposals - 1);
        if (first + row < p.proposals) p.attended[at * CHANNELS + column] = value;
        x[column * R + row] = value + p.placed[at * CHANNELS + column];
    });
    multiply<R, CHANNELS, CHANNELS>(cross, x, parts, ring, Rows{});
    gather<R, CHANNELS>(parts, p.cross_query.bias, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.cross[(first + row) * CHANNELS + column] = value;
    });
}

// Factor of every part of the cells, [splits][R][8]; a warp has the same head's place in R rows.
template <u32 R>
__device__ __forceinline__ void weigh(const DecoderParams& p, float* factors) {
    u32 first = blockIdx.x * R, lane = threadIdx.x % WARP, head = threadIdx.x / WARP;
    float2 parts[R][MAX_SPLITS / WARP];
#pragma unroll
    for (u32 row = 0; row < R; ++row) {
        u32 at = min(first + row, p.proposals - 1);
#pragma unroll
        for (u32 i = 0; i < MAX_SPLITS / WARP; ++i) {
            u32 split = i * WARP + lane;
            parts[row][i] = make_float2(-INFINITY_F, 0.0f);
            if (split < p.splits) parts[row][i] = p.part_sum[(split * p.proposals + at) * HEADS + head];
        }
    }
#pragma unroll
    for (u32 row = 0; row < R; ++row) {
        float most = -INFINITY_F, total = 0.0f;
#pragma unroll
        for (u32 i = 0; i < MAX_SPLITS / WARP; ++i) most = fmaxf(most, parts[row][i].x);
        most = warp_max(most);
#pragma unroll
        for (u32 i = 0; i < MAX_SPLITS / WARP; ++i) {
            parts[row][i].x = exp2_fast(parts[row][i].x - most);
            total = fmaf(parts[row][i].x, parts[row][i].y, total);
        }
        float share = 1.0f / warp_sum(total);
#pragma unroll
        for (u32 i = 0; i < MAX_SPLITS / WARP; ++i) {
            u32 split = i * WARP + lane;
            if (split < p.splits) factors[split * R * HEADS + row * HEADS + head] = parts[row][i].x * share;
        }
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
#pragma unroll 3
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

// One value of a proposal: a channel of its box, or the logit of its class.
__device__ __forceinline__ void store_value(const DecoderParams& p, u32 at, u32 channel, float value) {
    u32 cell = static_cast<u32>(p.index[at]) % p.cells;
    if (channel == 0) value += static_cast<float>(cell / p.columns) + 0.5f;
    if (channel == 1) value += static_cast<float>(cell % p.columns) + 0.5f;
    if (channel < BOX_CHANNELS) {
        p.boxes[channel * p.proposals + at] = value;
    } else {
        p.score[at] = 1.0f / (1.0f + expf(-value)) * p.heat[at];
        p.label_out[at] = p.label[at];
    }
}

// Second layers of the prediction heads, hidden [384][R]: a warp makes one value.
template <u32 R>
__device__ __forceinline__ void predict(const DecoderParams& p, const float* hidden) {
    constexpr u32 VALUES = R * (BOX_CHANNELS + 1), EACH = (VALUES + ROW_WARPS - 1) / ROW_WARPS;
    u32 first = blockIdx.x * R, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float sums[EACH], biases[EACH];
    // All loads first: one wait for them instead of one a value.
#pragma unroll
    for (u32 e = 0; e < EACH; ++e) {
        u32 i = min(e * ROW_WARPS + warp, VALUES - 1), row = i % R, channel = i / R;
        u32 label = static_cast<u32>(p.label[min(first + row, p.proposals - 1)]);
        u32 output = channel < BOX_CHANNELS ? channel : BOX_CHANNELS + label;
        const float* weight = p.heads_second.weight + output * PREDICTION;
        const float* in = hidden + head_of(output) * PREDICTION * R + row;
        biases[e] = p.heads_second.bias[output];
        sums[e] = fmaf(weight[lane], in[lane * R], weight[lane + WARP] * in[(lane + WARP) * R]);
    }
#pragma unroll
    for (u32 e = 0; e < EACH; ++e) {
        u32 i = e * ROW_WARPS + warp, at = first + i % R;
        float sum = warp_sum(sums[e]) + biases[e];
        if (lane == 0 && i < VALUES && at < p.proposals) store_value(p, at, i / R, sum);
    }
}

template <u32 R>
__device__ __forceinline__ void finish(const DecoderParams& p, float* memory) {
    float *hidden = memory, *x = hidden + STACKED * R, *rows = x + CHANNELS * R;
    float *parts = rows + CHANNELS * R, *ring = parts + ROW_WARPS * CHANNELS * R;
    float* factors = ring + RING_FLOATS;
    u32 first = blockIdx.x * R;
    Rows cross = rows_of<CHANNELS, CHANNELS>(p.cross_out.weight, CHANNELS);
    Rows wide = rows_of<CHANNELS, FFN>(p.ffn[0].weight, FFN), narrow = rows_of<FFN, CHANNELS>(p.ffn[1].weight, CHANNELS);
    Rows most = rows_of<CHANNELS, FFN>(p.heads_first.weight, STACKED);
    Rows rest = rows_of<CHANNELS, CHANNELS>(p.heads_first.weight + FFN, STACKED);
    stream(cross, ring);
    load_rows<R>(p, p.attended, rows);
    combine<R>(p, x, parts, factors);
    multiply<R, CHANNELS, CHANNELS>(cross, x, parts, ring, wide);
    gather<R, CHANNELS>(parts, p.cross_out.bias, [&](u32 row, u32 column, float value) {
        rows[row * CHANNELS + column] += value;
    });
    normalize<R>(rows, p.norms[1], p.channels, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.after_cross[(first + row) * CHANNELS + column] = value;
        x[column * R + row] = value;
    });
    multiply<R, CHANNELS, FFN>(wide, x, parts, ring, narrow);
    gather<R, FFN>(parts, p.ffn[0].bias,
                   [&](u32 row, u32 column, float value) { hidden[column * R + row] = relu(value); });
    multiply<R, FFN, CHANNELS>(narrow, hidden, parts, ring, most);
    gather<R, CHANNELS>(parts, p.ffn[1].bias,
                        [&](u32 row, u32 column, float value) { rows[row * CHANNELS + column] += value; });
    normalize<R>(rows, p.norms[2], p.channels, [&](u32 row, u32 column, float value) {
        if (first + row < p.proposals) p.out[(first + row) * CHANNELS + column] = value;
        x[column * R + row] = value;
    });
    multiply<R, CHANNELS, FFN>(most, x, parts, ring, rest);
    gather<R, FFN>(parts, p.heads_first.bias,
                   [&](u32 row, u32 column, float value) { hidden[column * R + row] = relu(value); });
    multiply<R, CHANNELS, CHANNELS>(rest, x, parts, ring, Rows{});
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
    cross_attention<4, 2>(p, reinterpret_cast<u8*>(decoder_memory));
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS, 1) decoder_cross_7(PARAMS DecoderParams p) {
    cross_attention<7, 4>(p, reinterpret_cast<u8*>(decoder_memory));
}
