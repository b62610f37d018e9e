//! Window attention.

use bevfusion_kernels::cuda::window_attention::{
    WindowAttention, WindowAttentionKernels, WindowAttentionMaps, WindowAttentionShape,
    WindowAttentionWeights,
};
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::window_attention::window_attention;

use super::super::random::Random;
use super::HALF;
use super::maps::{compare, input, output, rounded};
use crate::report::Report;

/// An attention layer of random values.
struct Case {
    shape: WindowAttentionShape,
    /// Largest query and key.
    scale: f32,
    /// Largest bias by position.
    bias: f32,
}

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let kernels = WindowAttentionKernels::load(stream.context())?;
    let cases = if quick { quick_cases() } else { cases() };
    for case in cases {
        one(stream, &kernels, &case, report)?;
    }
    Ok(())
}

fn one(
    stream: &Stream,
    kernels: &WindowAttentionKernels,
    case: &Case,
    report: &mut Report,
) -> Result<(), DriverError> {
    let shape = &case.shape;
    let channels = shape.channels();
    let mut random = Random::new(31);
    let mut token = || {
        let mut token = random.values(3 * channels, case.scale);
        token.truncate(2 * channels);
        token.extend(random.values(channels, 1.0));
        token
    };
    let qkv = rounded((0..shape.tokens()).flat_map(|_| token()).collect());
    let padding = rounded(token());
    let side = 2 * shape.window - 1;
    let position_bias = random.values(side * side * shape.heads, case.bias);
    let arena = DeviceArena::new(stream.context());
    let maps = WindowAttentionMaps {
        qkv: input(&arena, &qkv, 3 * channels)?,
        out: output(&arena, shape.tokens(), channels)?,
    };
    let out = maps.out.clone();
    let weights = WindowAttentionWeights {
        padding: &padding,
        position_bias: &position_bias,
    };
    let layer = WindowAttention::new(kernels, &arena, shape, &weights, maps)?;
    layer.enqueue(stream)?;
    let want = window_attention(shape, &qkv, &padding, &position_bias);
    compare(case.name(), &out, &want, HALF, report)
}

impl Case {
    const fn new(
        images: usize,
        size: [usize; 2],
        heads: usize,
        [window, depth]: [usize; 2],
        shift: usize,
    ) -> Self {
        Self {
            shape: WindowAttentionShape {
                images,
                size,
                heads,
                depth,
                window,
                shift,
            },
            scale: 1.0,
            bias: 1.0,
        }
    }

    fn name(&self) -> String {
        let s = &self.shape;
        let ([height, width], heads, depth) = (s.size, s.heads, s.depth);
        format!(
            "window_attention {} x {height}x{width} {heads}x{depth} w{} s{} values {}",
            s.images, s.window, s.shift, self.scale
        )
    }
}

const FAST: [usize; 2] = [7, 32];

fn quick_cases() -> Vec<Case> {
    vec![
        Case::new(2, [5, 9], 3, FAST, 3),
        Case::new(1, [8, 15], 2, FAST, 0),
        Case::new(1, [5, 9], 2, [7, 12], 3),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shift in [0, 3] {
        cases.extend([
            Case::new(1, [7, 7], 1, FAST, shift),
            Case::new(1, [1, 1], 1, FAST, shift),
            Case::new(2, [14, 21], 3, FAST, shift),
            Case::new(3, [16, 44], 12, FAST, shift),
            Case::new(2, [8, 22], 24, FAST, shift),
            Case::new(3, [5, 9], 6, FAST, shift),
            Case::new(1, [64, 176], 3, FAST, shift),
            Case::new(2, [8, 22], 4, [7, 12], shift),
            Case::new(1, [16, 9], 4, [7, 24], shift),
            Case::new(1, [17, 9], 2, [8, 64], shift),
            Case::new(2, [5, 9], 3, [4, 8], shift),
        ]);
        // One key has nearly all the weight; much of the weight comes from the bias, which is rounded to fp16.
        for [scale, bias] in [[6.0, 1.0], [4.0, 4.0], [0.0, 4.0]] {
            let case = Case::new(2, [10, 16], 3, FAST, shift);
            cases.push(Case {
                scale,
                bias,
                ..case
            });
        }
    }
    cases
}
