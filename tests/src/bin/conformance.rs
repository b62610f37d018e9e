//! Holds an engine to a golden set: prints stage × error and fails on any row over its limit.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bevfusion::engine::{CpuEngine, Engine, EngineOptions};
use bevfusion_tests::golden::GoldenError;
use bevfusion_tests::report::Report;
use bevfusion_tests::{models, ops};
use clap::{Parser, ValueEnum};

/// Engines that can be tested.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EngineName {
    /// rten and the CPU twins.
    Cpu,
}

/// Compares every operator and every stage of every model of a golden set.
#[derive(Debug, Parser)]
#[command(after_help = "Example:
  conformance --golden ../shared/golden --engine cpu --only tiny")]
struct Arguments {
    /// Folder with `ops/` and, if present, `models/`.
    #[arg(long)]
    golden: PathBuf,
    /// Engine under test.
    #[arg(long, value_enum, default_value_t = EngineName::Cpu)]
    engine: EngineName,
    /// Only models whose name contains this, and no operators.
    #[arg(long)]
    only: Option<String>,
    /// Print failures only.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    let shown = if arguments.quiet {
        Report {
            rows: report.failures().cloned().collect(),
        }
    } else {
        report.clone()
    };
    let failed = report.failures().count();
    let passed = report.rows.len() - failed;
    let _closed = writeln!(out, "{shown}\n{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(arguments: &Arguments) -> Result<Report, GoldenError> {
    let engine: Box<dyn Engine> = match arguments.engine {
        EngineName::Cpu => Box::new(CpuEngine::new(EngineOptions::default())),
    };
    let mut report = Report::default();
    if arguments.only.is_none() {
        ops::run(&arguments.golden.join("ops"), &mut report)?;
    }
    let models_dir = arguments.golden.join("models");
    if models_dir.is_dir() {
        let wanted = arguments.only.as_deref().unwrap_or("");
        for name in models::names(&models_dir)?
            .iter()
            .filter(|name| name.contains(wanted))
        {
            models::run(&models_dir, name, engine.as_ref(), &mut report)?;
        }
        if models_dir.join("tiny-CL.loss_eval.json").is_file() && "tiny-CL".contains(wanted) {
            ops::training::run_targets(&models_dir, &mut report)?;
        }
    }
    Ok(report)
}
