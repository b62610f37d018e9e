//! Gradient clipping by the norm over all parameters.
//!
//! In: the gradients of all parameters. Out: the same, scaled so that their joint L2 norm is at most
//! `max_norm`, and the norm before. Source: torch `clip_grad_norm_`.

/// Keeps the factor finite for vanishing gradients.
const NORM_EPSILON: f64 = 1e-6;

/// L2 norm over all gradients, summed in double precision in the order given.
#[must_use]
pub fn global_norm(gradients: &[&mut [f32]]) -> f64 {
    let squares = gradients.iter().flat_map(|g| g.iter());
    squares
        .map(|v| f64::from(*v) * f64::from(*v))
        .sum::<f64>()
        .sqrt()
}

/// Scales `gradients` by `max_norm` / (norm + 1e-6) when that is below 1; gives the norm before.
///
/// A norm that is not finite leaves the gradients alone: scaling would spread the NaN to every
/// parameter. The caller sees it in the returned value and skips the step.
pub fn clip_by_global_norm(gradients: &mut [&mut [f32]], max_norm: f64) -> f64 {
    let norm = global_norm(gradients);
    let factor = max_norm / (norm + NORM_EPSILON);
    if norm.is_finite() && factor < 1.0 {
        for value in gradients.iter_mut().flat_map(|g| g.iter_mut()) {
            *value *= factor as f32;
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::{clip_by_global_norm, global_norm};

    #[test]
    fn long_gradients_are_shortened_together() {
        let (mut a, mut b) = ([3.0_f32, 0.0], [4.0_f32]);
        let norm = clip_by_global_norm(&mut [&mut a, &mut b], 2.5);
        assert!((norm - 5.0).abs() < 1e-12);
        assert!((a[0] - 1.5).abs() < 1e-5 && (b[0] - 2.0).abs() < 1e-5);
        assert!(global_norm(&[&mut a, &mut b]) <= 2.5);
    }

    #[test]
    fn short_gradients_and_nan_are_left_alone() {
        let mut a = [0.3_f32, 0.4];
        assert!((clip_by_global_norm(&mut [&mut a], 1.0) - 0.5).abs() < 1e-7);
        assert_eq!(a.map(f32::to_bits), [0.3_f32, 0.4].map(f32::to_bits));
        let mut broken = [f32::NAN, 7.0];
        assert!(clip_by_global_norm(&mut [&mut broken], 1.0).is_nan());
        assert_eq!(broken[1].to_bits(), 7.0_f32.to_bits());
    }
}
