//! Fourier features of voxel means.
//!
//! In: means `[n, F]` with the bounds of each channel. Out: `[n, 2·F·K]`; with
//! u = (f − min) / (max − min), not clamped, and φ[i·K + k] = π·uᵢ·2ᵏ, a row is cos φ then sin φ.
//! Reference: the voxel features of AWML's BEVFusion sparse encoder.

use std::f32::consts::PI;

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

/// Bounds and frequencies; `min` and `max` have one entry per channel.
#[derive(Clone, Copy, Debug)]
pub struct FourierParams<'a> {
    /// Lower bound of each channel.
    pub min: &'a [f32],
    /// Upper bound of each channel.
    pub max: &'a [f32],
    /// Frequencies per channel (K).
    pub num_frequencies: usize,
}

impl FourierParams<'_> {
    /// Values per voxel that come out.
    #[must_use]
    pub fn output_columns(&self) -> usize {
        2 * self.min.len() * self.num_frequencies
    }
}

/// Overwrites `out` with the features of `mean`.
pub fn fourier_features(params: &FourierParams<'_>, mean: &[f32], out: &mut Vec<f32>) {
    let (columns, wide) = (params.min.len(), params.output_columns());
    if wide == 0 {
        out.clear();
        return;
    }
    out.resize(mean.len() / columns * wide, 0.0);
    out.par_chunks_exact_mut(wide)
        .zip(mean.par_chunks_exact(columns))
        .for_each(|(row, values)| features_of(params, values, row));
}

fn features_of(params: &FourierParams<'_>, values: &[f32], row: &mut [f32]) {
    let (cosines, sines) = row.split_at_mut(row.len() / 2);
    let channels = cosines
        .chunks_exact_mut(params.num_frequencies)
        .zip(sines.chunks_exact_mut(params.num_frequencies));
    let bounds = params.min.iter().zip(params.max);
    for (((cosines, sines), value), (min, max)) in channels.zip(values).zip(bounds) {
        let mut phase = PI * ((value - min) / (max - min));
        for (cosine, sine) in cosines.iter_mut().zip(sines) {
            (*sine, *cosine) = phase.sin_cos();
            // Exact, so that the phase is rounded once whatever the frequency.
            phase *= 2.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FourierParams, fourier_features};

    #[test]
    fn cosines_come_before_sines_and_channels_before_frequencies() {
        let params = FourierParams {
            min: &[-1.0, 0.0],
            max: &[1.0, 4.0],
            num_frequencies: 3,
        };
        let mean = [-0.4_f32, 5.0, 1.0, 0.0];
        let mut out = Vec::new();
        fourier_features(&params, &mean, &mut out);
        assert_eq!(out.len(), 2 * params.output_columns());
        for (voxel, row) in out.chunks_exact(12).enumerate() {
            for channel in 0..2 {
                let (min, max) = ([-1.0, 0.0][channel], [1.0, 4.0][channel]);
                let u = (f64::from(mean[2 * voxel + channel]) - min) / (max - min);
                for k in 0..3 {
                    let phase = std::f64::consts::PI * u * f64::from(1 << k);
                    let (cosine, sine) = (row[3 * channel + k], row[6 + 3 * channel + k]);
                    assert!((f64::from(cosine) - phase.cos()).abs() < 2e-6);
                    assert!((f64::from(sine) - phase.sin()).abs() < 2e-6);
                }
            }
        }
    }
}
