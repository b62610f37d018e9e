//! Losses of the detection head, each with its analytic gradient.
//!
//! In: raw network outputs and targets as float32 slices. Out: the value (float64, summed in index
//! order) and d value / d input (float32, the input's layout). Every average is a sum divided by
//! `avg_factor` + [`AVERAGE_EPSILON`], as mmdetection's weighted reduction does.

mod focal;
mod gaussian;
mod head;
mod l1;

pub use focal::{FocalConfig, sigmoid_focal};
pub use gaussian::gaussian_focal;
pub use head::{HeadLoss, HeadLossConfig, HeadOutputs, HeadShape, head_loss};
pub use l1::weighted_l1;

/// float32 machine epsilon, which mmdetection adds to every average factor.
pub const AVERAGE_EPSILON: f64 = f32::EPSILON as f64;

/// A loss and its gradient with respect to the network's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// d value / d output.
    pub gradient: Vec<f32>,
}

/// Why a loss cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// An input has the wrong number of values.
    #[error(
        "{what}: {found} values, expected {expected}; check the head's shape and the batch size"
    )]
    Shape {
        /// Which input.
        what: &'static str,
        /// Values expected.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A label is neither a class nor background.
    #[error("label {label} at {index}, expected 0..={background} ({background} is background)")]
    Label {
        /// Index of the label.
        index: usize,
        /// The label.
        label: u32,
        /// The background label, which is the number of classes.
        background: usize,
    },
}

/// Refuses `found` values where `expected` are needed.
fn expect_len(what: &'static str, found: usize, expected: usize) -> Result<(), LossError> {
    if found == expected {
        return Ok(());
    }
    Err(LossError::Shape {
        what,
        expected,
        found,
    })
}

/// ln(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
fn assert_gradient(inputs: &[f32], gradient: &[f32], value: impl Fn(&[f32]) -> f64) {
    let step = 1.0_f32 / 256.0;
    for (at, analytic) in gradient.iter().enumerate() {
        let moved = |by: f32| {
            let mut inputs = inputs.to_vec();
            inputs[at] += by;
            value(&inputs)
        };
        let numeric = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let error = (numeric - f64::from(*analytic)).abs();
        assert!(error < 2e-4, "{at}: analytic {analytic}, numeric {numeric}");
    }
}
