//! Layers that are more than one op: convolutions with a folded batch norm, linear layers, layer norms.
//!
//! Weights keep their state-dict names and layouts. A batch norm is folded in float64 and the result
//! rounded once, so that the folded layer is at most a rounding away from the two it replaces.

use crate::graph::{GraphBuilder, GraphError, ValueId};
use crate::weights::Weights;

/// eps of every LayerNorm.
const LAYER_NORM_EPS: f32 = 1e-5;

/// A builder with the weights at hand.
pub struct Layers<'w> {
    /// The graph under construction.
    pub graph: GraphBuilder,
    weights: &'w Weights,
}

/// A batch norm that follows a layer.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Prefix of its four tensors.
    pub name: &'a str,
    /// Added to the variance.
    pub eps: f64,
}

/// A 2D convolution, its batch norm and its ReLU. Input channels are those of the map it gets.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// Prefix of `weight` and `bias`.
    pub name: &'a str,
    /// Whether it has a bias of its own.
    pub bias: bool,
    /// The norm to fold.
    pub norm: Option<Norm<'a>>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Output channels.
    pub out: usize,
    /// Kernel edge.
    pub kernel: usize,
    /// Stride along rows and columns.
    pub stride: usize,
    /// Padding on every side.
    pub padding: usize,
}

/// A weight matrix `[out, in]` (any trailing axes folded into `in`) and bias in float64.
pub(super) struct Affine {
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

impl<'w> Layers<'w> {
    /// Starts a graph.
    #[must_use]
    pub fn new(name: &str, description: &str, weights: &'w Weights) -> Self {
        Self {
            graph: GraphBuilder::new(name, description),
            weights,
        }
    }

    /// The float32 values of a weight of exactly this shape.
    ///
    /// # Errors
    /// When it is absent or has another shape.
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<&'w [f32], GraphError> {
        Ok(self.weights.f32(name, shape)?)
    }

    /// A weight as a constant of the graph.
    ///
    /// # Errors
    /// When it is absent or has another shape.
    pub fn stored(&mut self, name: &str, shape: &[usize]) -> Result<ValueId, GraphError> {
        let values = self.weight(name, shape)?;
        self.graph.constant(shape, values)
    }

