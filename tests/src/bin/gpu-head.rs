//! Holds the head's kernels to their CPU twins on the first GPU and times them.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use bevfusion_kernels::driver::{Context, DriverError};
use bevfusion_tests::gpu::head::{Scope, run_scope, timings};
use bevfusion_tests::report::Report;
use clap::Parser;

/// Compares the head's kernels with their CPU twins.
#[derive(Debug, Parser)]
struct Arguments {
    /// Small sizes and no times, as under a memory checker.
    #[arg(long)]
    quick: bool,
    /// Times only.
    #[arg(long)]
    times: bool,
    /// Print failures only.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, DriverError> {
    let context = Context::new(0)?;
    let mut out = std::io::stdout().lock();
    let mut report = Report::default();
    if !arguments.times {
        let scope = if arguments.quick {
            Scope::Quick
        } else {
            Scope::Full
        };
        run_scope(&context, scope, &mut report);
        let failed = report.failures().count();
        let shown = if arguments.quiet {
            Report {
                rows: report.failures().cloned().collect(),
            }
        } else {
            report.clone()
        };
        let passed = report.rows.len() - failed;
        let _closed = writeln!(out, "{shown}\n{passed} passed, {failed} failed");
    }
    if !arguments.quick {
        let _closed = writeln!(out, "{}", timings(&context)?);
    }
    Ok(report.failures().count() == 0)
}
