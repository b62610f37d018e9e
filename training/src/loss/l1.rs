//! Weighted L1 loss of the boxes.
//!
//! In: predictions, targets and weights of one shape. Out: `loss_weight` · Σ w·|prediction − target| /
//! (`avg_factor` + ε). The derivative at equality is zero. Source: mmdetection `L1Loss`.

use super::{AVERAGE_EPSILON, Loss, LossError, expect_len};

/// Loss and gradient with respect to the predictions.
///
/// # Errors
/// When the slices differ in length.
pub fn weighted_l1(
    predictions: &[f32],
    targets: &[f32],
    weights: &[f32],
    loss_weight: f64,
    avg_factor: f64,
) -> Result<Loss, LossError> {
    expect_len("box targets", targets.len(), predictions.len())?;
    expect_len("box weights", weights.len(), predictions.len())?;
    let scale = loss_weight / (avg_factor + AVERAGE_EPSILON);
    let mut sum = 0.0;
    let mut gradient = Vec::with_capacity(predictions.len());
    for ((prediction, target), weight) in predictions.iter().zip(targets).zip(weights) {
        let difference = f64::from(*prediction) - f64::from(*target);
        let weight = f64::from(*weight);
        sum += weight * difference.abs();
        let sign = if difference.abs() > 0.0 {
            difference.signum()
        } else {
            0.0
        };
        gradient.push((sign * weight * scale) as f32);
    }
    Ok(Loss {
        value: sum * scale,
        gradient,
    })
}

#[cfg(test)]
mod tests {
    use super::weighted_l1;

    #[test]
    fn differences_are_weighted_and_averaged() {
        let loss = weighted_l1(
            &[1.0, 2.0, 3.0],
            &[0.0, 4.0, 3.0],
            &[1.0, 0.5, 1.0],
            0.25,
            2.0,
        );
        let loss = loss.unwrap();
        assert!((loss.value - 0.25).abs() < 1e-6);
        for (got, want) in loss.gradient.iter().zip([0.125, -0.0625, 0.0]) {
            assert!((got - want).abs() < 1e-7);
        }
        assert!(weighted_l1(&[1.0], &[1.0, 2.0], &[1.0], 1.0, 1.0).is_err());
    }
}
