//! Every shipped model on the GPU against the CPU engine: made-up frames with sweeps, from host memory.
//!
//! Counts of points and voxels are equal. Boxes are matched by class and place; the two engines round
//! differently, so a few proposals at the end of the list may be others.

use bevfusion::config::{ModelConfig, ModelSpec, PRESETS};
use bevfusion::cuda::{CameraCapacity, CudaOptions, CudaPipeline};
use bevfusion::dataset::synthetic;
use bevfusion::engine::{CpuEngine, EngineOptions};
use bevfusion::exec::{FrameCounts, PipelineBuilder};
use bevfusion::geometry::Transform;
use bevfusion::input::{Frame, Sweep};
use bevfusion::output::Detection;
use bevfusion::weights::expected_tensors;

use crate::formula::{GainProfile, formula_weights};
use crate::report::{Report, Tolerance};

/// Boxes of the CPU engine that are looked for, best first.
const BEST: usize = 100;
/// How far a box may be from its twin (m).
const NEAR_M: f32 = 0.5;
/// Share of the boxes looked for that may have no twin: ill-conditioned queries (ADR 8).
const WITHOUT_TWIN: f64 = 0.1;

/// Compares every preset.
pub fn run(report: &mut Report) {
    for name in PRESETS {
        if let Err(error) = compare(name, report) {
            report.failure(name, error.to_string());
        }
    }
}

fn compare(name: &str, report: &mut Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut spec = ModelSpec::clone(&*ModelConfig::preset(name)?);
    // Formula weights score low: what is compared are boxes, not the thresholds.
    for bins in &mut spec.postprocess.min_confidence_scores {
        bins.fill(0.0);
    }
    let config = ModelConfig::new(spec)?;
    let weights = formula_weights(&expected_tensors(&config), "", GainProfile::FullSize);
    let frame = with_sweeps(&config);
    let engine = CpuEngine::new(EngineOptions::default());
    let mut cpu = PipelineBuilder::new(config.clone(), &weights).build(&engine)?;
    let options = CudaOptions {
        images: room_for(&frame),
        ..CudaOptions::default()
    };
    let mut gpu = CudaPipeline::new(config, &weights, &options)?;
    let want = cpu.run(&frame).counts;
    let got = gpu.run(&frame).counts;
    let counts =
        |c: FrameCounts| [c.points_in, c.points_in_range, c.voxels].map(|count| count as i64);
    let stage = format!("{name} points, points in range, voxels");
    report.integers(stage, &counts(got), &counts(want));
    let mut best: Vec<&Detection> = cpu.detections().iter().collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best.truncate(BEST);
    let without = best
        .iter()
        .filter(|one| !has_twin(one, gpu.detections()))
        .count();
    let share = without as f64 / best.len().max(1) as f64;
    let stage = format!("{name} share of {} boxes without a twin", best.len());
    report.doubles(stage, &[share], &[0.0], Tolerance::Absolute(WITHOUT_TWIN));
    report.integers(
        format!("{name} boxes to look for"),
        &[i64::from(!best.is_empty())],
        &[1],
    );
    Ok(())
}

/// Room for the images of a frame.
fn room_for(frame: &Frame) -> CameraCapacity {
    let images = frame
        .cameras
        .iter()
        .filter_map(|camera| camera.image.as_ref());
    let raw = images.fold([1; 2], |[width, height], image| {
        [width.max(image.width), height.max(image.height)]
    });
    CameraCapacity::of(raw)
}

/// A made-up frame with two sweeps of a vehicle that turned a little.
fn with_sweeps(config: &ModelConfig) -> Frame {
    let half_yaw = 0.01_f64;
    let sweep = |index: u64| Sweep {
        cloud: synthetic::cloud(20_000, config.points.load_dim, 50 + index),
        key_from_sweep: Transform::from_quaternion(
            [half_yaw.cos(), 0.0, 0.0, half_yaw.sin()],
            [-0.5 * (index + 1) as f64, 0.02, 0.01],
        ),
        time_lag: 0.05 * (index + 1) as f64,
    };
    Frame {
        sweeps: (0..2).map(sweep).collect(),
        ..synthetic::frame(config, 5)
    }
}

fn has_twin(one: &Detection, others: &[Detection]) -> bool {
    others.iter().any(|other| {
        let away = one
            .bottom_center
            .iter()
            .zip(other.bottom_center)
            .map(|(a, b)| (a - b) * (a - b))
            .sum::<f32>();
        other.label == one.label && away < NEAR_M * NEAR_M
    })
}
