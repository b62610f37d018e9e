//! Gradients of a sparse convolution: the plain reference for training.
//!
//! In: the forward rulebook, the forward input `[input rows, in]`, the weights `[out, kernel volume, in]`
//! and the gradient of the output `[output rows, out]`. Out: the gradient of the input and of the
//! weights in the same layouts. The first is the convolution over the transposed rulebook; the second
//! sums outer products over output rows, ascending, in float64. Deterministic.

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use super::rulebook::Rulebook;
use super::sparse_conv::{Activation, Epilogue, sparse_conv};
use super::sparse_weights::{PreparedWeights, WeightShape};

/// A convolution without bias as it ran forward.
#[derive(Clone, Copy, Debug)]
pub struct ForwardPass<'a> {
    /// Its rulebook.
    pub rules: &'a Rulebook,
    /// Extents of the weights.
    pub shape: WeightShape,
    /// Weights `[out, kernel volume, in]`.
    pub weight: &'a [f32],
    /// Input `[input rows, in]`.
    pub features: &'a [f32],
}

/// Gradients of one convolution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseConvGradients {
    /// `[input rows, in]`.
    pub features: Vec<f32>,
    /// `[out, kernel volume, in]`.
    pub weight: Vec<f32>,
}

/// Overwrites `out` with the gradients for `gradient`, the gradient of the output.
///
/// # Panics
/// When the weights, rulebook, features and gradient do not belong together.
pub fn sparse_conv_backward(
    pass: &ForwardPass<'_>,
    gradient: &[f32],
    out: &mut SparseConvGradients,
) {
    assert_eq!(pass.weight.len(), pass.shape.len());
    assert_eq!(
        pass.features.len(),
        pass.rules.input_rows() * pass.shape.input
    );
    let mut transposed = Rulebook::default();
    transposed.build_transposed(pass.rules);
    let weights = PreparedWeights::transposed(pass.shape, pass.weight);
    let epilogue = Epilogue {
        residual: None,
        activation: Activation::Identity,
    };
    sparse_conv(
        &weights,
        &transposed,
        gradient,
        &epilogue,
        &mut out.features,
    );
    weight_gradient(pass, gradient, &mut out.weight);
}

fn weight_gradient(pass: &ForwardPass<'_>, gradient: &[f32], out: &mut Vec<f32>) {
    let WeightShape {
        output,
        kernel_volume,
        input,
    } = pass.shape;
    let mut by_offset = vec![Vec::new(); kernel_volume];
    by_offset
        .par_iter_mut()
        .enumerate()
        .for_each(|(offset, sums)| *sums = offset_gradient(pass, gradient, offset));
    out.clear();
    for channel in 0..output {
        for sums in &by_offset {
            let row: &[f64] = &sums[channel * input..][..input];
            out.extend(row.iter().map(|sum| *sum as f32));
        }
    }
}

/// `[out, in]` sums of one kernel offset.
fn offset_gradient(pass: &ForwardPass<'_>, gradient: &[f32], offset: usize) -> Vec<f64> {
    let WeightShape { output, input, .. } = pass.shape;
    let mut sums = vec![0.0; output * input];
    let rows = gradient.chunks_exact(output);
    for (row, seen) in rows.zip(pass.rules.column(offset)) {
        let Ok(seen) = usize::try_from(*seen) else {
            continue;
        };
        let features = &pass.features[seen * input..][..input];
        for (line, slope) in sums.chunks_exact_mut(input).zip(row) {
            let slope = f64::from(*slope);
            line.iter_mut()
                .zip(features)
                .for_each(|(sum, feature)| *sum += slope * f64::from(*feature));
        }
    }
    sums
}
