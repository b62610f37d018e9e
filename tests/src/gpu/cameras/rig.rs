//! Models, frames and what may happen to a camera of a frame.

use std::error::Error;

use bevfusion::config::{ModelConfig, ModelSpec};
use bevfusion::cuda::{CudaOptions, CudaPipeline};
use bevfusion::dataset::synthetic;
use bevfusion::exec::{
    BelowMinCameras, CameraPolicy, CameraState, FrameOutcome, FrameReport, MAX_CAMERAS,
};
use bevfusion::geometry::Transform;
use bevfusion::input::{Frame, RgbImage};
use bevfusion::output::Detection;
use bevfusion::weights::Weights;

use crate::gpu::steady::equal_bits;
use crate::report::Report;
use crate::small::{small, small_frame, weights_of};

/// When the cloud of every frame was taken.
pub(super) const CLOUD_NS: i64 = 1_600_000_000_000_000_000;
/// Nanoseconds of a millisecond.
pub(super) const MS: i64 = 1_000_000;

/// A model with a frame that it runs whole.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) spec: ModelSpec,
    pub(super) weights: Weights,
    pub(super) frame: Frame,
}

/// Two cameras, a map of 20 by 20 cells.
pub(super) fn small_model() -> Result<Rig, Box<dyn Error>> {
    let spec = small(true);
    Ok(Rig {
        weights: weights_of(&spec),
        frame: stamped(small_frame(Transform::IDENTITY)),
        spec,
    })
}

/// Images as far from the cloud as they may be, by turns older and newer.
fn stamped(mut frame: Frame) -> Frame {
    frame.stamp_ns = Some(CLOUD_NS);
    for (index, camera) in frame.cameras.iter_mut().enumerate() {
        let side = if index % 2 == 0 { -1 } else { 1 };
        camera.stamp_ns = Some(CLOUD_NS + side * 120 * MS);
    }
    frame
}

impl Rig {
    /// The name of a case.
    pub(super) fn stage(&self, what: &str) -> String {
        format!("gpu cameras {}: {what}", self.spec.name)
    }

    /// How many cameras the model has.
    pub(super) const fn cameras(&self) -> usize {
        self.frame.cameras.len()
    }

    /// The pipeline with these rules.
    pub(super) fn pipeline(&self, policy: CameraPolicy) -> Result<CudaPipeline, Box<dyn Error>> {
        let options = CudaOptions {
            cameras: policy,
            ..CudaOptions::default()
        };
        let config = ModelConfig::new(self.spec.clone())?;
        Ok(CudaPipeline::new(config, &self.weights, &options)?)
    }

    /// The frame after something happened to a camera.
    pub(super) fn harmed(&self, harm: Harm, camera: usize) -> Frame {
        let mut frame = self.frame.clone();
        harm(&mut frame, camera);
        frame
    }
}

/// Rules that differ from the default ones in these.
pub(super) fn policy(
    min_cameras: Option<usize>,
    below_min_cameras: BelowMinCameras,
) -> CameraPolicy {
    CameraPolicy {
        min_cameras,
        below_min_cameras,
        ..CameraPolicy::default()
    }
}

/// What may happen to a camera of a frame.
pub(super) type Harm = fn(&mut Frame, usize);

/// Each with its name and what the camera then is. The first leaves out the camera.
pub(super) const HARMS: [(&str, Harm, CameraState); 8] = [
    ("no entry", no_entry, CameraState::Missing),
    ("no image", no_image, CameraState::Missing),
    ("late", late, CameraState::Stale),
    ("from the future", early, CameraState::Stale),
    ("short buffer", short_buffer, CameraState::Rejected),
    ("no rows", no_rows, CameraState::Rejected),
    ("beyond the room", too_large, CameraState::Rejected),
    ("singular", singular, CameraState::Uncalibrated),
];

fn no_entry(frame: &mut Frame, camera: usize) {
    frame.cameras.remove(camera);
}

pub(super) fn no_image(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].image = None;
}

pub(super) fn late(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].stamp_ns = Some(CLOUD_NS - 120 * MS - 1);
}

fn early(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].stamp_ns = Some(CLOUD_NS + 120 * MS + 1);
}

fn short_buffer(frame: &mut Frame, camera: usize) {
    if let Some(image) = &mut frame.cameras[camera].image {
        image.pixels.pop();
    }
}

fn no_rows(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].image = Some(RgbImage {
        width: 64,
        height: 0,
        pixels: Vec::new(),
    });
}

/// More bytes than the default options plan for.
fn too_large(frame: &mut Frame, camera: usize) {
    let [width, height] = CudaOptions::default().images.raw;
    frame.cameras[camera].image = Some(synthetic::image([width, height + 2], 1));
}

fn singular(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].calibration.image_from_camera[1][1] = 0.0;
}

/// The code of the fault with its detail (0, 0: none), cameras not used, whether it ran on the LiDAR alone.
pub(super) fn fate(report: &FrameReport) -> [i64; 4] {
    match report.outcome {
        FrameOutcome::Complete => [0; 4],
        FrameOutcome::Degraded(lost) => [
            0,
            0,
            i64::from(lost.missing_cameras),
            i64::from(lost.lidar_only),
        ],
        FrameOutcome::Dropped(fault) => [fault.code as i64, fault.detail as i64, 0, 0],
    }
}

/// States as numbers.
pub(super) fn numbers(states: &[CameraState]) -> Vec<i64> {
    states.iter().map(|state| *state as i64).collect()
}

/// All fresh but one.
pub(super) fn all_but(cameras: usize, camera: usize, state: CameraState) -> Vec<i64> {
    let mut states = [CameraState::Fresh; MAX_CAMERAS];
    states[camera] = state;
    numbers(&states[..cameras])
}

/// Holds the boxes of the last frame against those wanted.
pub(super) fn same_boxes(
    report: &mut Report,
    stage: String,
    pipeline: &CudaPipeline,
    want: &[Detection],
) {
    let same = equal_bits(pipeline.detections(), want);
    report.integers(stage, &[i64::from(same)], &[1]);
}

/// Boxes of a frame that must not be dropped.
pub(super) fn boxes(
    pipeline: &mut CudaPipeline,
    frame: &Frame,
) -> Result<Vec<Detection>, Box<dyn Error>> {
    match pipeline.run(frame).outcome {
        FrameOutcome::Dropped(fault) => Err(fault.into()),
        _ => Ok(pipeline.detections().to_vec()),
    }
}
