//! Arguments of `bevfusion bench`, in the words of `trtexec`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::super::args::ModelArgs;
use super::super::engine::EngineArgs;

/// `bevfusion bench`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bevfusion bench --weights W
  bevfusion bench --weights W --input data/nuscenes --frames 20 --duration 30
  bevfusion bench --weights W --input cloud.pcd.bin --iterations 1000 --plot latency.svg
  bevfusion bench --weights W --warmup 2000 --threads 4 --export-times times.json
  bevfusion bench --weights W --engine cuda --timeline timeline.svg

A run ends when both --iterations and --duration are reached. Percentiles are nearest-rank: each is the
time of a frame that was measured.")]
pub(crate) struct BenchArgs {
    /// The model.
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Weights: a folder written by `bevfusion import` or the trainer.
    #[arg(long, short = 'w', value_name = "DIR")]
    pub(super) weights: PathBuf,
    /// A point file (.bin, .pcd), a folder of them, or the root of a nuScenes or T4 dataset [default: a
    /// made-up drive].
    #[arg(long, short = 'i', value_name = "DIR|FILE")]
    pub(super) input: Option<PathBuf>,
    /// The first N frames of a folder or dataset, in turn.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(super) frames: usize,
    /// float32 columns of point files [default: the model's load_dim].
    #[arg(long, value_name = "N", requires = "input")]
    pub(super) point_columns: Option<usize>,
    /// Measure at least N frames.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(super) iterations: usize,
    /// Measure for at least S seconds.
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub(super) duration: Duration,
    /// Run for at least MS milliseconds, and every frame once, before measuring.
    #[arg(long, value_name = "MS", default_value = "200", value_parser = milliseconds)]
    pub(super) warmup: Duration,
    /// The engine.
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// Write every sample and the summary.
    #[arg(long, value_name = "FILE.json")]
    pub(super) export_times: Option<PathBuf>,
    /// Draw the time of every frame and a histogram.
    #[arg(long, value_name = "FILE.svg|png")]
    pub(super) plot: Option<PathBuf>,
    /// Draw when the stages of one frame ran on the GPU, and how much of the LiDAR branch is hidden under
    /// the camera branch: of the frame whose time there is the median. CUDA engine only.
    #[arg(long, value_name = "FILE.svg|png")]
    pub(super) timeline: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(1e-3 * number).map_err(|error| error.to_string())
}
