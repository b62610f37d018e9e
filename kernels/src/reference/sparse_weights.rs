//! Weights of a sparse convolution, folded and laid out once for the inner loop.
//!
//! In: `[out, kx, ky, kz, in]` float32 as checkpoints hold them, with the scale and shift that a batch
//! norm leaves per output channel. Out: panels `[kernel volume][⌈out / LANES⌉][in][LANES]`, padded with
//! zeros: one panel is what a block of output rows reads from start to end.

/// Output channels in a register block: two AVX registers of float32.
pub(crate) const LANES: usize = 16;

/// Extents of a sparse convolution's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightShape {
    /// Output channels, at least 1.
    pub output: usize,
    /// Number of kernel offsets (kx·ky·kz).
    pub kernel_volume: usize,
    /// Input channels, at least 1.
    pub input: usize,
}

impl WeightShape {
    /// Number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.output * self.kernel_volume * self.input
    }

    /// Whether there is no weight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Weights and bias, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedWeights {
    shape: WeightShape,
    panels: Vec<[f32; LANES]>,
    bias: Vec<f32>,
}

impl PreparedWeights {
    /// From weights `[out, kernel volume, in]`, multiplied by `scale[out]`, and a bias `[out]`. Folded in
    /// float64 and rounded once.
    #[must_use]
    pub fn folded(shape: WeightShape, weight: &[f32], scale: &[f64], bias: &[f64]) -> Self {
        let value = |output: usize, offset: usize, input: usize| {
            let index = (output * shape.kernel_volume + offset) * shape.input + input;
            (f64::from(weight[index]) * scale[output]) as f32
        };
        Self::from_values(shape, value, bias.iter().map(|b| *b as f32).collect())
    }

    /// From weights `[out, kernel volume, in]` as they are, without a bias.
    #[must_use]
    pub fn plain(shape: WeightShape, weight: &[f32]) -> Self {
        let value = |output: usize, offset: usize, input: usize| {
            weight[(output * shape.kernel_volume + offset) * shape.input + input]
        };
        Self::from_values(shape, value, vec![0.0; shape.output])
    }

    /// The same weights for the transposed convolution, which carries gradients from the outputs
    /// back to the inputs. `shape` and `weight` are those of the forward convolution.
    #[must_use]
    pub fn transposed(shape: WeightShape, weight: &[f32]) -> Self {
        let turned = WeightShape {
            output: shape.input,
            input: shape.output,
            ..shape
        };
        let value = |output: usize, offset: usize, input: usize| {
            weight[(input * shape.kernel_volume + offset) * shape.input + output]
        };
        Self::from_values(turned, value, vec![0.0; shape.input])
    }

    fn from_values(
        shape: WeightShape,
        value: impl Fn(usize, usize, usize) -> f32,
        bias: Vec<f32>,
    ) -> Self {
        let lane = |output: usize, offset: usize, input: usize| {
            if output < shape.output {
                value(output, offset, input)
            } else {
                0.0
            }
        };
        let blocks = shape.output.div_ceil(LANES);
        let mut panels = Vec::with_capacity(shape.kernel_volume * blocks * shape.input);
        for offset in 0..shape.kernel_volume {
            for first in (0..shape.output).step_by(LANES) {
                let lanes = |input| std::array::from_fn(|i| lane(first + i, offset, input));
                panels.extend((0..shape.input).map(lanes));
            }
        }
        Self {
            shape,
            panels,
            bias,
        }
    }

    /// Extents.
    #[must_use]
    pub fn shape(&self) -> WeightShape {
        self.shape
    }

    /// Bias per output channel.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The panels `[in][LANES]` of one kernel offset, one for each block of output channels.
    pub(crate) fn panels(&self, offset: usize) -> impl Iterator<Item = &[[f32; LANES]]> {
        let of_offset = self.shape.output.div_ceil(LANES) * self.shape.input;
        self.panels[offset * of_offset..][..of_offset].chunks_exact(self.shape.input)
    }
}
