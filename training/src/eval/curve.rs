//! Sampled curves: piecewise-linear interpolation and running means with NumPy's rules.

/// Recalls at which every curve is sampled: 0, 0.01, …, 1.
pub const RECALL_SAMPLES: usize = 101;

/// Recall of sample `index`, in the rounding of `numpy.linspace(0, 1, 101)`: thresholds such as 0.35
/// must fall on the same side of a plateau as there.
#[must_use]
pub fn recall_at(index: usize) -> f64 {
    if index + 1 == RECALL_SAMPLES {
        return 1.0;
    }
    index as f64 * 0.01
}

/// Value at `x` of the line through (`xs`, `ys`), `xs` not decreasing and not empty.
///
/// Below the first x it is `left`, above the last `right`. Where several points share an x, a query at
/// that x takes the last of them and a query just below runs to the first.
#[must_use]
pub fn interpolate(x: f64, xs: &[f64], ys: &[f64], left: f64, right: f64) -> f64 {
    let above = xs.partition_point(|v| *v <= x);
    if above == 0 {
        return left;
    }
    let (x0, y0) = (xs[above - 1], ys[above - 1]);
    if above == xs.len() {
        return if x > x0 { right } else { y0 };
    }
    let slope = (ys[above] - y0) / (xs[above] - x0);
    slope * (x - x0) + y0
}

/// Mean of all values so far, leaving NaN out; 0 before the first number, 1 everywhere when there is none.
#[must_use]
pub fn running_mean(values: &[f64]) -> Vec<f64> {
    if values.iter().all(|v| v.is_nan()) {
        return vec![1.0; values.len()];
    }
    let (mut sum, mut count) = (0.0, 0_u32);
    let next = |value: &f64| {
        if !value.is_nan() {
            sum += value;
            count += 1;
        }
        if count == 0 {
            0.0
        } else {
            sum / f64::from(count)
        }
    };
    values.iter().map(next).collect()
}

/// Mean of `values`, 0 when there are none.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Mean of the values that are numbers; NaN when there are none.
#[must_use]
pub fn mean_without_nan(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = values.into_iter().filter(|v| !v.is_nan());
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::{interpolate, mean_without_nan, recall_at, running_mean};

    #[test]
    fn plateaus_take_the_last_at_and_the_first_below() {
        let (xs, ys) = ([0.1, 0.5, 0.5, 0.5, 0.9], [1.0, 0.8, 0.6, 0.4, 0.2]);
        let at = |x: f64| interpolate(x, &xs, &ys, 7.0, 9.0);
        for (x, want) in [
            (0.0, 7.0),
            (0.1, 1.0),
            (0.3, 0.9),
            (0.5, 0.4),
            (0.7, 0.3),
            (0.9, 0.2),
        ] {
            assert!((at(x) - want).abs() < 1e-12, "{x}: {}", at(x));
        }
        assert!((at(0.91) - 9.0).abs() < 1e-12);
        assert!((at(0.5 - 1e-12) - 0.8).abs() < 1e-9);
    }

    #[test]
    fn recalls_are_rounded_as_in_numpy() {
        assert_eq!(
            recall_at(35).to_bits(),
            0.350_000_000_000_000_03_f64.to_bits()
        );
        assert_eq!(recall_at(100).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn nan_is_left_out_of_means() {
        let means = running_mean(&[f64::NAN, 2.0, f64::NAN, 4.0]);
        assert_eq!(means, [0.0, 2.0, 2.0, 3.0]);
        assert_eq!(running_mean(&[f64::NAN; 2]), [1.0, 1.0]);
        assert!((mean_without_nan([1.0, f64::NAN, 3.0]) - 2.0).abs() < 1e-12);
        assert!(mean_without_nan([f64::NAN]).is_nan());
    }
}
