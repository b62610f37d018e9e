//! Sigmoid focal loss of the proposals' classes.
//!
//! In: logits [N, K] row-major, one label per row (K = background: an all-zero one-hot row) and one
//! weight per row. Out: the sum over rows and classes divided by `avg_factor`. Logarithms are taken of
//! logits, not of probabilities, so that large logits lose nothing. Source: mmdetection `FocalLoss`.

use super::{AVERAGE_EPSILON, Loss, LossError, expect_len, sigmoid, softplus};

/// Shape of the focal loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalConfig {
    /// Weight of positives; negatives have 1 − α.
    pub alpha: f64,
    /// Exponent that quietens easy examples.
    pub gamma: f64,
}

impl Default for FocalConfig {
    fn default() -> Self {
        Self {
            alpha: 0.25,
            gamma: 2.0,
        }
    }
}

/// Loss and gradient with respect to the logits.
///
/// # Errors
/// When sizes disagree or a label is larger than `num_classes`.
pub fn sigmoid_focal(
    logits: &[f32],
    labels: &[u32],
    weights: &[f32],
    num_classes: usize,
    config: FocalConfig,
    avg_factor: f64,
) -> Result<Loss, LossError> {
    expect_len("class logits", logits.len(), labels.len() * num_classes)?;
    expect_len("label weights", weights.len(), labels.len())?;
    if let Some(index) = labels.iter().position(|l| *l as usize > num_classes) {
        return Err(LossError::Label {
            index,
            label: labels[index],
            background: num_classes,
        });
    }
    let scale = 1.0 / (avg_factor + AVERAGE_EPSILON);
    let mut sum = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (at, logit) in logits.iter().enumerate() {
        let (row, class) = (at / num_classes, at % num_classes);
        let weight = f64::from(weights[row]);
        let (value, slope) = if labels[row] as usize == class {
            positive(f64::from(*logit), config)
        } else {
            negative(f64::from(*logit), config)
        };
        sum += value * weight;
        gradient.push((slope * weight * scale) as f32);
    }
    Ok(Loss {
        value: sum * scale,
        gradient,
    })
}

/// α (1 − p)^γ · −ln p and its derivative with respect to the logit.
fn positive(logit: f64, config: FocalConfig) -> (f64, f64) {
    let (p, surprise) = (sigmoid(logit), softplus(-logit));
    let rest = sigmoid(-logit);
    let weight = config.alpha * rest.powf(config.gamma);
    let slope = -weight * (config.gamma * p * surprise + rest);
    (weight * surprise, slope)
}

/// (1 − α) p^γ · −ln(1 − p) and its derivative with respect to the logit.
fn negative(logit: f64, config: FocalConfig) -> (f64, f64) {
    let (p, surprise) = (sigmoid(logit), softplus(logit));
    let weight = (1.0 - config.alpha) * p.powf(config.gamma);
    let slope = weight * (config.gamma * sigmoid(-logit) * surprise + p);
    (weight * surprise, slope)
}

#[cfg(test)]
mod tests {
    use super::{FocalConfig, sigmoid_focal};
    use crate::loss::assert_gradient;

    fn focal(logits: &[f32], labels: &[u32], weights: &[f32], classes: usize) -> super::Loss {
        sigmoid_focal(
            logits,
            labels,
            weights,
            classes,
            FocalConfig::default(),
            1.0,
        )
        .unwrap()
    }

    #[test]
    fn value_is_that_of_the_original() {
        let loss = focal(&[1.0, -2.0, 0.5, -0.5], &[0, 2], &[1.0, 1.0], 2);
        assert!((loss.value - 0.3408).abs() < 5e-5);
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let logits = [1.0, -2.0, 0.5, -0.5, 3.0, -4.0, 0.1, 0.0, 2.0];
        let (labels, weights) = ([0, 3, 2], [1.0, 0.5, 2.0]);
        let loss = focal(&logits, &labels, &weights, 3);
        assert_gradient(&logits, &loss.gradient, |logits| {
            focal(logits, &labels, &weights, 3).value
        });
    }

    #[test]
    fn large_logits_keep_value_and_slope() {
        let loss = focal(&[-300.0, 300.0], &[0], &[1.0], 2);
        assert!((loss.value - (0.25 + 0.75) * 300.0).abs() < 1e-4);
        assert!((loss.gradient[0] + 0.25).abs() < 1e-6);
        assert!((loss.gradient[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn labels_beyond_background_are_refused() {
        let config = FocalConfig::default();
        let error = sigmoid_focal(&[0.0; 2], &[3], &[1.0], 2, config, 1.0).unwrap_err();
        assert!(error.to_string().contains("label 3 at 0"));
    }
}
