//! Comparison with golden tensors that are stored whole or as statistics and 4096 samples.

use crate::formula::{fnv1a, splitmix};
use crate::golden::{GoldenError, GoldenFile};
use crate::report::{Report, Tolerance};

/// Mean, standard deviation and l2 agree to this, relative to the larger of their size and the
/// tensor's spread.
const STATISTICS: f64 = 1e-5;

/// Golden tensors of one model with the tolerance of its floats.
pub struct Golden<'a> {
    /// Model name, the prefix of every row.
    pub model: &'a str,
    /// The file.
    pub file: &'a GoldenFile,
    /// max |difference| over max |golden|.
    pub tolerance: f64,
}

impl Golden<'_> {
    /// Compares a float tensor with the golden of that name.
    ///
    /// # Errors
    /// When the golden file is malformed.
    pub fn floats(&self, report: &mut Report, name: &str, got: &[f32]) -> Result<(), GoldenError> {
        let stage = format!("{} {name}", self.model);
        if self.file.has(name) {
            let tolerance = Tolerance::OfMaximum(self.tolerance);
            report.floats(stage, got, &self.file.f32(name)?, tolerance);
            return Ok(());
        }
        let got: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
        if self.length_differs(report, name, got.len())? {
            return Ok(());
        }
        let stats = self.file.f64(&format!("{name}.stats"))?;
        let [mean, std, l2, largest] = stats[..] else {
            report.failure(stage, "statistics are not four numbers");
            return Ok(());
        };
        let want = self.file.f64(&format!("{name}.sub"))?;
        let sampled = samples(name, &got, want.len());
        report.doubles(
            &*stage,
            &sampled,
            &want,
            Tolerance::Absolute(self.tolerance * largest),
        );
        let spread = std.max(mean.abs());
        let measured = statistics(&got);
        let away = [
            (measured[0] - mean).abs() / spread,
            (measured[1] - std).abs() / spread,
            (measured[2] - l2).abs() / l2,
        ];
        report.doubles(
            format!("{stage} mean, std, l2"),
            &away.map(|v| if v.is_nan() { 0.0 } else { v }),
            &[0.0; 3],
            Tolerance::Absolute(STATISTICS),
        );
        Ok(())
    }

    /// Compares a float tensor whose values may each be off by `allowance` too, where that is more than
    /// the tolerance: ill-conditioned values, see [`models`](crate::models). The error is in units of
    /// max |golden|, scaled where the allowance counts.
    ///
    /// # Errors
    /// When the golden file is malformed.
    pub fn floats_within(
        &self,
        report: &mut Report,
        name: &str,
        (got, allowance): (&[f32], &[f32]),
    ) -> Result<(), GoldenError> {
        let whole = self.file.has(name);
        let count = if whole {
            got.len()
        } else {
            self.file.f32(&format!("{name}.sub"))?.len()
        };
        let pick = |values: &[f32]| {
            if whole {
                values.to_vec()
            } else {
                samples(name, values, count)
            }
        };
        let (want, largest) = if whole {
            let want = self.file.f32(name)?;
            let largest = want.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
            (want, f64::from(largest))
        } else {
            let stats = self.file.f64(&format!("{name}.stats"))?;
            (
                self.file.f32(&format!("{name}.sub"))?,
                stats.last().copied().unwrap_or(0.0),
            )
        };
        let limit = self.tolerance * largest;
        let stage = format!("{} {name}", self.model);
        report.within(
            stage,
            (&pick(got), &want),
            (limit, &pick(allowance)),
            largest,
        );
        Ok(())
    }

    /// Compares an integer tensor with the golden of that name; must be equal.
    ///
    /// # Errors
    /// When the golden file is malformed.
    pub fn integers(
        &self,
        report: &mut Report,
        name: &str,
        got: &[i64],
    ) -> Result<(), GoldenError> {
        let stage = format!("{} {name}", self.model);
        if self.file.has(name) {
            report.integers(stage, got, &self.file.i64(name)?);
        } else if !self.length_differs(report, name, got.len())? {
            let want = self.file.i64(&format!("{name}.sub"))?;
            report.integers(stage, &samples(name, got, want.len()), &want);
        }
        Ok(())
    }

    /// Whether the golden set holds `name`, whole or sampled.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.file.has(name) || self.file.has(&format!("{name}.sub"))
    }

    fn length_differs(
        &self,
        report: &mut Report,
        name: &str,
        found: usize,
    ) -> Result<bool, GoldenError> {
        let shape = self.file.i64(&format!("{name}.shape"))?;
        let expected: i64 = shape.iter().product();
        let differs = i64::try_from(found) != Ok(expected);
        if differs {
            let problem = format!("{found} values, expected {expected} ({shape:?})");
            report.failure(format!("{} {name}", self.model), problem);
        }
        Ok(differs)
    }
}

/// The values that a golden file keeps of a large tensor.
pub(crate) fn samples<T: Copy>(name: &str, values: &[T], count: usize) -> Vec<T> {
    let seed = fnv1a(name.as_bytes());
    let length = values.len() as u64;
    (0..count as u64)
        .map(|k| values[(splitmix(seed, k) % length) as usize])
        .collect()
}

fn statistics(values: &[f64]) -> [f64; 3] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
    let l2 = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    [mean, variance.sqrt(), l2]
}
