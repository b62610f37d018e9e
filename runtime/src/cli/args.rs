//! Arguments of the `bevfusion` command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::BenchArgs;
use super::engine::EngineArgs;
use crate::exec::{BelowMinCameras, CameraPolicy};

/// BEVFusion 3D detection: LiDAR sweeps and camera images in, boxes out.
#[derive(Debug, Parser)]
#[command(name = "bevfusion", version, about)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Detect objects in a dataset or in single files.
    Detect(Box<DetectArgs>),
    /// Time frames: percentiles of every stage and of the whole.
    Bench(BenchArgs),
    /// Print a network stage by stage: shapes, parameters, FLOPs, memory.
    Inspect(InspectArgs),
    /// Convert a PyTorch checkpoint (mmdetection3d, AWML, MIT) to a weights folder.
    Import(ImportArgs),
    /// Write the dense networks as ONNX files.
    Export(ExportArgs),
    /// Join the result files of a sharded run.
    Merge(MergeArgs),
    /// List the shipped models.
    Models,
    /// Read Autoware's parameter files and print the model description as TOML.
    Autoware(AutowareArgs),
}

/// Which model.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// A shipped model (see `bevfusion models`) or a TOML file. Default: the model.toml in --weights.
    #[arg(long, short = 'm', value_name = "NAME|FILE")]
    pub(super) model: Option<String>,
}

/// `bevfusion detect`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bevfusion detect --weights W --dataroot data/nuscenes --version v1.0-mini
  bevfusion detect --weights W --dataroot data/t4/scene --scene scene-0103 -o out
  bevfusion detect --weights W --points cloud.bin --images f.jpg b.jpg --calib calib.toml
  bevfusion detect --weights W --dataroot D --shard 3/8 --json > shard3.jsonl")]
pub(super) struct DetectArgs {
    // clap does not enforce `requires` of an argument that conflicts with a present one: each option of
    // the one source conflicts with the other source itself.
    /// The model.
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Weights: a folder written by `bevfusion import` or the trainer.
    #[arg(long, short = 'w', value_name = "DIR")]
    pub(super) weights: PathBuf,
    /// Root of a nuScenes or T4 dataset.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "points",
        required_unless_present = "points"
    )]
    pub(super) dataroot: Option<PathBuf>,
    /// Dataset version, for example v1.0-mini; found by itself when there is only one.
    #[arg(
        long,
        value_name = "NAME",
        requires = "dataroot",
        conflicts_with = "points"
    )]
    pub(super) version: Option<String>,
    /// Only this scene (name or token).
    #[arg(long, requires = "dataroot", conflicts_with = "points")]
    pub(super) scene: Option<String>,
    /// Only this sample (token or its beginning).
    #[arg(long, requires = "dataroot", conflicts_with = "points")]
    pub(super) sample: Option<String>,
    /// Only part I of N of the frames, I from 0.
    #[arg(
        long,
        value_name = "I/N",
        requires = "dataroot",
        conflicts_with = "points"
    )]
    pub(super) shard: Option<String>,
    /// A single point file (.bin, .pcd).
    #[arg(long, value_name = "FILE")]
    pub(super) points: Option<PathBuf>,
    /// float32 columns of --points [default: the model's load_dim].
    #[arg(
        long,
        value_name = "N",
        requires = "points",
        conflicts_with = "dataroot"
    )]
    pub(super) point_columns: Option<usize>,
    /// Camera images of --points, in the order of --calib.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "points", requires = "calib", conflicts_with = "dataroot")]
    pub(super) images: Vec<PathBuf>,
    /// Calibration of --images (docs/calibration.md).
    #[arg(
        long,
        value_name = "FILE",
        requires = "points",
        conflicts_with = "dataroot"
    )]
    pub(super) calib: Option<PathBuf>,
    /// Where pictures, results and recording go.
    #[arg(long, short = 'o', value_name = "DIR", default_value = "out")]
    pub(super) output: PathBuf,
    /// Least score in table and pictures.
    #[arg(long, default_value_t = 0.3)]
    pub(super) min_score: f32,
    /// Least number of cameras with an image; the others' frustums are left out [default: all].
    #[arg(long, value_name = "N")]
    pub(super) min_cameras: Option<usize>,
    /// Most that an image may be older or newer than the cloud; beyond that its camera is not used.
    #[arg(long, value_name = "SECONDS", default_value = "0.12", value_parser = seconds)]
    pub(super) max_camera_lidar_delay: Duration,
    /// What happens to a frame with fewer cameras than --min-cameras.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = BelowMin::Drop)]
    pub(super) below_min_cameras: BelowMin,
    /// The engine.
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    /// One JSON object per frame on standard output instead of tables.
    #[arg(long)]
    pub(super) json: bool,
    /// Write no pictures.
    #[arg(long)]
    pub(super) no_pictures: bool,
    /// Write no MCAP recording.
    #[arg(long)]
    pub(super) no_mcap: bool,
}

