//! The camera backbone's own kernels against their twins in double precision: window attention, LayerNorm,
//! bilinear resizing, the fused MLP.
//!
//! Inputs are fp16 numbers in slices of wider maps whose other channels are NaN, so that a read beside the
//! slice shows; a write beside it is looked for.

mod attention;
mod golden;
mod maps;
mod mlp;
mod norm;
mod timing;
mod upsample;

use std::sync::Arc;

use bevfusion_kernels::driver::{Context, DriverError, Priority, Stream};

pub use timing::times;

use crate::report::{Report, Tolerance};

/// Rounding of results to fp16, and of attention weights, position bias and hidden channels.
const HALF: Tolerance = Tolerance::OfMaximum(2e-3);

/// Every kernel on small random and adversarial maps; `quick` for checkers that slow the device down.
///
/// # Errors
/// When the driver refuses.
pub fn run(context: &Arc<Context>, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    attention::run(&stream, quick, report)?;
    norm::run(&stream, quick, report)?;
    upsample::run(&stream, quick, report)?;
    mlp::run(&stream, quick, report)
}
