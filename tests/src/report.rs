//! The conformance table: stage × error against a typed tolerance.

use std::fmt;

/// How far a result may be from the golden value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Equal.
    Exact,
    /// max |difference| at most this.
    Absolute(f64),
    /// max |difference| at most this times max |golden|.
    OfMaximum(f64),
    /// ‖difference‖₂ at most this times ‖golden‖₂.
    RelativeL2(f64),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was compared, for example `ops/bev_pool c0` or `tiny-L enc.bev`.
    pub stage: String,
    /// The measured error in the tolerance's unit; infinite when shapes differ.
    pub error: f64,
    /// Its limit.
    pub limit: f64,
    /// Remark, for example how many elements differ.
    pub note: String,
}

impl Row {
    /// Whether the error is within the limit.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error <= self.limit
    }
}

/// All comparisons of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// In the order in which they were made.
    pub rows: Vec<Row>,
}

impl Report {
    /// Compares floats.
    pub fn floats(
        &mut self,
        stage: impl Into<String>,
        got: &[f32],
        want: &[f32],
        tolerance: Tolerance,
    ) {
        let got: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
        let want: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
        self.doubles(stage, &got, &want, tolerance);
    }

    /// Compares doubles.
    pub fn doubles(
        &mut self,
        stage: impl Into<String>,
        got: &[f64],
        want: &[f64],
        tolerance: Tolerance,
    ) {
        let stage = stage.into();
        if got.len() != want.len() {
            let note = format!("{} values, expected {}", got.len(), want.len());
            self.rows.push(Row {
                stage,
                error: f64::INFINITY,
                limit: 0.0,
                note,
            });
            return;
        }
        let (error, limit) = measure(got, want, tolerance);
        self.rows.push(Row {
            stage,
            error,
            limit,
            note: format!("{} values", want.len()),
        });
    }

    /// Compares floats that may each be off by `limit` or by their own allowance, whichever is more; the
    /// error is given in units of `scale`.
    pub fn within(
        &mut self,
        stage: impl Into<String>,
        (got, want): (&[f32], &[f32]),
        (limit, allowance): (f64, &[f32]),
        scale: f64,
    ) {
        let stage = stage.into();
        if got.len() != want.len() || allowance.len() != want.len() {
            let problem = format!("{} values, expected {}", got.len(), want.len());
            self.failure(stage, problem);
            return;
        }
        let widened = allowance.iter().filter(|v| f64::from(**v) > limit).count();
        let worst = got.iter().zip(want).zip(allowance).map(|((a, b), own)| {
            let away = (f64::from(*a) - f64::from(*b)).abs();
            away * limit / limit.max(f64::from(*own))
        });
        let error = worst.fold(0.0, nan_max) / scale;
        let note = format!("{} values, {widened} ill-conditioned", want.len());
        self.rows.push(Row {
            stage,
            error,
            limit: limit / scale,
            note,
        });
    }

    /// Compares integers, which must be equal.
    pub fn integers(&mut self, stage: impl Into<String>, got: &[i64], want: &[i64]) {
        let differing = got.iter().zip(want).filter(|(a, b)| a != b).count();
        let (error, note) = if got.len() == want.len() {
            (
                differing as f64,
                format!("{differing} of {} differ", want.len()),
            )
        } else {
            (
                f64::INFINITY,
                format!("{} values, expected {}", got.len(), want.len()),
            )
        };
        self.rows.push(Row {
            stage: stage.into(),
            error,
            limit: 0.0,
            note,
        });
    }

    /// Records a case that could not be compared.
    pub fn failure(&mut self, stage: impl Into<String>, problem: impl Into<String>) {
        let note = problem.into();
        self.rows.push(Row {
            stage: stage.into(),
            error: f64::INFINITY,
            limit: 0.0,
            note,
        });
    }

    /// Rows over their limit.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.passed())
    }
}

fn measure(got: &[f64], want: &[f64], tolerance: Tolerance) -> (f64, f64) {
    let difference = |(a, b): (&f64, &f64)| {
        if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) {
            0.0
        } else {
            (a - b).abs()
        }
    };
    let worst = got.iter().zip(want).map(difference).fold(0.0, nan_max);
    let largest = want.iter().map(|v| v.abs()).fold(0.0, f64::max);
    match tolerance {
        Tolerance::Exact => (worst, 0.0),
        Tolerance::Absolute(limit) => (worst, limit),
        Tolerance::OfMaximum(limit) => (ratio(worst, largest), limit),
        Tolerance::RelativeL2(limit) => {
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let away = norm(&mut got.iter().zip(want).map(difference));
            (ratio(away, norm(&mut want.iter().copied())), limit)
        }
    }
}

/// A NaN is the worst error there is; `f64::max` would forget it.
fn nan_max(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn ratio(error: f64, scale: f64) -> f64 {
    if error <= 0.0 { 0.0 } else { error / scale }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<52} {:>11} {:>11}  result  note",
            "stage", "error", "limit"
        )?;
        for row in &self.rows {
            let verdict = if row.passed() { "ok" } else { "FAILED" };
            writeln!(
                f,
                "{:<52} {:>11.3e} {:>11.3e}  {verdict:<6}  {}",
                row.stage, row.error, row.limit, row.note
            )?;
        }
        let failed = self.failures().count();
        write!(f, "{} compared, {failed} failed", self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Tolerance};

    #[test]
    fn differences_nans_and_lengths_fail() {
        let mut report = Report::default();
        report.floats("equal", &[1.0, 2.0], &[1.0, 2.0], Tolerance::Exact);
        report.floats(
            "close",
            &[1.0, 2.00001],
            &[1.0, 2.0],
            Tolerance::OfMaximum(1e-5),
        );
        assert_eq!(report.failures().count(), 0);
        report.floats("far", &[1.0, 2.1], &[1.0, 2.0], Tolerance::OfMaximum(1e-5));
        report.floats("nan", &[f32::NAN], &[1.0], Tolerance::Absolute(1.0));
        report.floats("short", &[1.0], &[1.0, 2.0], Tolerance::Absolute(1.0));
        report.integers("integers", &[1, 2], &[1, 3]);
        assert_eq!(report.failures().count(), 4);
    }
}
