//! Everything that is proven and measured on a GPU, from one binary that needs no toolkit.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bevfusion::config::ModelConfig;
use bevfusion::cuda::{CameraCapacity, CudaOptions, CudaPipeline};
use bevfusion::exec::FrameOutcome;
use bevfusion::output::{Detection, Timeline, TimelinePlot, median_place, micro};
use bevfusion::weights::Weights;
use bevfusion_kernels::cuda::dense_conv::ConvChoice;
use bevfusion_kernels::driver::Context;
use bevfusion_tests::gpu::steady::{DeviceImages, DevicePoints, Steady};
use bevfusion_tests::gpu::{
    cameras, conv, head, image, model, points, presets, stages, steady, swin, view,
};
use bevfusion_tests::models;
use bevfusion_tests::report::{Report, Row};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

/// Frames before those whose stages are timed.
const WARM_UP: usize = 20;
/// Frames of which the median is told.
const TIMED_FRAMES: usize = 101;

/// Parts of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Convolutions against the CPU twins.
    Conv,
    /// Points, voxels and rulebooks, bit for bit.
    Points,
    /// Proposals, query decoder, suppression.
    Head,
    /// Raw images to patches, bit for bit.
    Image,
    /// Depth images, frustum tables, pooling.
    View,
    /// Attention, norms, resizing.
    Swin,
    /// Cameras that fail, and new calibrations.
    Cameras,
    /// Whole models against the golden set.
    Models,
    /// Every shipped LiDAR model against the CPU engine.
    Presets,
    /// Frame after frame: budget, bits, host time.
    Steady,
    /// Times of layers and stages.
    Times,
}

/// What nuScenes' cameras send.
const NUSCENES_IMAGES: CameraCapacity = CameraCapacity::of([1600, 900]);

/// Runs the GPU suite and writes its report.
#[derive(Debug, Parser)]
#[command(after_help = "Example:
  gpu-suite --golden ../shared/golden --data carry/data --report tests/gpu/report.json")]
struct Arguments {
    /// Golden set with `models/`.
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Folder with `points_105k.bin` and `voxels_*.bin`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Small cases only: for memory checkers.
    #[arg(long)]
    quick: bool,
    /// Frames of the steady run.
    #[arg(long, default_value_t = 10_000)]
    frames: usize,
    /// Draw when the stages of the camera-LiDAR model ran (part times).
    #[arg(long, value_name = "FILE.svg|png")]
    timeline: Option<PathBuf>,
    /// Where the JSON report goes.
    #[arg(long)]
    report: Option<PathBuf>,
    /// What the binary was built from, for the report.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Hash over the sources, for the report.
    #[arg(long, default_value = "unknown")]
    sources: String,
    /// Print failures and times only.
    #[arg(long)]
    brief: bool,
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
    let wanted = |part: Part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut report = Report::default();
    let mut times: Vec<(String, f64)> = Vec::new();
    kernel_cases(&context, arguments, &wanted, &mut report);
    if let (true, Some(golden)) = (wanted(Part::Models), &arguments.golden) {
        let outcome = golden_models(arguments, &golden.join("models"), &mut report);
        noted(&mut report, "models", outcome);
    }
    if wanted(Part::Presets) && !arguments.quick {
        presets::run(&mut report);
    }
    if let Some(data) = &arguments.data {
        if wanted(Part::Steady) {
            let outcome = steady_frames(arguments, data, &mut report, &mut times);
            noted(&mut report, "steady", outcome);
        }
        if wanted(Part::Times) {
            let outcome = measure(&context, arguments, data, &mut times);
            noted(&mut report, "times", outcome);
        }
    }
    let mut out = std::io::stdout().lock();
    let failed = report.failures().count();
    let rows: Vec<Row> = match arguments.brief {
        true => report.failures().cloned().collect(),
        false => report.rows.clone(),
    };
    writeln!(out, "{}", Report { rows })?;
    for (name, time) in &times {
        writeln!(out, "{time:10.1} us  {name}")?;
    }
    writeln!(
        out,
        "{} passed, {failed} failed",
        report.rows.len() - failed
    )?;
    if let Some(path) = &arguments.report {
        let text = serde_json::to_string_pretty(&document(arguments, &context, &report, &times))?;
        std::fs::write(path, text + "\n")?;
    }
    Ok(failed == 0 && !report.rows.is_empty())
}

