//! Depth softmax and the layout of the pooling, against double precision.

use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::depth_image::ViewFrame;
use bevfusion_kernels::cuda::depth_softmax::{DepthSoftmax, DepthSoftmaxInputs};
use bevfusion_kernels::cuda::view_shape::ViewShape;
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError, Stream};
use bytemuck::Zeroable;
use half::f16;

use super::super::random::Random;
use crate::report::{Report, Tolerance};

/// Values around the ones that are read.
const AROUND: usize = 8;

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let mut cases = vec![
        ([2, 4, 5, 33], 8),
        ([3, 33, 3, 129], 24),
        ([2, 7, 4, 300], 16),
        ([1, 1, 1, 1], 80),
    ];
    if !quick {
        cases.extend([([6, 32, 88, 118], 80), ([5, 48, 96, 129], 80)]);
    }
    for ([cameras, height, width, depths], channels) in cases {
        let shape = ViewShape {
            cameras,
            feature_size: [height, width],
            depths,
        };
        compare(stream, &shape, channels, report)?;
    }
    Ok(())
}

/// Settings of a frame on the device.
pub(super) fn frame(
    arena: &DeviceArena,
    active: u32,
    set: u32,
) -> Result<DeviceSlice<ViewFrame>, DriverError> {
    arena.take_with("frame", &[settings(active, set)])
}

pub(super) fn settings(active: u32, set: u32) -> ViewFrame {
    let mut frame = ViewFrame::zeroed();
    frame.active_cameras = active;
    frame.view_tables = set;
    frame
}

fn compare(
    stream: &Stream,
    shape: &ViewShape,
    channels: usize,
    report: &mut Report,
) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let pixels = shape.columns() * shape.feature_size[0];
    let [logit_pitch, context_pitch] = [shape.depths + AROUND, channels + 2 * AROUND];
    let mut random = Random::new(7);
    let logits = random.values(pixels * logit_pitch, 30.0);
    let values = random.values(pixels * context_pitch, 2.0);
    let values: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
    let inputs = DepthSoftmaxInputs {
        logits: MapSlice {
            data: arena.take_with("logits", &logits)?,
            pitch: logit_pitch,
            channel: 0,
        },
        context: MapSlice {
            data: arena.take_with("context", &values)?,
            pitch: context_pitch,
            channel: AROUND,
        },
        frame: frame(&arena, u32::MAX, 0)?,
    };
    let softmax = DepthSoftmax::new(context, &arena, shape, channels, &inputs)?;
    for active in [u32::MAX, 2] {
        inputs.frame.upload(&[settings(active, 0)])?;
        softmax.lifted().probability.fill_bytes(stream, 0xEE)?;
        softmax.lifted().context.fill_bytes(stream, 0xEE)?;
        softmax.enqueue(stream)?;
        stream.synchronize()?;
        let got = softmax.lifted().probability.download()?;
        let got: Vec<f32> = got
            .iter()
            .map(|bits| f16::from_bits(*bits).to_f32())
            .collect();
        let want = probabilities(shape, active, &logits, logit_pitch);
        let name = format!("gpu depth softmax {shape:?} cameras {active:x}");
        // Half a unit of fp16 below 1.
        report.floats(&name, &got, &want, Tolerance::Absolute(3e-4));
        report.floats(
            format!("{name} norm"),
            &got,
            &want,
            Tolerance::RelativeL2(5e-4),
        );
        let got: Vec<i64> = softmax
            .lifted()
            .context
            .download()?
            .iter()
            .map(|v| (*v).into())
            .collect();
        let want = transposed(shape, (active, channels), &values, context_pitch);
        report.integers(format!("{name} context"), &got, &want);
    }
    Ok(())
}

/// `[columns][D][rows]`.
fn probabilities(shape: &ViewShape, active: u32, logits: &[f32], pitch: usize) -> Vec<f32> {
    let mut out = vec![0.0; shape.probability_len()];
    for_pixels(shape, active, |pixel, column, row| {
        let own = &logits[pixel * pitch..][..shape.depths];
        let most = own.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = own.iter().map(|v| f64::from(v - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for (depth, power) in powers.iter().enumerate() {
            let line = column * shape.depths + depth;
            out[line * shape.padded_rows() + row] = (power / sum) as f32;
        }
    });
    out
}

/// `[columns][C][rows]`.
fn transposed(
    shape: &ViewShape,
    (active, channels): (u32, usize),
    values: &[u16],
    pitch: usize,
) -> Vec<i64> {
    let mut out = vec![0; shape.context_len(channels)];
    for_pixels(shape, active, |pixel, column, row| {
        let own = &values[pixel * pitch + AROUND..][..channels];
        for (channel, value) in own.iter().enumerate() {
            let line = column * channels + channel;
            out[line * shape.padded_rows() + row] = i64::from(*value);
        }
    });
    out
}

/// Calls `visit(pixel, column, row)` for the pixels of the active cameras.
fn for_pixels(shape: &ViewShape, active: u32, mut visit: impl FnMut(usize, usize, usize)) {
    let [height, width] = shape.feature_size;
    for column in 0..shape.columns() {
        let (camera, u) = (column / width, column % width);
        if active >> camera & 1 == 1 {
            for row in 0..height {
                visit((camera * height + row) * width + u, column, row);
            }
        }
    }
}
