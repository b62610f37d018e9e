//! Times of repeated runs and their order statistics.

use std::time::Duration;

use serde::Serialize;

/// Times of one stage or network (ms), in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Samples {
    values: Vec<f64>,
}

impl Samples {
    /// Appends a time.
    pub fn push(&mut self, time: Duration) {
        self.push_ms(1e3 * time.as_secs_f64());
    }

    /// Appends a time in milliseconds; kept to a microsecond.
    pub fn push_ms(&mut self, time: f64) {
        self.values.push((1e3 * time).round() / 1e3);
    }

    /// The smallest; 0 without samples.
    #[must_use]
    pub fn best(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The smallest sample that at least this share of all samples does not exceed: 0 is the smallest, 0.5
    /// the median, 1 the largest; 0 without samples.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        let index = rank.clamp(1, sorted.len().max(1)) - 1;
        sorted.get(index).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        for value in values {
            samples.push_ms(*value);
        }
        samples
    }

    #[test]
    fn quantiles_are_samples_and_do_not_depend_on_their_order() {
        let ten = samples(&[9.0, 2.0, 1.0, 10.0, 4.0, 3.0, 6.0, 5.0, 8.0, 7.0]);
        let of = |share: f64| ten.quantile(share).to_bits();
        assert_eq!(of(0.0), 1.0_f64.to_bits());
        assert_eq!(of(0.5), 5.0_f64.to_bits());
        assert_eq!(of(0.9), 9.0_f64.to_bits());
        assert_eq!(of(1.0), 10.0_f64.to_bits());
        assert_eq!(ten.best().to_bits(), of(0.0));
    }

    #[test]
    fn no_samples_give_zero_and_one_sample_is_every_quantile() {
        assert_eq!(samples(&[]).quantile(0.5).to_bits(), 0.0_f64.to_bits());
        let one = samples(&[2.5]);
        assert!([0.0, 0.5, 1.0].map(|q| one.quantile(q).to_bits()) == [2.5_f64.to_bits(); 3]);
    }
}
