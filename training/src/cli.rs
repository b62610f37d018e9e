//! The `bevfusion-train` command: arguments, and what they do.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::eval::config::EvalConfig;
use crate::eval::filter::filter_boxes;
use crate::eval::nuscenes::check_count;
use crate::eval::read::{ReadError, read_predictions, read_truth};
use crate::eval::report::{to_json, to_table};
use crate::eval::{EvalError, evaluate};

/// Trains and scores BEVFusion models.
#[derive(Debug, Parser)]
#[command(name = "bevfusion-train", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scores predictions against ground truth
    Evaluate(EvaluateArguments),
}

const EVALUATE_HELP: &str = "\
Files:
  predictions   {\"results\": {sample_token: [box, ...]}}, the nuScenes result form
  ground truth  {\"gt\": {sample_token: [box, ...]},
                 \"ego_poses\": {sample_token: [x, y, z]},                      (optional)
                 \"bicycle_racks\": {sample_token: [{translation, size, rotation}]}}  (optional)
  box           translation, size (width, length, height), rotation (w, x, y, z), velocity,
                detection_name, attribute_name; detection_score (predictions); num_pts (ground
                truth); ego_translation unless ego_poses has the sample

Examples:
  Print mAP, NDS and a row for each class:
    bevfusion-train evaluate --ground-truth val.json --predictions results_nusc.json
  The same numbers for a script:
    bevfusion-train evaluate --ground-truth val.json --predictions results_nusc.json --json
  T4 classes to 120 m:
    bevfusion-train evaluate --metric t4 --ground-truth val.json --predictions results.json";

#[derive(Debug, Args)]
#[command(after_help = EVALUATE_HELP)]
struct EvaluateArguments {
    /// JSON file with the annotated boxes
    #[arg(long, value_name = "FILE.json")]
    ground_truth: PathBuf,
    /// JSON file with the detected boxes
    #[arg(long, value_name = "FILE.json")]
    predictions: PathBuf,
    /// Classes and ranges
    #[arg(long, value_enum, default_value_t = Metric::Nuscenes)]
    metric: Metric,
    /// Print JSON with the nuScenes devkit's keys instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Metric {
    /// Ten classes to 50, 40 and 30 m (detection_cvpr_2019)
    Nuscenes,
    /// Five classes to 120 m (T4Metric v1)
    T4,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The boxes cannot be scored.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The result cannot be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] std::io::Error),
}

/// Does what `arguments` ask and writes the result to `out`.
///
/// # Errors
/// When a file cannot be used or the result cannot be written.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), CliError> {
    match &arguments.command {
        Command::Evaluate(arguments) => run_evaluate(arguments, out),
    }
}

fn run_evaluate(arguments: &EvaluateArguments, out: &mut dyn Write) -> Result<(), CliError> {
    let config = match arguments.metric {
        Metric::Nuscenes => EvalConfig::nuscenes(),
        Metric::T4 => EvalConfig::t4(),
    };
    let truth = read_truth(&arguments.ground_truth, &config)?;
    let predictions = read_predictions(&arguments.predictions, &truth.ego_positions, &config)?;
    check_count(&predictions, &config)?;
    let predictions = filter_boxes(predictions, &truth.racks, &config);
    let boxes = filter_boxes(truth.boxes, &truth.racks, &config);
    let metrics = evaluate(&boxes, &predictions, &config)?;
    if arguments.json {
        writeln!(out, "{:#}", to_json(&metrics, &config))?;
    } else {
        write!(out, "{}", to_table(&metrics, &config))?;
    }
    Ok(())
}
