//! Holds the point kernels to their CPU twins on the GPU of this machine: prints stage × error and times.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use bevfusion_kernels::driver::{Context, DriverError};
use bevfusion_tests::gpu::points;
use bevfusion_tests::report::Report;
use clap::Parser;

/// Compares points, voxels and rulebooks; `BEVFUSION_GPU_DATA` names the recorded cloud.
#[derive(Debug, Parser)]
struct Arguments {
    /// Small cases only, nothing measured.
    #[arg(long)]
    quick: bool,
    /// The recorded cloud only.
    #[arg(long, conflicts_with = "quick")]
    recorded: bool,
    /// Print failures and times only.
    #[arg(long)]
    brief: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let report = match compare(&arguments) {
        Ok(report) => report,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    let failed = report.failures().count();
    let passed = report.rows.len() - failed;
    let shown = |row: &&bevfusion_tests::report::Row| {
        !arguments.brief || !row.passed() || row.stage.starts_with("time")
    };
    let rows = report.rows.iter().filter(shown).cloned().collect();
    let _closed = writeln!(out, "{}\n{passed} passed, {failed} failed", Report { rows });
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn compare(arguments: &Arguments) -> Result<Report, DriverError> {
    let context = Context::new(0)?;
    let mut report = Report::default();
    if arguments.quick {
        points::run_quick(&context, &mut report);
    } else if arguments.recorded {
        points::run_recorded(&context, &mut report);
    } else {
        points::run(&context, &mut report);
    }
    Ok(report)
}
