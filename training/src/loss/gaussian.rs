//! Gaussian focal loss of the dense heatmap.
//!
//! In: logits and targets in 0..=1 of one shape; exact ones are object centres, values below one soften
//! the penalty around them. Out: the sum over all cells divided by `avg_factor`. Source: mmdetection
//! `GaussianFocalLoss` (α 2, γ 4) on `clip_sigmoid`.

use super::{AVERAGE_EPSILON, Loss, LossError, expect_len, sigmoid};

/// Probabilities are kept this far from 0 and 1; beyond it the gradient is zero.
const CLIP: f64 = 1e-4;
/// Inside the logarithms.
const LOG_EPSILON: f64 = 1e-12;

/// Loss and gradient with respect to the logits.
///
/// # Errors
/// When the two slices differ in length.
pub fn gaussian_focal(logits: &[f32], target: &[f32], avg_factor: f64) -> Result<Loss, LossError> {
    expect_len("heatmap target", target.len(), logits.len())?;
    let scale = 1.0 / (avg_factor + AVERAGE_EPSILON);
    let mut sum = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (logit, target) in logits.iter().zip(target) {
        let (value, slope) = cell(f64::from(*logit), f64::from(*target));
        sum += value;
        gradient.push((slope * scale) as f32);
    }
    Ok(Loss {
        value: sum * scale,
        gradient,
    })
}

/// Loss of one cell and its derivative with respect to the logit.
fn cell(logit: f64, target: f64) -> (f64, f64) {
    let raw = sigmoid(logit);
    let p = raw.clamp(CLIP, 1.0 - CLIP);
    let (value, slope) = if target >= 1.0 {
        let (rest, log) = (1.0 - p, (p + LOG_EPSILON).ln());
        let slope = 2.0 * rest * log - rest * rest / (p + LOG_EPSILON);
        (-log * rest * rest, slope)
    } else {
        let weight = (1.0 - target).powi(4);
        let log = (1.0 - p + LOG_EPSILON).ln();
        let slope = p * p / (1.0 - p + LOG_EPSILON) - 2.0 * p * log;
        (-log * p * p * weight, slope * weight)
    };
    let clipped = !(CLIP..=1.0 - CLIP).contains(&raw);
    let through_sigmoid = if clipped { 0.0 } else { raw * (1.0 - raw) };
    (value, slope * through_sigmoid)
}

#[cfg(test)]
mod tests {
    use super::gaussian_focal;
    use crate::loss::assert_gradient;

    #[test]
    fn value_is_that_of_the_original() {
        let logits = [0.9_f32, 0.3, 0.6, 0.05].map(|p| (p / (1.0 - p)).ln());
        let loss = gaussian_focal(&logits, &[1.0, 0.5, 0.0, 0.2], 1.0).unwrap();
        assert!((loss.value - 0.3330).abs() < 5e-5);
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let logits = [-3.0, -0.4, 0.0, 1.2, 2.5, 0.7];
        let target = [1.0, 0.3, 0.0, 1.0, 0.9, 0.0];
        let loss = gaussian_focal(&logits, &target, 2.0).unwrap();
        assert_gradient(&logits, &loss.gradient, |logits| {
            gaussian_focal(logits, &target, 2.0).unwrap().value
        });
    }

    #[test]
    fn clipped_probabilities_are_finite_and_pull_no_more() {
        let loss = gaussian_focal(&[-40.0, 40.0, -90.0], &[1.0, 0.0, 0.0], 1.0).unwrap();
        assert!(loss.value.is_finite());
        assert!(loss.gradient.iter().all(|g| g.abs() <= 0.0));
        assert!(gaussian_focal(&[0.0; 2], &[0.0; 3], 1.0).is_err());
    }
}
