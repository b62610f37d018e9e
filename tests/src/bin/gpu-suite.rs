//! Runs the kernels on a GPU against their CPU twins and prints the table of errors.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bevfusion_kernels::cuda::dense_conv::ConvChoice;
use bevfusion_kernels::driver::Context;
use bevfusion_tests::gpu;
use bevfusion_tests::report::Report;
use clap::Parser;

/// Holds the CUDA kernels against their CPU twins.
#[derive(Debug, Parser)]
struct Arguments {
    /// Voxels as little-endian int32 x, y, z: times of the encoder's layers.
    #[arg(long)]
    voxels: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let context = Context::new(0)?;
    let mut out = std::io::stdout().lock();
    let mut report = Report::default();
    gpu::conv::run(&context, &mut report)?;
    writeln!(out, "{report}")?;
    if let Some(path) = &arguments.voxels {
        let bytes = std::fs::read(path)?;
        let (values, _) = bytes.as_chunks::<4>();
        let values: Vec<i32> = values.iter().map(|v| i32::from_le_bytes(*v)).collect();
        let (voxels, _) = values.as_chunks::<3>();
        for choice in [ConvChoice::Gather, ConvChoice::Auto] {
            for (name, time) in gpu::conv::time_encoder(&context, voxels, choice)? {
                writeln!(out, "{time:9.1} us  {choice:?} {name}")?;
            }
            for (name, time) in gpu::conv::time_dense(&context, choice)? {
                writeln!(out, "{time:9.1} us  {name}")?;
            }
        }
    }
    let failed = report.failures().count();
    writeln!(
        out,
        "{} passed, {failed} failed",
        report.rows.len() - failed
    )?;
    Ok(failed == 0)
}