/// Kernels against their CPU twins.
fn kernel_cases(
    context: &std::sync::Arc<Context>,
    arguments: &Arguments,
    wanted: &dyn Fn(Part) -> bool,
    report: &mut Report,
) {
    let recorded = arguments
        .data
        .as_ref()
        .map(|data| data.join("points_105k.bin"));
    if wanted(Part::Conv) {
        let outcome = conv::run(context, arguments.quick, report);
        noted(report, "conv", outcome.map_err(Into::into));
    }
    if wanted(Part::Points) {
        match arguments.quick {
            true => points::run_quick(context, report),
            false => points::run(context, recorded.as_deref(), report),
        }
    }
    if wanted(Part::Head) {
        let scope = if arguments.quick {
            head::Scope::Quick
        } else {
            head::Scope::Full
        };
        head::run_scope(context, scope, report);
    }
    if wanted(Part::Image) {
        image::run(context, arguments.quick, report);
    }
    if wanted(Part::View) {
        view::run(context, arguments.quick, report);
    }
    if wanted(Part::Swin) {
        let outcome = swin::run(context, arguments.quick, report);
        noted(report, "swin", outcome.map_err(Into::into));
    }
    if wanted(Part::Cameras) {
        cameras::run(context, arguments.quick, report);
    }
}

/// A part that ended early is a failure of the report, which keeps what was found until then.
fn noted(report: &mut Report, part: &str, outcome: Result<(), Box<dyn Error>>) {
    if let Err(error) = outcome {
        report.failure(part, error.to_string());
    }
}

fn golden_models(
    arguments: &Arguments,
    models_dir: &Path,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    for name in models::names(models_dir)? {
        if arguments.quick && !name.starts_with("tiny") {
            continue;
        }
        // Cameras with one family only where time is short: the layers of both are cases of their own.
        let has_cameras = name.ends_with("-CL");
        let families: &[ConvChoice] = match arguments.quick && has_cameras {
            true => &[ConvChoice::Auto],
            false => &[ConvChoice::Auto, ConvChoice::Gather],
        };
        for &kernels in families {
            let options = CudaOptions {
                kernels,
                ..CudaOptions::default()
            };
            model::run(models_dir, &name, &options, report)?;
        }
    }
    Ok(())
}

fn steady_frames(
    arguments: &Arguments,
    data: &Path,
    report: &mut Report,
    times: &mut Vec<(String, f64)>,
) -> Result<(), Box<dyn Error>> {
    let (config, weights) = steady::nuscenes()?;
    let values = floats(&data.join("points_105k.bin"))?;
    let mut pipeline = CudaPipeline::new(config.clone(), &weights, &CudaOptions::default())?;
    let cloud = DevicePoints::new(&pipeline, &values)?;
    let inputs = (cloud.cloud(), None);
    let run = steady::run(&mut pipeline, inputs, arguments.frames, report)?;
    steady_times(&pipeline, &run, times);
    let boxes = pipeline.detections().to_vec();
    drop(pipeline);
    same_boxes(&config, &weights, (&values, &boxes), report)?;
    let (config, weights, frame) = steady::nuscenes_cameras()?;
    let options = CudaOptions {
        images: NUSCENES_IMAGES,
        ..CudaOptions::default()
    };
    let mut pipeline = CudaPipeline::new(config, &weights, &options)?;
    let images = DeviceImages::new(&mut pipeline, &frame)?;
    let cloud = DevicePoints::new(&pipeline, &values)?;
    let inputs = (cloud.cloud(), Some(&images));
    let run = steady::run(&mut pipeline, inputs, arguments.frames, report)?;
    steady_times(&pipeline, &run, times);
    Ok(())
}

