//! LayerNorm in double precision, and the rows that joining 2×2 tokens makes.

/// (row − mean) / √(variance + `epsilon`) · `scale` + `bias` for each row of as many channels as there are
/// scales.
#[must_use]
pub fn layer_norm(rows: &[f32], scale: &[f32], bias: &[f32], epsilon: f64) -> Vec<f32> {
    let count = scale.len() as f64;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(scale.len().max(1)) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let squares = row.iter().map(|v| (f64::from(*v) - mean).powi(2));
        let factor = 1.0 / (squares.sum::<f64>() / count + epsilon).sqrt();
        let affine = scale.iter().zip(bias);
        out.extend(row.iter().zip(affine).map(|(v, (scale, bias))| {
            ((f64::from(*v) - mean) * factor * f64::from(*scale) + f64::from(*bias)) as f32
        }));
    }
    out
}

/// Tokens `[images, rows, columns, channels]` → `[images · ⌈rows / 2⌉ · ⌈columns / 2⌉, 4 channels]`: the
/// tokens at (2y, 2x), (2y, 2x + 1), (2y + 1, 2x), (2y + 1, 2x + 1) one after another, zeros beyond the map.
#[must_use]
pub fn joined(tokens: &[f32], [rows, columns]: [usize; 2], channels: usize) -> Vec<f32> {
    let mut out = Vec::new();
    let halves = [rows.div_ceil(2), columns.div_ceil(2)];
    for image in tokens.chunks_exact((rows * columns * channels).max(1)) {
        for row in 0..halves[0] * halves[1] {
            let (y, x) = (row / halves[1] * 2, row % halves[1] * 2);
            for (y, x) in [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)] {
                let token = (y < rows && x < columns).then_some(y * columns + x);
                match token {
                    Some(token) => out.extend_from_slice(&image[token * channels..][..channels]),
                    None => out.resize(out.len() + channels, 0.0),
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{joined, layer_norm};

    #[test]
    fn rows_have_mean_bias_and_deviation_scale() {
        let out = layer_norm(&[1.0, 3.0, 5.0, 5.0], &[2.0, 2.0], &[0.5, 0.5], 0.0);
        assert!((out[0] + 1.5).abs() < 1e-6 && (out[1] - 2.5).abs() < 1e-6);
        let constant = layer_norm(&[5.0, 5.0], &[2.0, 2.0], &[0.5, 0.25], 1e-5);
        assert!((constant[0] - 0.5).abs() < 1e-6 && (constant[1] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn tokens_beyond_the_map_are_zeros() {
        let tokens: Vec<f32> = (1..=9).map(|i| i as f32).collect();
        let rows = joined(&tokens, [3, 3], 1);
        let want = [
            [1.0, 2.0, 4.0, 5.0],
            [3.0, 0.0, 6.0, 0.0],
            [7.0, 8.0, 0.0, 0.0],
            [9.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(rows, want.as_flattened());
    }
}
