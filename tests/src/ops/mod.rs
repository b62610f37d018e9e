//! Conformance of single operators with `ops/*.safetensors` of a golden set.

pub mod camera;
pub mod head;
pub mod lidar;
pub mod networks;
pub mod training;

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::golden::{GoldenError, GoldenFile, json};
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

/// Settings of every case of `op` and the file with their tensors; `None` when the set has no such op.
///
/// # Errors
/// When one of the two files cannot be read.
pub(crate) fn cases<T: DeserializeOwned>(
    dir: &Path,
    op: &str,
) -> Result<Option<(GoldenFile, Vec<T>)>, GoldenError> {
    let settings = dir.join(op).with_extension("json");
    if !settings.exists() {
        return Ok(None);
    }
    let tensors = GoldenFile::open(&settings.with_extension("safetensors"))?;
    Ok(Some((tensors, json(&settings)?)))
}

/// Runs an operator's cases, those of the repository and, where there is one, those of the larger golden
/// set, which need not have this operator, and asserts that every comparison holds.
#[cfg(test)]
#[expect(
    clippy::print_stderr,
    reason = "measured errors are for the reader of the test run"
)]
fn check(cases: impl Fn(&Path, &mut Report) -> Result<(), GoldenError>) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for set in std::iter::once(own.clone()).chain(crate::golden::golden_dir()) {
        let mut report = Report::default();
        cases(&set.join("ops"), &mut report).expect("the golden files are readable");
        let has_rows = !report.rows.is_empty();
        assert!(has_rows || set != own, "nothing was compared");
        let set = set.display();
        eprintln!("{set}\n{report}");
        assert_eq!(report.failures().count(), 0, "{set}\n{report}");
    }
}
