//! The building blocks of the sparse encoder: a convolution with its batch norm folded in, and the
//! residual block of two such convolutions.
//!
//! Weights come under their state-dict names, sparse ones as `[out, kx, ky, kz, in]`. Features are
//! `[rows, channels]` in the canonical order of their sites.

use bevfusion_kernels::reference::rulebook::Rulebook;
use bevfusion_kernels::reference::sparse_conv::{Activation, Epilogue, sparse_conv};
use bevfusion_kernels::reference::sparse_weights::{PreparedWeights, WeightShape};

use crate::weights::{MissingWeight, Weights};

/// Of every batch norm in the sparse encoder.
const BATCH_NORM_EPS: f64 = 1e-3;

/// Channels and kernel of a sparse convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: [usize; 3],
}

/// A sparse convolution, batch norm and ReLU.
#[derive(Clone, Debug)]
pub(super) struct ConvNormRelu {
    weights: PreparedWeights,
}

impl ConvNormRelu {
    /// As [`FoldedConv::new`].
    pub(super) fn new(
        weights: &Weights,
        conv: &str,
        norm: &str,
        shape: ConvShape,
    ) -> Result<Self, MissingWeight> {
        let folded = FoldedConv::new(weights, conv, norm, shape)?;
        let prepared = WeightShape {
            output: shape.output,
            kernel_volume: shape.kernel.iter().product(),
            input: shape.input,
        };
        let bias: Vec<f64> = folded.bias.iter().map(|b| f64::from(*b)).collect();
        let scale = vec![1.0; shape.output];
        Ok(Self {
            weights: PreparedWeights::folded(prepared, &folded.weight, &scale, &bias),
        })
    }

    /// Overwrites `out` with ReLU(conv(features) + residual).
    pub(super) fn run(
        &self,
        rules: &Rulebook,
        features: &[f32],
        residual: Option<&[f32]>,
        out: &mut Vec<f32>,
    ) {
        let epilogue = Epilogue {
            residual,
            activation: Activation::Relu,
        };
        sparse_conv(&self.weights, rules, features, &epilogue, out);
    }
}

/// Weights and bias of a convolution with its batch norm folded.
#[derive(Clone, Debug)]
pub(crate) struct FoldedConv {
    /// Channels and kernel.
    pub(crate) shape: ConvShape,
    /// `[out, kx, ky, kz, in]`.
    pub(crate) weight: Vec<f32>,
    /// `[out]`.
    pub(crate) bias: Vec<f32>,
}

impl FoldedConv {
    /// Reads `conv` + `.weight` and the batch norm `norm`; folds in double precision, rounds once.
    pub(crate) fn new(
        weights: &Weights,
        conv: &str,
        norm: &str,
        shape: ConvShape,
    ) -> Result<Self, MissingWeight> {
        let [x, y, z] = shape.kernel;
        let extents = [shape.output, x, y, z, shape.input];
        let weight = weights.f32(&format!("{conv}.weight"), &extents)?;
        let (scale, bias) = batch_norm(weights, norm, shape.output)?;
        let per_output = x * y * z * shape.input;
        let scaled = weight.iter().enumerate();
        Ok(Self {
            shape,
            weight: scaled
                .map(|(i, w)| (f64::from(*w) * scale[i / per_output.max(1)]) as f32)
                .collect(),
            bias: bias.iter().map(|b| *b as f32).collect(),
        })
    }
}

/// Scale and shift per channel that the batch norm `name` amounts to.
fn batch_norm(
    weights: &Weights,
    name: &str,
    channels: usize,
) -> Result<(Vec<f64>, Vec<f64>), MissingWeight> {
    let read = |field: &str| weights.f32(&format!("{name}.{field}"), &[channels]);
    let (weight, bias) = (read("weight")?, read("bias")?);
    let (mean, variance) = (read("running_mean")?, read("running_var")?);
    let scale: Vec<f64> = weight
        .iter()
        .zip(variance)
        .map(|(w, v)| f64::from(*w) / (f64::from(*v) + BATCH_NORM_EPS).sqrt())
        .collect();
    let shift = bias
        .iter()
        .zip(mean)
        .zip(&scale)
        .map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s)
        .collect();
    Ok((scale, shift))
}

/// Two 3×3×3 submanifold convolutions around which the input is added.
#[derive(Clone, Debug)]
pub(super) struct BasicBlock {
    first: ConvNormRelu,
    second: ConvNormRelu,
}

impl BasicBlock {
    /// Reads `name.conv1`, `name.bn1`, `name.conv2`, `name.bn2`.
    pub(super) fn new(
        weights: &Weights,
        name: &str,
        channels: usize,
    ) -> Result<Self, MissingWeight> {
        let shape = ConvShape {
            input: channels,
            output: channels,
            kernel: [3; 3],
        };
        let conv = |index: u8| {
            let (conv, norm) = (format!("{name}.conv{index}"), format!("{name}.bn{index}"));
            ConvNormRelu::new(weights, &conv, &norm, shape)
        };
        Ok(Self {
            first: conv(1)?,
            second: conv(2)?,
        })
    }

    /// Replaces `features`; `hidden` and `out` are working memory.
    pub(super) fn run(
        &self,
        rules: &Rulebook,
        features: &mut Vec<f32>,
        hidden: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) {
        self.first.run(rules, features, None, hidden);
        self.second.run(rules, hidden, Some(features), out);
        std::mem::swap(features, out);
    }
}
