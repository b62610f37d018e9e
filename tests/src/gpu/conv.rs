//! Sparse and dense convolutions on the GPU against sums of the same fp16 values in higher precision.

mod dense;
mod sparse;
mod values;

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::ConvChoice;
use bevfusion_kernels::driver::{Context, DriverError, Priority, Stream};

pub use dense::time_dense;
pub use sparse::time_encoder;

use crate::report::{Report, Tolerance};

/// Rounding of the result to fp16, and of sums in another order.
const HALF: Tolerance = Tolerance::RelativeL2(1e-3);

/// Every kernel on small random cases; `quick` for checkers that slow the device down.
///
/// # Errors
/// When the driver refuses.
pub fn run(context: &Arc<Context>, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    for choice in [ConvChoice::Gather, ConvChoice::Auto] {
        sparse::run(&stream, choice, quick, report)?;
    }
    dense::run(&stream, report)
}
