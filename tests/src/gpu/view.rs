//! The view transform on the device: depth images and their first layers, depth softmax, tables and pooling,
//! each against the CPU twins or sums in double precision.

mod cases;
mod features;
mod images;
mod pool;
mod rig;
mod softmax;
mod tables;
mod times;

use std::sync::Arc;

use bevfusion_kernels::driver::{Context, DriverError, Priority, Stream};

use crate::report::Report;

type Part = fn(&Stream, bool, &mut Report) -> Result<(), DriverError>;

/// Compares all parts; `quick` only with small cases, for checkers that slow the device down.
pub fn run(context: &Arc<Context>, quick: bool, report: &mut Report) {
    let parts: [(&str, Part); 5] = [
        ("depth image", images::run),
        ("depth features", features::run),
        ("depth softmax", softmax::run),
        ("tables", tables::run),
        ("pool", pool::run),
    ];
    for (name, part) in parts {
        let outcome = Stream::new(context, Priority::High)
            .and_then(|stream| part(&stream, quick, &mut *report));
        if let Err(error) = outcome {
            report.failure(format!("gpu view {name}"), error.to_string());
        }
    }
}

/// Medians of the parts (µs) at the size of the nuScenes model.
///
/// # Errors
/// When the driver refuses.
pub fn times(context: &Arc<Context>) -> Result<Vec<(String, f64)>, DriverError> {
    times::times(context)
}
