//! Points to voxels to rulebooks on the device, against the CPU twins, bit for bit.
//!
//! In: random and adversarial clouds, and a recorded one (a file of float32 rows x, y,
//! z (m), intensity, age (s)). Out: rows of the report; times as remarks.

mod cases;
mod compare;
mod expected;
mod rig;
mod scene;
mod timing;

use std::path::Path;
use std::sync::Arc;

use bevfusion_kernels::driver::{Context, DriverError};

use crate::report::Report;

/// Compares everything, and measures on a recorded cloud.
pub fn run(context: &Arc<Context>, recorded: Option<&Path>, report: &mut Report) {
    run_quick(context, report);
    for case in cases::long() {
        compared(context, &case, report);
    }
    match recorded {
        Some(path) => {
            let outcome = real(context, path, report);
            record(report, "recorded cloud", outcome);
        }
        None => report.failure("recorded cloud", "no file was named"),
    }
}

/// Only the small cases: for checkers that slow the device down.
pub fn run_quick(context: &Arc<Context>, report: &mut Report) {
    for case in cases::short() {
        compared(context, &case, report);
    }
}

fn compared(context: &Arc<Context>, case: &cases::Case, report: &mut Report) {
    let outcome = compare::case(context, case, report);
    record(report, &case.setup.name, outcome);
}

fn real(context: &Arc<Context>, path: &Path, report: &mut Report) -> Result<(), DriverError> {
    let rows = match scene::read_rows(path) {
        Ok(rows) => rows,
        Err(error) => {
            report.failure("recorded cloud", error.to_string());
            return Ok(());
        }
    };
    compare::case(context, &cases::recorded(&rows), report)?;
    timing::run(context, &rows, report)
}

fn record(report: &mut Report, name: &str, outcome: Result<(), DriverError>) {
    if let Err(error) = outcome {
        report.failure(name, error.to_string());
    }
}
