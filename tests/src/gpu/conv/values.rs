//! Values in fp16.

use half::f16;

pub(super) fn rounded(values: &mut [f32]) {
    for value in values {
        *value = f16::from_f32(*value).to_f32();
    }
}

pub(super) fn half_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| f16::from_f32(*v).to_bits()).collect()
}

pub(super) fn floats(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|v| f16::from_bits(*v).to_f32()).collect()
}

/// `[rows, channels]` → `[rows, padded]`.
pub(super) fn padded(values: &[f32], channels: usize, pitch: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in values.chunks_exact(channels) {
        out.extend_from_slice(row);
        out.resize(out.len() + pitch - channels, 0.0);
    }
    out
}

/// x times the normal distribution function of x, whose series converges fast where it is not 0 or 1.
pub(super) fn gelu(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        let n = f64::from(n);
        term *= -x * x / (2.0 * n);
        sum += term / (2.0 * n + 1.0);
    }
    x * (0.5 + sum / (2.0 * std::f64::consts::PI).sqrt())
}

#[cfg(test)]
mod tests {
    use super::gelu;

    #[test]
    fn gelu_at_known_places() {
        // Standard normal distribution: 0.841345 at 1, 0.022750 at -2, 0.999968 at 4.
        for (x, want) in [
            (1.0, 0.841_344_75),
            (-2.0, -0.045_500_26),
            (4.0, 3.999_873_3),
        ] {
            assert!((gelu(x) - want).abs() < 1e-7, "{x}: {}", gelu(x));
        }
    }
}
