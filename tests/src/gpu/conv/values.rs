//! Values in fp16.

use half::f16;

pub(super) fn rounded(values: &mut [f32]) {
    for value in values {
        *value = f16::from_f32(*value).to_f32();
    }
}

pub(super) fn half_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| f16::from_f32(*v).to_bits()).collect()
}

pub(super) fn floats(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|v| f16::from_bits(*v).to_f32()).collect()
}

/// `[rows, channels]` → `[rows, padded]`.
pub(super) fn padded(values: &[f32], channels: usize, pitch: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in values.chunks_exact(channels) {
        out.extend_from_slice(row);
        out.resize(out.len() + pitch - channels, 0.0);
    }
    out
}
