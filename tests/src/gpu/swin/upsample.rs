//! Bilinear resizing.

use bevfusion_kernels::cuda::upsample::{Upsample, UpsampleShape};
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::upsample::upsample;

use super::super::random::Random;
use super::HALF;
use super::maps::{compare, input, output, rounded};
use crate::report::Report;

/// Sizes of input and output.
const CASES: [[[usize; 2]; 2]; 9] = [
    [[1, 1], [1, 1]],
    [[1, 1], [5, 3]],
    [[2, 3], [4, 6]],
    [[3, 2], [6, 4]],
    [[4, 6], [4, 6]],
    [[3, 5], [7, 8]],
    [[5, 3], [13, 17]],
    [[9, 8], [5, 3]],
    [[8, 22], [16, 44]],
];

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let count = if quick { 6 } else { CASES.len() };
    for [from, to] in &CASES[..count] {
        for channels in [8, 40, 256] {
            let shape = UpsampleShape {
                images: 2,
                input: *from,
                output: *to,
                channels,
            };
            one(stream, &shape, report)?;
        }
    }
    Ok(())
}

fn one(stream: &Stream, shape: &UpsampleShape, report: &mut Report) -> Result<(), DriverError> {
    let pixels = |[rows, columns]: [usize; 2]| shape.images * rows * columns;
    let channels = shape.channels;
    let map = rounded(Random::new(3).values(pixels(shape.input) * channels, 2.0));
    let arena = DeviceArena::new(stream.context());
    let from = input(&arena, &map, channels)?;
    let to = output(&arena, pixels(shape.output), channels)?;
    Upsample::new(stream.context(), shape, from, to.clone())?.enqueue(stream)?;
    let want = upsample(&map, shape.input, shape.output, channels);
    let ([h, w], [to_h, to_w]) = (shape.input, shape.output);
    let stage = format!("upsample {h}x{w} to {to_h}x{to_w} of {channels}");
    compare(stage, &to, &want, HALF, report)
}
