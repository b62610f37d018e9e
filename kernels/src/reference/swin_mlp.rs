//! The MLP half of a Swin block in double precision: x + W₂ gelu(W₁ LayerNorm(x) + b₁) + b₂.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::layer_norm::layer_norm;

/// Weights of the block: C channels, any number of hidden ones.
#[derive(Clone, Copy, Debug)]
pub struct Mlp<'a> {
    /// Scale and bias of the LayerNorm, `[C]` each.
    pub norm: [&'a [f32]; 2],
    /// Weight `[hidden, C]` and bias `[hidden]` of the first layer.
    pub first: [&'a [f32]; 2],
    /// Weight `[C, hidden]` and bias `[C]` of the second layer.
    pub second: [&'a [f32]; 2],
}

/// Result for each row of `rows` `[rows, C]`; `epsilon` is added to the variance.
#[must_use]
pub fn swin_mlp(rows: &[f32], mlp: &Mlp<'_>, epsilon: f64) -> Vec<f32> {
    let [scale, bias] = mlp.norm;
    let normed = layer_norm(rows, scale, bias, epsilon);
    let channels = scale.len().max(1);
    let pairs = rows
        .chunks_exact(channels)
        .zip(normed.chunks_exact(channels));
    pairs
        .flat_map(|(row, normed)| {
            let normed: Vec<f64> = normed.iter().map(|v| f64::from(*v)).collect();
            let hidden: Vec<f64> = linear(&normed, mlp.first).map(gelu).collect();
            let out: Vec<f64> = linear(&hidden, mlp.second).collect();
            row.iter()
                .zip(out)
                .map(|(x, y)| (f64::from(*x) + y) as f32)
                .collect::<Vec<f32>>()
        })
        .collect()
}

fn linear(x: &[f64], [weight, bias]: [&[f32]; 2]) -> impl Iterator<Item = f64> {
    let columns = weight.chunks_exact(x.len().max(1)).zip(bias);
    columns.map(move |(weights, bias)| {
        let products = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
        products.sum::<f64>() + f64::from(*bias)
    })
}

/// x · Φ(x), Φ the distribution function of the normal distribution.
fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// The error function: its series, which at 6 and beyond is 1 to the last digit.
fn erf(x: f64) -> f64 {
    if x.abs() >= 6.0 {
        return x.signum();
    }
    // erf x = 2 / √π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1 · 3 · … · (2n + 1)): all terms have one sign.
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::{Mlp, erf, swin_mlp};

    #[test]
    fn the_error_function_is_right() {
        for (x, want) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (-1.0, -0.842_700_792_949_714_9),
            (3.0, 0.999_977_909_503_001_4),
            (7.0, 1.0),
        ] {
            assert!((erf(x) - want).abs() < 1e-14, "{x}");
        }
    }

    #[test]
    fn the_residual_stays() {
        let mlp = Mlp {
            norm: [&[1.0; 2], &[0.0; 2]],
            first: [&[1.0, 0.0], &[0.0]],
            second: [&[0.0, 2.0], &[0.5, 0.0]],
        };
        let out = swin_mlp(&[3.0, 1.0], &mlp, 0.0);
        // Normalised 1 and −1; gelu(1) = 0.8413.
        assert!((out[0] - 3.5).abs() < 1e-6);
        assert!((out[1] - (1.0 + 2.0 * 0.841_344_8)).abs() < 1e-6);
    }
}
