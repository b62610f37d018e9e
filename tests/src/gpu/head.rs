//! The head on the device: proposals, query decoder, postprocessing, each against the CPU path, twice for
//! equal bits.

mod decoder;
mod fixture;
mod postprocess;
mod proposals;
mod timing;
mod twin;

use std::sync::Arc;

use bevfusion_kernels::driver::{Context, DriverError};

use crate::report::Report;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Full,
    /// Small sizes, as a memory checker can follow them.
    Quick,
}

/// Compares all parts of the head at all sizes.
pub fn run(context: &Arc<Context>, report: &mut Report) {
    run_scope(context, Scope::Full, report);
}

/// Compares all parts of the head.
pub fn run_scope(context: &Arc<Context>, scope: Scope, report: &mut Report) {
    let parts: [(&str, Part); 3] = [
        ("proposals", proposals::run),
        ("decoder", decoder::run),
        ("postprocess", postprocess::run),
    ];
    for (name, part) in parts {
        if let Err(error) = part(context, scope, report) {
            report.failure(format!("gpu head {name}"), error.to_string());
        }
    }
}

type Part = fn(&Arc<Context>, Scope, &mut Report) -> Result<(), Box<dyn std::error::Error>>;

/// Medians of the parts (µs).
///
/// # Errors
/// When the driver refuses.
pub fn times(context: &Arc<Context>) -> Result<Vec<(String, f64)>, DriverError> {
    timing::times(context)
}
