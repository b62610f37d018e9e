//! The fused MLP of a block.

use bevfusion_kernels::cuda::layer_norm::{EPSILON, LayerNormWeights};
use bevfusion_kernels::cuda::swin_mlp::{SwinMlp, SwinMlpKernels, SwinMlpWeights};
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::swin_mlp::{Mlp, swin_mlp};

use super::super::random::Random;
use super::HALF;
use super::maps::{compare, input, output, rounded};
use crate::report::Report;

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let kernels = SwinMlpKernels::load(stream.context())?;
    // Rows of a block are 256 and 128.
    let counts: &[usize] = if quick {
        &[37]
    } else {
        &[1, 37, 128, 300, 1000]
    };
    for channels in [96, 192] {
        for rows in counts {
            for in_place in [false, true] {
                one(stream, &kernels, [*rows, channels], in_place, report)?;
            }
        }
    }
    Ok(())
}

fn one(
    stream: &Stream,
    kernels: &SwinMlpKernels,
    [rows, channels]: [usize; 2],
    in_place: bool,
    report: &mut Report,
) -> Result<(), DriverError> {
    let mut random = Random::new(11);
    let mut values = |len: usize, scale: f32| random.values(len, scale);
    let tokens: Vec<f32> = values(rows * channels, 2.0);
    let tokens = rounded(tokens.iter().map(|v| v + 0.5).collect());
    let scale: Vec<f32> = values(channels, 0.5).iter().map(|v| v + 1.0).collect();
    let [bias, out_bias] = [0.5, 1.0].map(|scale| values(channels, scale));
    let hidden_bias = values(4 * channels, 1.0);
    let hidden = values(4 * channels * channels, 0.15);
    let out = rounded(values(4 * channels * channels, 0.08));
    let arena = DeviceArena::new(stream.context());
    let from = input(&arena, &tokens, channels)?;
    let to = if in_place {
        from.clone()
    } else {
        output(&arena, rows, channels)?
    };
    let weights = SwinMlpWeights {
        norm: LayerNormWeights {
            scale: &scale,
            bias: &bias,
        },
        hidden: &hidden,
        hidden_bias: &hidden_bias,
        out: &out,
        out_bias: &out_bias,
    };
    SwinMlp::new(kernels, &arena, rows, &weights, from, to.clone())?.enqueue(stream)?;
    let twin = Mlp {
        norm: [&scale, &bias],
        first: [&hidden, &hidden_bias],
        second: [&out, &out_bias],
    };
    let want = swin_mlp(&tokens, &twin, f64::from(EPSILON));
    let place = if in_place { " in place" } else { "" };
    let stage = format!("swin_mlp {rows} of {channels}{place}");
    compare(stage, &to, &want, HALF, report)
}
