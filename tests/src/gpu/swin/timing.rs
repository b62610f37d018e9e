//! Times at the sizes of the nuScenes model: six images of 256×704, Swin-T.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::layer_norm::{
    LayerNorm, LayerNormKernels, LayerNormRows, LayerNormWeights,
};
use bevfusion_kernels::cuda::swin_mlp::{SwinMlp, SwinMlpKernels, SwinMlpWeights};
use bevfusion_kernels::cuda::upsample::{Upsample, UpsampleShape};
use bevfusion_kernels::cuda::window_attention::{
    WindowAttention, WindowAttentionKernels, WindowAttentionMaps, WindowAttentionShape,
    WindowAttentionWeights,
};
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};

use super::super::timing::microseconds;

const IMAGES: usize = 6;
/// Rows, columns and channels of the token maps.
const STAGES: [([usize; 2], usize); 4] = [
    ([64, 176], 96),
    ([32, 88], 192),
    ([16, 44], 384),
    ([8, 22], 768),
];

/// Name with the memory traffic that it amounts to, and time (µs) of every kernel at every stage.
///
/// # Errors
/// When the driver refuses.
pub fn times(context: &Arc<Context>) -> Result<Vec<(String, f64)>, DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let mut rows = Vec::new();
    for (size, channels) in STAGES {
        for shift in [0, 3] {
            rows.push(attention(&stream, size, channels, shift)?);
        }
    }
    for (size, channels) in STAGES {
        let tokens = LayerNormRows::Tokens(IMAGES * size[0] * size[1]);
        rows.push(norm(&stream, tokens, channels)?);
    }
    for (size, channels) in &STAGES[..3] {
        let (images, size) = (IMAGES, *size);
        let joined = LayerNormRows::Joined { images, size };
        rows.push(norm(&stream, joined, 4 * channels)?);
    }
    for (input, output, channels) in [([8, 22], [16, 44], 768), ([16, 44], [32, 88], 256)] {
        let shape = UpsampleShape {
            images: IMAGES,
            input,
            output,
            channels,
        };
        rows.push(upsample(&stream, &shape)?);
    }
    for (size, channels) in &STAGES[..2] {
        rows.push(mlp(&stream, IMAGES * size[0] * size[1], *channels)?);
    }
    Ok(rows)
}

/// Zeros.
fn map(arena: &DeviceArena, rows: usize, channels: usize) -> Result<MapSlice<u16>, DriverError> {
    Ok(MapSlice {
        data: arena.take_zeroed("map", rows * channels)?,
        pitch: channels,
        channel: 0,
    })
}

/// `values` fp16 numbers in `time` µs.
fn row(name: String, values: usize, time: f64) -> (String, f64) {
    let gigabytes = 2.0 * values as f64 / time / 1e3;
    (format!("{name} ({gigabytes:.0} GB/s)"), time)
}

fn attention(
    stream: &Stream,
    size: [usize; 2],
    channels: usize,
    shift: usize,
) -> Result<(String, f64), DriverError> {
    let shape = WindowAttentionShape {
        images: IMAGES,
        size,
        heads: channels / 32,
        depth: 32,
        window: 7,
        shift,
    };
    let arena = DeviceArena::new(stream.context());
    let weights = WindowAttentionWeights {
        padding: &vec![0.0; 3 * channels],
        position_bias: &vec![0.0; 169 * shape.heads],
    };
    let maps = WindowAttentionMaps {
        qkv: map(&arena, shape.tokens(), 3 * channels)?,
        out: map(&arena, shape.tokens(), channels)?,
    };
    let kernels = WindowAttentionKernels::load(stream.context())?;
    let layer = WindowAttention::new(&kernels, &arena, &shape, &weights, maps)?;
    let time = microseconds(stream, || layer.enqueue(stream))?;
    let [height, width] = size;
    let name = format!("window_attention {height}x{width} of {channels} shift {shift}");
    Ok(row(name, 4 * channels * shape.tokens(), time))
}

fn norm(
    stream: &Stream,
    rows: LayerNormRows,
    channels: usize,
) -> Result<(String, f64), DriverError> {
    let arena = DeviceArena::new(stream.context());
    let [read, written] = rows.counts();
    let (name, width) = match rows {
        LayerNormRows::Tokens(_) => ("layer_norm", channels),
        LayerNormRows::Joined { .. } => ("merge_norm", channels / 4),
    };
    let weights = LayerNormWeights {
        scale: &vec![1.0; channels],
        bias: &vec![0.0; channels],
    };
    let input = map(&arena, read, width)?;
    let out = map(&arena, written, channels)?;
    let kernels = LayerNormKernels::load(stream.context())?;
    let norm = LayerNorm::new(&kernels, &arena, rows, &weights, input, out)?;
    let time = microseconds(stream, || norm.enqueue(stream))?;
    let name = format!("{name} {written} of {channels}");
    Ok(row(name, read * width + written * channels, time))
}

fn upsample(stream: &Stream, shape: &UpsampleShape) -> Result<(String, f64), DriverError> {
    let arena = DeviceArena::new(stream.context());
    let pixels = |[rows, columns]: [usize; 2]| shape.images * rows * columns;
    let (read, written) = (pixels(shape.input), pixels(shape.output));
    let input = map(&arena, read, shape.channels)?;
    let out = map(&arena, written, shape.channels)?;
    let layer = Upsample::new(stream.context(), shape, input, out)?;
    let time = microseconds(stream, || layer.enqueue(stream))?;
    let [height, width] = shape.output;
    let name = format!("upsample to {height}x{width} of {}", shape.channels);
    Ok(row(name, (read + written) * shape.channels, time))
}

fn mlp(stream: &Stream, tokens: usize, channels: usize) -> Result<(String, f64), DriverError> {
    let arena = DeviceArena::new(stream.context());
    let zeros = vec![0.0; 4 * channels * channels];
    let weights = SwinMlpWeights {
        norm: LayerNormWeights {
            scale: &zeros[..channels],
            bias: &zeros[..channels],
        },
        hidden: &zeros,
        hidden_bias: &zeros[..4 * channels],
        out: &zeros,
        out_bias: &zeros[..channels],
    };
    let x = map(&arena, tokens, channels)?;
    let kernels = SwinMlpKernels::load(stream.context())?;
    let layer = SwinMlp::new(&kernels, &arena, tokens, &weights, x.clone(), x)?;
    let time = microseconds(stream, || layer.enqueue(stream))?;
    let teraflops = 16.0 * (tokens * channels * channels) as f64 / time / 1e6;
    let name = format!("swin_mlp {tokens} of {channels} ({teraflops:.0} TFLOP/s)");
    Ok((name, time))
}
