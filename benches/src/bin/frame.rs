//! Times whole frames on the CPU engine, stage by stage, with the peak of resident memory.
//!
//! In: a weights folder and a frame (of a dataset, a point file, or made up). Out: a table on standard
//! output and an object with every sample in a JSON list. Files are read before the clock starts.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bevfusion::engine::{CpuEngine, EngineOptions};
use bevfusion::exec::{
    FrameCounts, FrameOutcome, FrameReport, Pipeline, PipelineBuilder, StageId, explain,
};
use bevfusion::input::Frame;
use bevfusion_benches::frames::{self, FrameSource};
use bevfusion_benches::machine::{Machine, peak_resident_bytes};
use bevfusion_benches::record;
use bevfusion_benches::samples::Samples;
use clap::Parser;
use serde::Serialize;

/// Times whole frames. Without --dataroot and --points the frame is made up.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  frame --weights W --dataroot data/nuscenes --sample ca9a282c --json frames.json
  frame --weights W --points cloud.bin
  frame --weights W")]
struct Arguments {
    /// Weights folder.
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,
    /// Root of a nuScenes or T4 dataset.
    #[arg(long, value_name = "DIR", conflicts_with = "points")]
    dataroot: Option<PathBuf>,
    /// Sample of the dataset (token or its beginning) [default: the first].
    #[arg(long, requires = "dataroot")]
    sample: Option<String>,
    /// A point file with the model's columns.
    #[arg(long, value_name = "FILE")]
    points: Option<PathBuf>,
    /// Threads of the dense networks [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Timed frames.
    #[arg(long, default_value_t = 10)]
    iterations: usize,
    /// Frames before them that are not counted.
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Commit that was built, for the result.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// File whose list of results gets this one.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct FrameResult {
    model: String,
    commit: String,
    machine: Machine,
    threads: usize,
    frame: String,
    key_points: usize,
    sweeps: usize,
    images: usize,
    counts: FrameCounts,
    warmup: usize,
    frame_ms: Samples,
    /// Stages that ran, by name.
    stages_ms: BTreeMap<&'static str, Samples>,
    /// Of the process from its start, loading of the weights included; absent where it is not known.
    peak_resident_bytes: Option<u64>,
}

#[expect(clippy::print_stderr, reason = "a command tells what went wrong")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let machine = Machine::here();
    let threads = arguments.threads.unwrap_or(machine.cores);
    let options = EngineOptions {
        threads: Some(threads),
    };
    let (config, weights) = frames::model(&arguments.weights)?;
    let source = match (&arguments.dataroot, &arguments.points) {
        (Some(root), _) => FrameSource::Dataset(root, arguments.sample.as_deref()),
        (None, Some(points)) => FrameSource::Points(points),
        (None, None) => FrameSource::Synthetic,
    };
    let (described, frame) = source.read(&config)?;
    let mut pipeline = PipelineBuilder::new(config, &weights).build(&CpuEngine::new(options))?;
    drop(weights);
    for _ in 0..arguments.warmup {
        detect(&mut pipeline, &frame)?;
    }
    let mut result = FrameResult {
        model: pipeline.config().name.clone(),
        commit: arguments.commit.clone(),
        machine,
        threads,
        frame: described,
        key_points: frame.points.len(),
        sweeps: frame.sweeps.len(),
        images: frame
            .cameras
            .iter()
            .filter(|camera| camera.image.is_some())
            .count(),
        counts: FrameCounts::default(),
        warmup: arguments.warmup,
        frame_ms: Samples::default(),
        stages_ms: BTreeMap::new(),
        peak_resident_bytes: None,
    };
    for _ in 0..arguments.iterations.max(1) {
        let start = Instant::now();
        let report = detect(&mut pipeline, &frame)?;
        result.frame_ms.push(start.elapsed());
        keep(&report, &mut result);
    }
    result.peak_resident_bytes = peak_resident_bytes();
    print(&result)?;
    match &arguments.json {
        Some(path) => record::append(path, &result),
        None => Ok(()),
    }
}

/// One frame; a dropped one ends the harness with what was wrong with it.
fn detect(pipeline: &mut Pipeline, frame: &Frame) -> Result<FrameReport, Box<dyn Error>> {
    let report = *pipeline.run(frame);
    match report.outcome {
        FrameOutcome::Complete | FrameOutcome::Degraded(_) => Ok(report),
        FrameOutcome::Dropped(fault) => {
            let why = explain(pipeline.config(), pipeline.camera_policy(), frame).join("; ");
            Err(format!("{fault}: {why}").into())
        }
    }
}

fn keep(report: &FrameReport, result: &mut FrameResult) {
    result.counts = report.counts;
    for (stage, time) in StageId::ALL.into_iter().zip(report.stage_times) {
        if !time.is_zero() {
            result.stages_ms.entry(stage.name()).or_default().push(time);
        }
    }
}

fn print(result: &FrameResult) -> std::io::Result<()> {
    let mut out = stdout().lock();
    let FrameResult {
        model,
        frame,
        key_points,
        sweeps,
        images,
        ..
    } = result;
    writeln!(
        out,
        "{model}: {frame}, {key_points} points, {sweeps} sweeps, {images} images"
    )?;
    writeln!(
        out,
        "{:<16} {:>9} {:>9} {:>9}  ms",
        "stage", "p50", "p90", "max"
    )?;
    let in_order = StageId::ALL.iter().filter_map(|stage| {
        let samples = result.stages_ms.get(stage.name())?;
        Some((stage.name(), samples))
    });
    for (name, samples) in in_order.chain([("frame", &result.frame_ms)]) {
        let [p50, p90, max] = [0.5, 0.9, 1.0].map(|share| samples.quantile(share));
        writeln!(out, "{name:<16} {p50:>9.1} {p90:>9.1} {max:>9.1}")?;
    }
    let peak = result.peak_resident_bytes.map_or_else(
        || "unavailable on this system".to_owned(),
        |bytes| format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    );
    writeln!(out, "peak resident memory: {peak}")
}
