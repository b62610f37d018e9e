//! fp16 maps on the device of which a kernel reads or writes a slice.

use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::driver::{DeviceArena, DriverError};
use half::f16;

use crate::report::{Report, Tolerance};

/// First channel of a slice, and channels behind it.
const AROUND: [usize; 2] = [8, 16];

/// Rounds to fp16 numbers.
pub(super) fn rounded(mut values: Vec<f32>) -> Vec<f32> {
    for value in &mut values {
        *value = f16::from_f32(*value).to_f32();
    }
    values
}

/// `[rows, channels]` in a slice of a map that is NaN elsewhere.
pub(super) fn input(
    arena: &DeviceArena,
    values: &[f32],
    channels: usize,
) -> Result<MapSlice<u16>, DriverError> {
    let pitch = channels + AROUND[0] + AROUND[1];
    let mut bits = vec![f16::NAN.to_bits(); values.len() / channels * pitch];
    let rows = bits.chunks_exact_mut(pitch);
    for (row, values) in rows.zip(values.chunks_exact(channels)) {
        for (to, value) in row[AROUND[0]..].iter_mut().zip(values) {
            *to = f16::from_f32(*value).to_bits();
        }
    }
    Ok(MapSlice {
        data: arena.take_with("in", &bits)?,
        pitch,
        channel: AROUND[0],
    })
}

/// A slice of `channels` of a map of NaN.
pub(super) fn output(
    arena: &DeviceArena,
    rows: usize,
    channels: usize,
) -> Result<MapSlice<u16>, DriverError> {
    let pitch = channels + AROUND[0] + AROUND[1];
    let bits = vec![f16::NAN.to_bits(); rows * pitch];
    Ok(MapSlice {
        data: arena.take_with("out", &bits)?,
        pitch,
        channel: AROUND[0],
    })
}

/// Compares what a kernel wrote into the slice, and looks for writes beside it.
pub(super) fn compare(
    stage: String,
    map: &MapSlice<u16>,
    want: &[f32],
    tolerance: Tolerance,
    report: &mut Report,
) -> Result<(), DriverError> {
    let all = map.data.download()?;
    let slice = map.channel..map.pitch - AROUND[1];
    let mut got = Vec::with_capacity(want.len());
    let mut touched = 0;
    for row in all.chunks_exact(map.pitch) {
        let floats = row[slice.clone()].iter().map(|v| f16::from_bits(*v));
        got.extend(floats.map(f16::to_f32));
        let beside = row[..slice.start].iter().chain(&row[slice.end..]);
        touched += beside.filter(|v| **v != f16::NAN.to_bits()).count();
    }
    if touched > 0 {
        report.failure(&stage, format!("{touched} values written beside the slice"));
    }
    report.floats(stage, &got, want, tolerance);
    Ok(())
}