/// Percentiles of a steady run.
fn steady_times(pipeline: &CudaPipeline, run: &Steady, times: &mut Vec<(String, f64)>) {
    let name = &pipeline.config().name;
    for (what, values) in [("submit", &run.submit), ("frame, wall", &run.frame)] {
        for (percentile, p) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("max", 1.0),
        ] {
            let label = format!("{name}: {what} {percentile}");
            times.push((label, Steady::percentile(values, p)));
        }
    }
    let bytes: usize = pipeline.memory().iter().map(|entry| entry.bytes).sum();
    let facts = format!(
        "{name}: boxes {} nodes {} device memory {} MiB",
        run.boxes,
        pipeline.nodes(),
        bytes >> 20
    );
    times.push((facts, 0.0));
    for entry in pipeline.memory().iter().take(12) {
        let (purpose, bytes) = (&entry.name, entry.bytes);
        times.push((format!("{name}: memory {purpose}, {bytes} bytes"), 0.0));
    }
}

/// The boxes without a graph and with other capacities.
fn same_boxes(
    config: &ModelConfig,
    weights: &Weights,
    (values, boxes): (&[f32], &[Detection]),
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let plain = CudaOptions {
        graph: false,
        ..CudaOptions::default()
    };
    let other = steady::boxes_of(config, weights, &plain, values)?;
    let same = i64::from(steady::equal_bits(boxes, &other));
    report.integers("the same boxes without a graph", &[same], &[1]);
    let roomy = CudaOptions {
        point_capacity: 700_000,
        slots: 3,
        ..CudaOptions::default()
    };
    let other = steady::boxes_of(config, weights, &roomy, values)?;
    let same = i64::from(steady::equal_bits(boxes, &other));
    report.integers("the same boxes with other capacities", &[same], &[1]);
    Ok(())
}

fn measure(
    context: &std::sync::Arc<Context>,
    arguments: &Arguments,
    data: &Path,
    times: &mut Vec<(String, f64)>,
) -> Result<(), Box<dyn Error>> {
    let (config, weights) = steady::nuscenes()?;
    let mut pipeline = CudaPipeline::new(config, &weights, &CudaOptions::default())?;
    for set in [
        "points_105k",
        "voxels_real",
        "voxels_080k",
        "voxels_105k",
        "voxels_135k",
        "voxels_160k",
    ] {
        let path = data.join(format!("{set}.bin"));
        let values = if set.starts_with("points") {
            floats(&path)?
        } else {
            centres(&path)?
        };
        let cloud = DevicePoints::new(&pipeline, &values)?;
        let frame = pipeline.run_device(&[cloud.cloud()], 0);
        let (voxels, outcome) = (frame.counts.voxels, frame.outcome);
        for (stage, time) in stages::times(&pipeline, &cloud.cloud())? {
            times.push((format!("{set} ({voxels} voxels): {stage}"), time));
        }
        times.push((format!("{set} {outcome:?}"), 0.0));
    }
    drop(pipeline);
    let voxels: Vec<i32> = words(&data.join("voxels_105k.bin"))?
        .iter()
        .map(|b| i32::from_le_bytes(*b))
        .collect();
    for choice in [ConvChoice::Gather, ConvChoice::Auto] {
        let (voxels, _) = voxels.as_chunks::<3>();
        let layers = conv::time_encoder(context, voxels, choice)?;
        times.extend(
            layers
                .into_iter()
                .map(|(name, time)| (format!("{choice:?} {name}"), time)),
        );
        times.extend(conv::time_dense(context, choice)?);
    }
    times.extend(head::times(context)?);
    times.extend(image::times(context)?);
    times.extend(view::times(context)?);
    times.extend(swin::times(context)?);
    measure_cameras(arguments.timeline.as_deref(), data, times)
}

