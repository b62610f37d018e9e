//! Numbers, halves and specs for the tests of the head.

use bevfusion::config::ModelSpec;
use half::f16;

use crate::formula::unit;
use crate::specs::tiny;

/// Uniform in `low..high`.
pub(super) fn uniform(seed: u64, index: usize, [low, high]: [f64; 2]) -> f32 {
    (low + (high - low) * unit(seed, index as u64)) as f32
}

/// fp16 bits.
pub(super) fn halves(values: impl Iterator<Item = f32>) -> Vec<u16> {
    values.map(|v| f16::from_f32(v).to_bits()).collect()
}

/// Values of fp16 bits.
pub(super) fn widened(bits: &[u16]) -> Vec<f64> {
    bits.iter().map(|b| f16::from_bits(*b).to_f64()).collect()
}

/// Bits of floats, for exact comparison.
pub(super) fn bits(values: &[f32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(v.to_bits())).collect()
}

/// The tiny LiDAR model with the head's full width, on a map of this size.
pub(super) fn spec([rows, columns]: [usize; 2], proposals: usize) -> ModelSpec {
    let mut spec = tiny(false);
    let cell = spec.voxel.voxel_size[0] * spec.head.out_size_factor as f64;
    let half = [rows, columns].map(|cells| 0.5 * cell * cells as f64);
    spec.voxel.point_cloud_range = [-half[0], -half[1], -5.0, half[0], half[1], 3.0];
    spec.head.hidden_channels = 128;
    spec.head.num_heads = 8;
    spec.head.ffn_channels = 256;
    spec.head.prediction_channels = 64;
    spec.head.num_proposals = proposals;
    spec
}

/// `[rows, columns]` → `[columns, rows]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |c: usize| (0..rows).map(move |r| values[r * columns + c]);
    (0..columns).flat_map(column).collect()
}
