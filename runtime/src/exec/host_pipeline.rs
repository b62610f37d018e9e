//! The frame phase on the host: bytes to boxes, a call per line.

use super::camera_branch::CameraBranch;
use super::clock::Stopwatch;
use super::dense::DenseNetworks;
use super::lidar_branch::LidarBranch;
use super::{CameraPolicy, Degradation, FaultCode, FrameFault, FrameOutcome, FrameReport, StageId};
use crate::config::ModelConfig;
use crate::head::postprocess;
use crate::input::Frame;
use crate::lidar::{GatheredPoints, gather_points, point_range};
use crate::output::Detection;

/// What the builder hands over.
pub(super) struct Parts {
    pub(super) config: ModelConfig,
    pub(super) policy: CameraPolicy,
    pub(super) lidar: Option<LidarBranch>,
    pub(super) camera: Option<CameraBranch>,
    pub(super) dense: DenseNetworks,
}

/// A model whose sparse stages run on the CPU and whose dense networks an engine runs. Buffers are kept
/// between frames.
pub(super) struct HostPipeline {
    parts: Parts,
    points: GatheredPoints,
    detections: Vec<Detection>,
    report: FrameReport,
}

impl HostPipeline {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            detections: Vec::with_capacity(parts.config.head.num_proposals),
            points: GatheredPoints::default(),
            report: FrameReport::new(),
            parts,
        }
    }

    /// Boxes of the last frame; none when it was dropped.
    pub(super) fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// Detects in one frame. [`detections`](Self::detections) then holds the boxes.
    pub(super) fn run(&mut self, frame: &Frame) -> &FrameReport {
        self.report = FrameReport::new();
        self.detections.clear();
        self.report.outcome = match self.detect(frame) {
            Ok(degradation) if degradation.any() => FrameOutcome::Degraded(degradation),
            Ok(_) => FrameOutcome::Complete,
            Err(fault) => FrameOutcome::Dropped(fault),
        };
        &self.report
    }

    fn detect(&mut self, frame: &Frame) -> Result<Degradation, FrameFault> {
        let Parts {
            config,
            policy,
            lidar,
            camera,
            dense,
        } = &mut self.parts;
        let FrameReport {
            counts,
            cameras,
            stage_times: times,
            ..
        } = &mut self.report;
        let mut degradation = Degradation::default();
        let mut watch = Stopwatch::start();

        gather(config, frame, &mut self.points)?;
        times[StageId::Sweeps as usize] = watch.lap();
        counts.points_in = self.points.counts.input as u64;
        counts.points_in_range = self.points.counts.kept() as u64;
        degradation.non_finite_points = self.points.counts.non_finite as u64;
        degradation.empty_cloud = self.points.counts.kept() == 0;
        if let Some(camera) = camera {
            *cameras = camera.states(frame, policy);
            degradation.missing_cameras = (cameras.as_slice().len() - cameras.fresh()) as u32;
            degradation.lidar_only = policy.runs_lidar_only(cameras, lidar.is_some())?;
        }

        let mut lidar_bev = None;
        if let Some(lidar) = lidar {
            degradation.dropped_voxels = lidar.voxelize(&self.points).cells as u64;
            counts.voxels = lidar.voxel_count() as u64;
            times[StageId::Voxelize as usize] = watch.lap();
            lidar_bev = Some(lidar.encode()?);
            times[StageId::SparseEncoder as usize] = watch.lap();
        }
        let mut camera_bev = None;
        if let Some(camera) = camera {
            camera_bev = Some(if degradation.lidar_only {
                camera.run_empty(times)?
            } else {
                camera.prepare(frame, cameras)?;
                times[StageId::Preprocess as usize] = watch.lap();
                camera.run(&self.points, times)?
            });
        }
        let output = dense.run([camera_bev, lidar_bev], times)?;

        let mut watch = Stopwatch::start();
        let filtered = postprocess(config, &output, &mut self.detections);
        times[StageId::Postprocess as usize] = watch.lap();
        let refused = filtered.invalid_label + filtered.non_finite + filtered.out_of_range;
        counts.decoded = filtered.proposals.saturating_sub(refused) as u64;
        counts.detections = self.detections.len() as u64;
        Ok(degradation)
    }
}

fn gather(
    config: &ModelConfig,
    frame: &Frame,
    points: &mut GatheredPoints,
) -> Result<(), FrameFault> {
    let range = point_range(&config.voxel);
    gather_points(&config.points, range, frame, points).map_err(|error| FrameFault {
        code: FaultCode::PointColumns,
        stage: StageId::Sweeps,
        detail: error.columns() as u64,
    })?;
    Ok(())
}