/// Stages of the camera-LiDAR model on the recorded cloud, alone and in the median frame.
fn measure_cameras(
    picture: Option<&Path>,
    data: &Path,
    times: &mut Vec<(String, f64)>,
) -> Result<(), Box<dyn Error>> {
    let (config, weights, frame) = steady::nuscenes_cameras()?;
    let options = CudaOptions {
        timed: true,
        images: NUSCENES_IMAGES,
        ..CudaOptions::default()
    };
    let mut pipeline = CudaPipeline::new(config, &weights, &options)?;
    let images = DeviceImages::new(&mut pipeline, &frame)?;
    let values = floats(&data.join("points_105k.bin"))?;
    let cloud = DevicePoints::new(&pipeline, &values)?;
    let mut frames = Vec::new();
    for frame in 0..WARM_UP + TIMED_FRAMES {
        images.push(&mut pipeline)?;
        let outcome = pipeline.run_device(&[cloud.cloud()], 0).outcome;
        if let FrameOutcome::Dropped(fault) = outcome {
            return Err(fault.into());
        }
        if frame >= WARM_UP {
            frames.push(Timeline::new(pipeline.spans()));
        }
    }
    let totals: Vec<f64> = frames.iter().map(Timeline::total_us).collect();
    let median = median_place(&totals).and_then(|place| frames.into_iter().nth(place));
    let timeline = median.ok_or("no frame was timed")?;
    for span in timeline.spans() {
        let name = span.stage.name();
        times.push((format!("nuscenes_CL begins {name}"), span.begin_us.into()));
        times.push((format!("nuscenes_CL ends {name}"), span.end_us.into()));
    }
    for (stage, time) in stages::times(&pipeline, &cloud.cloud())? {
        times.push((format!("nuscenes_CL: {stage}"), time));
    }
    picture.map_or(Ok(()), |file| draw(&pipeline, timeline, file))
}

fn draw(pipeline: &CudaPipeline, timeline: Timeline, file: &Path) -> Result<(), Box<dyn Error>> {
    let total = micro(timeline.total_us());
    let plot = TimelinePlot {
        title: format!(
            "{}: one frame, {total} µs on the GPU",
            pipeline.config().name
        ),
        subtitle: [
            pipeline.context().info().name.clone(),
            format!(
                "the median of {TIMED_FRAMES} frames by time on the GPU; recorded cloud, made-up images"
            ),
        ],
        timeline,
    };
    Ok(plot.write(file)?)
}

fn words(path: &Path) -> Result<Vec<[u8; 4]>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.as_chunks::<4>().0.to_vec())
}

fn floats(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    Ok(words(path)?
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

/// One point in the middle of each voxel of the nuScenes grid.
fn centres(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let values: Vec<i32> = words(path)?
        .iter()
        .map(|b| i32::from_le_bytes(*b))
        .collect();
    let (voxels, _) = values.as_chunks::<3>();
    let centre = |cell: i32, lower: f64, size: f64| (lower + (f64::from(cell) + 0.5) * size) as f32;
    Ok(voxels
        .iter()
        .flat_map(|[x, y, z]| {
            let [x, y] = [*x, *y].map(|cell| centre(cell, -54.0, 0.075));
            [x, y, centre(*z, -5.0, 0.2), 10.0, 0.0]
        })
        .collect())
}

fn document(
    arguments: &Arguments,
    context: &Context,
    report: &Report,
    times: &[(String, f64)],
) -> Value {
    let info = context.info();
    let row = |row: &Row| {
        json!({
            "case": row.stage,
            "error": if row.error.is_finite() { json!(row.error) } else { json!("infinite") },
            "limit": row.limit,
            "passed": row.passed(),
            "note": row.note,
        })
    };
    json!({
        "device": info.name,
        "compute_capability": format!("{}.{}", info.compute_capability.0, info.compute_capability.1),
        "driver": info.driver_version,
        "commit": arguments.commit,
        "sources": arguments.sources,
        "frames": arguments.frames,
        "failed": report.failures().count(),
        "cases": report.rows.iter().map(row).collect::<Vec<_>>(),
        "times_us": times.iter().map(|(name, time)| json!({"name": name, "us": time})).collect::<Vec<_>>(),
    })
}
