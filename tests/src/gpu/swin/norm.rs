//! LayerNorm of tokens and of joined tokens.

use bevfusion_kernels::cuda::layer_norm::{
    EPSILON, LayerNorm, LayerNormKernels, LayerNormRows, LayerNormWeights,
};
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::layer_norm::{joined, layer_norm};

use super::super::random::Random;
use super::HALF;
use super::maps::{compare, input, output, rounded};
use crate::report::Report;

/// What the rows look like.
#[derive(Clone, Copy, Debug)]
enum Values {
    Plain,
    LargeMean,
    Constant,
    Large,
}

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let kernels = LayerNormKernels::load(stream.context())?;
    let widths: &[usize] = if quick {
        &[24, 96, 1536]
    } else {
        &[
            8, 24, 48, 96, 104, 192, 200, 384, 768, 776, 1536, 1544, 3072,
        ]
    };
    for channels in widths {
        let rows = LayerNormRows::Tokens(if quick { 5 } else { 67 });
        for values in [
            Values::Plain,
            Values::LargeMean,
            Values::Constant,
            Values::Large,
        ] {
            one(stream, &kernels, rows, *channels, values, report)?;
        }
    }
    for (size, channels) in [([1, 1], 8), ([5, 7], 24), ([4, 6], 96), ([7, 4], 192)] {
        let rows = LayerNormRows::Joined { images: 3, size };
        one(stream, &kernels, rows, 4 * channels, Values::Plain, report)?;
    }
    if !quick {
        for (size, channels) in [([16, 44], 384), ([9, 5], 768)] {
            let rows = LayerNormRows::Joined { images: 2, size };
            one(
                stream,
                &kernels,
                rows,
                4 * channels,
                Values::LargeMean,
                report,
            )?;
        }
    }
    Ok(())
}

fn one(
    stream: &Stream,
    kernels: &LayerNormKernels,
    rows: LayerNormRows,
    channels: usize,
    values: Values,
    report: &mut Report,
) -> Result<(), DriverError> {
    let mut random = Random::new(7);
    let [read, written] = rows.counts();
    let width = match rows {
        LayerNormRows::Tokens(_) => channels,
        LayerNormRows::Joined { .. } => channels / 4,
    };
    let mut row = |index: usize| {
        let mut row = random.values(width, 1.0);
        for value in &mut row {
            *value = match values {
                Values::Plain => *value,
                Values::LargeMean => 1000.0 + 4.0 * *value,
                Values::Constant => index as f32 - 30.3,
                Values::Large => *value * 30_000.0,
            };
        }
        row
    };
    let tokens = rounded((0..read).flat_map(&mut row).collect());
    let scale: Vec<f32> = random.values(channels, 0.5);
    let scale: Vec<f32> = scale.iter().map(|v| v + 1.0).collect();
    let bias = random.values(channels, 0.5);
    let arena = DeviceArena::new(stream.context());
    let from = input(&arena, &tokens, width)?;
    let to = output(&arena, written, channels)?;
    let weights = LayerNormWeights {
        scale: &scale,
        bias: &bias,
    };
    let norm = LayerNorm::new(kernels, &arena, rows, &weights, from, to.clone())?;
    norm.enqueue(stream)?;
    let (stage, tokens) = match rows {
        LayerNormRows::Tokens(rows) => (format!("layer_norm {rows}"), tokens),
        LayerNormRows::Joined { images, size } => {
            let [height, width_of_map] = size;
            let rows = joined(&tokens, size, width);
            (
                format!("merge_norm {images} x {height}x{width_of_map}"),
                rows,
            )
        }
    };
    let want = layer_norm(&tokens, &scale, &bias, f64::from(EPSILON));
    let stage = format!("{stage} of {channels} {values:?}");
    compare(stage, &to, &want, HALF, report)
}
