//! Conformance of single operators with `ops/*.safetensors` of a golden set.

pub mod camera;
pub mod head;
pub mod lidar;
pub mod networks;
pub mod training;

use std::path::Path;

use crate::golden::GoldenError;
use crate::report::Report;

/// Runs every operator case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    lidar::run(dir, report)?;
    camera::run(dir, report)?;
    networks::run(dir, report)?;
    head::run(dir, report)?;
    training::run(dir, report)
}

/// Runs a case file of the golden set and asserts that every comparison holds. Without a golden set the
/// test says so and passes, except on CI.
#[cfg(test)]
#[expect(
    clippy::print_stderr,
    reason = "a skipped comparison must be seen, measured errors are of interest"
)]
fn check(
    cases: impl Fn(
        &std::path::Path,
        &mut crate::report::Report,
    ) -> Result<(), crate::golden::GoldenError>,
) {
    let Some(dir) = crate::golden::golden_dir() else {
        let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(
            !on_ci,
            "the golden set is absent, and CI must compare with it"
        );
        eprintln!("skipped: the golden set is absent (BEVFUSION_GOLDEN_DIR)");
        return;
    };
    let mut report = crate::report::Report::default();
    cases(&dir.join("ops"), &mut report).expect("the golden files are readable");
    eprintln!("{report}");
    assert!(!report.rows.is_empty(), "nothing was compared");
    assert_eq!(report.failures().count(), 0, "{report}");
}
