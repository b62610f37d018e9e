//! The `bevfusion-train` command.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use bevfusion_training::cli::{Arguments, run};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "bevfusion-train: {error}");
            ExitCode::FAILURE
        }
    }
}
