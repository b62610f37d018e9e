//! `bevfusion merge`: the result files of a sharded run as one.

use std::collections::BTreeSet;

use super::Answer;
use super::args::MergeArgs;
use super::console::Console;
use crate::output::merge_nuscenes;

/// Runs the command.
pub(super) fn run(args: &MergeArgs, console: &mut Console<'_>) -> Answer {
    let report = merge_nuscenes(&args.inputs, &BTreeSet::new(), &args.output)?;
    let repeated = report.repeated.len();
    console.say(&format!(
        "{} samples, {} boxes from {} files ({repeated} samples were in several) -> {}",
        report.samples,
        report.boxes,
        args.inputs.len(),
        args.output.display()
    ))?;
    Ok(())
}