/// What happens below `--min-cameras`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BelowMin {
    /// It is dropped.
    Drop,
    /// It is run with an empty camera map; how good the boxes are depends on the weights.
    LidarOnly,
}

impl DetectArgs {
    /// When a camera counts.
    pub(super) const fn camera_policy(&self) -> CameraPolicy {
        CameraPolicy {
            min_cameras: self.min_cameras,
            max_delay: self.max_camera_lidar_delay,
            max_lead: self.max_camera_lidar_delay,
            below_min_cameras: match self.below_min_cameras {
                BelowMin::Drop => BelowMinCameras::Drop,
                BelowMin::LidarOnly => BelowMinCameras::LidarOnly,
            },
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = (text.parse()).map_err(|error| format!("expected seconds: {error}"))?;
    Duration::try_from_secs_f64(value)
        .map_err(|error| format!("expected seconds, 0 or more: {error}"))
}

/// `bevfusion inspect`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bevfusion inspect --model nuscenes_CL
  bevfusion inspect --model my_model.toml --json
  bevfusion inspect network.onnx")]
pub(super) struct InspectArgs {
    /// The model.
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// An ONNX file to look into instead.
    #[arg(value_name = "ONNX", conflicts_with = "model")]
    pub(super) onnx: Option<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

/// `bevfusion import`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bevfusion import epoch_20.pth --model nuscenes_L -o weights/nuscenes_L
  bevfusion import best.pth --model t4_L_intensity --ema -o weights/t4")]
pub(super) struct ImportArgs {
    /// A checkpoint (.pth, .pt).
    #[arg(value_name = "CHECKPOINT")]
    pub(super) checkpoint: PathBuf,
    /// A shipped model (see `bevfusion models`) or a TOML file.
    #[arg(long, short = 'm', value_name = "NAME|FILE")]
    pub(super) model: String,
    /// Folder to write.
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Take the exponential moving average instead of the plain weights.
    #[arg(long)]
    pub(super) ema: bool,
    /// Write what could be loaded although tensors are missing, mismatched or unexpected.
    #[arg(long)]
    pub(super) no_strict: bool,
    /// The report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// `bevfusion export`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bevfusion export --weights weights/nuscenes_CL -o onnx")]
pub(super) struct ExportArgs {
    /// The model.
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Weights folder.
    #[arg(long, short = 'w', value_name = "DIR")]
    pub(super) weights: PathBuf,
    /// Folder to write.
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(super) output: PathBuf,
}

/// `bevfusion merge`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bevfusion merge out/*/results_nusc.json -o results_nusc.json")]
pub(super) struct MergeArgs {
    /// Result files of the shards.
    #[arg(value_name = "FILE", required = true)]
    pub(super) inputs: Vec<PathBuf>,
    /// File to write.
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(super) output: PathBuf,
}

/// `bevfusion autoware`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bevfusion autoware ml_package_bevfusion_lidar.param.yaml bevfusion_lidar.param.yaml > model.toml")]
pub(super) struct AutowareArgs {
    /// ml_package_*.param.yaml, the node's yaml and, if used, the class remapper's yaml, in any order.
    #[arg(value_name = "YAML", required = true)]
    pub(super) files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use std::time::Duration;

    use super::{Cli, seconds};

    #[test]
    fn delays_are_seconds_and_not_negative() {
        assert_eq!(seconds("0.12"), Ok(Duration::from_millis(120)));
        for refused in ["-0.1", "nan", "inf", "soon", ""] {
            assert!(seconds(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn no_two_arguments_of_a_command_have_one_name() {
        Cli::command().debug_assert();
    }
}
