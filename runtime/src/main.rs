//! The `bevfusion` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    bevfusion::cli::main()
}