    /// Convolution, folded norm, ReLU.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn conv(&mut self, x: ValueId, conv: &Conv<'_>) -> Result<ValueId, GraphError> {
        let shape = [conv.out, self.channels(x)?, conv.kernel, conv.kernel];
        let per_channel: usize = shape[1..].iter().product();
        let affine = self.affine(conv, &shape, &|i| i / per_channel)?;
        let weight = self.graph.constant(&shape, rounded(&affine.weight))?;
        let bias = if conv.bias || conv.norm.is_some() {
            Some(self.graph.constant(&[conv.out], rounded(&affine.bias))?)
        } else {
            None
        };
        let y = (self.graph).conv2d(x, weight, bias, conv.stride, conv.padding)?;
        if conv.relu { self.graph.relu(y) } else { Ok(y) }
    }

    /// Transposed convolution (weight `[in, out, k, k]`, stride k), folded norm, ReLU.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn deconv(&mut self, x: ValueId, conv: &Conv<'_>) -> Result<ValueId, GraphError> {
        let shape = [self.channels(x)?, conv.out, conv.kernel, conv.kernel];
        let area = conv.kernel * conv.kernel;
        let affine = self.affine(conv, &shape, &|i| i / area % conv.out)?;
        let weight = self.graph.constant(&shape, rounded(&affine.weight))?;
        let bias = self.graph.constant(&[conv.out], rounded(&affine.bias))?;
        let y = (self.graph).conv_transpose2d(x, weight, Some(bias), conv.stride)?;
        if conv.relu { self.graph.relu(y) } else { Ok(y) }
    }

    /// x · Wᵀ + b over the last axis, with W `[out, in]` and, if it has one, b `[out]`.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn linear(
        &mut self,
        x: ValueId,
        name: &str,
        out: usize,
        bias: bool,
    ) -> Result<ValueId, GraphError> {
        let features = self.features(x)?;
        let weight = self.weight(&format!("{name}.weight"), &[out, features])?;
        let bias = match bias {
            true => Some(self.weight(&format!("{name}.bias"), &[out])?),
            false => None,
        };
        self.linear_of(x, weight, bias)
    }

    /// [`linear`](Self::linear) with given values.
    ///
    /// # Errors
    /// When they do not fit x.
    pub(super) fn linear_of(
        &mut self,
        x: ValueId,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<ValueId, GraphError> {
        let features = self.features(x)?;
        let out = weight.len() / features;
        let transposed = transposed(weight, out, features);
        let weight = self.graph.constant(&[features, out], transposed)?;
        let y = self.graph.matmul(x, weight)?;
        let Some(bias) = bias else { return Ok(y) };
        let bias = self.graph.constant(&[out], bias)?;
        self.graph.add(y, bias)
    }

    /// LayerNorm over the last axis.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn layer_norm(&mut self, x: ValueId, name: &str) -> Result<ValueId, GraphError> {
        let features = [self.features(x)?];
        let scale = self.stored(&format!("{name}.weight"), &features)?;
        let bias = self.stored(&format!("{name}.bias"), &features)?;
        self.graph.layer_norm(x, scale, bias, LAYER_NORM_EPS)
    }

    /// [`layer_norm`](Self::layer_norm) with given values.
    ///
    /// # Errors
    /// When they do not fit x.
    pub(super) fn layer_norm_of(
        &mut self,
        x: ValueId,
        scale: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<ValueId, GraphError> {
        let scale = self.graph.constant(&[scale.len()], scale)?;
        let bias = self.graph.constant(&[bias.len()], bias)?;
        self.graph.layer_norm(x, scale, bias, LAYER_NORM_EPS)
    }

    /// Weight and bias of a layer with its norm folded. `channel_of` says which output channel a flat
    /// index of the weight belongs to; layers without bias get zeros.
    pub(super) fn affine(
        &self,
        layer: &Conv<'_>,
        shape: &[usize],
        channel_of: &dyn Fn(usize) -> usize,
    ) -> Result<Affine, GraphError> {
        let weight = self.weight(&format!("{}.weight", layer.name), shape)?;
        let out = layer.out;
        let bias: Vec<f64> = if layer.bias {
            widened(self.weight(&format!("{}.bias", layer.name), &[out])?)
        } else {
            vec![0.0; out]
        };
        let Some(norm) = layer.norm else {
            return Ok(Affine {
                weight: widened(weight),
                bias,
            });
        };
        let of = |part: &str| self.weight(&format!("{}.{part}", norm.name), &[out]);
        let (gamma, beta) = (of("weight")?, of("bias")?);
        let (mean, variance) = (of("running_mean")?, of("running_var")?);
        let scale: Vec<f64> = gamma
            .iter()
            .zip(variance)
            .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + norm.eps).sqrt())
            .collect();
        let folded = weight.iter().enumerate();
        Ok(Affine {
            weight: folded
                .map(|(i, w)| f64::from(*w) * scale[channel_of(i)])
                .collect(),
            bias: (0..out)
                .map(|c| f64::from(beta[c]) + (bias[c] - f64::from(mean[c])) * scale[c])
                .collect(),
        })
    }

    fn channels(&self, x: ValueId) -> Result<usize, GraphError> {
        match self.graph.shape(x) {
            [_, channels, _, _] => Ok(*channels),
            other => Err(misfit("convolution", other, "expected [N, C, H, W]")),
        }
    }

    fn features(&self, x: ValueId) -> Result<usize, GraphError> {
        match self.graph.shape(x) {
            [.., features] => Ok(*features),
            [] => Err(misfit("linear layer", &[], "expected at least one axis")),
        }
    }
}

fn misfit(op: &str, found: &[usize], problem: &str) -> GraphError {
    GraphError::Shape {
        op: op.into(),
        inputs: vec![found.to_vec()],
        problem: problem.into(),
    }
}

/// `[rows, columns]` → `[columns, rows]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

pub(super) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

pub(super) fn rounded(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}
