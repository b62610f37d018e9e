//! The camera branch of a pipeline: images to the camera BEV map, in reused buffers.

use std::time::Duration;

use super::clock::Stopwatch;
use super::{BuildError, CameraPolicy, CameraState, CameraStates, FaultCode, FrameFault, StageId};
use crate::camera::{CameraMatrices, CameraPreprocessor, ImageAug, ViewTransform};
use crate::config::{CameraSpec, ModelSpec};
use crate::engine::{Engine, Network, TensorBuffer};
use crate::geometry::{CameraCalibration, Transform};
use crate::graph::networks::{bev_downsample, camera_backbone, depth_net};
use crate::input::{CameraFrame, Frame};
use crate::lidar::GatheredPoints;
use crate::weights::Weights;

pub(super) struct CameraBranch {
    order: Vec<String>,
    preprocessor: CameraPreprocessor,
    view: ViewTransform,
    backbone: Box<dyn Network>,
    depth_net: Box<dyn Network>,
    downsample: Option<Box<dyn Network>>,
    images: Vec<f32>,
    active: Vec<bool>,
    calibrations: Vec<CameraCalibration>,
    augmentations: Vec<ImageAug>,
    features: [TensorBuffer; 1],
    depth_image: Vec<f32>,
    lifted: [TensorBuffer; 2],
    pooled: Vec<f32>,
    bev: [TensorBuffer; 1],
}

/// Time that a stage took, by stage.
pub(super) type StageTimes = [Duration; StageId::COUNT];

impl CameraBranch {
    pub(super) fn new(
        spec: &ModelSpec,
        camera: &CameraSpec,
        weights: &Weights,
        engine: &dyn Engine,
    ) -> Result<Self, BuildError> {
        let count = camera.camera_order.len();
        let [height, width] = camera.image_size;
        let view = ViewTransform::new(camera);
        let preprocessor = CameraPreprocessor::new(camera);
        let downsample = match bev_downsample(spec, weights)? {
            Some(graph) => Some(engine.load(&graph)?),
            None => None,
        };
        Ok(Self {
            order: camera.camera_order.clone(),
            images: vec![0.0; count * preprocessor.output_len()],
            depth_image: vec![0.0; view.depth_image_len()],
            active: vec![false; count],
            calibrations: vec![STAND_IN; count],
            augmentations: vec![ImageAug::for_test(camera, width, height); count],
            backbone: engine.load(&camera_backbone(spec, weights, count)?)?,
            depth_net: engine.load(&depth_net(spec, weights, count)?)?,
            preprocessor,
            view,
            downsample,
            features: Default::default(),
            lifted: Default::default(),
            pooled: Vec::new(),
            bev: Default::default(),
        })
    }

    /// What each camera is in this frame.
    pub(super) fn states(&self, frame: &Frame, policy: &CameraPolicy) -> CameraStates {
        let mut states = CameraStates::missing(self.order.len());
        for (state, name) in states.as_mut_slice().iter_mut().zip(&self.order) {
            let camera = frame.camera(name);
            *state = camera.map_or(CameraState::Missing, |camera| {
                camera_state(&self.preprocessor, policy, (frame, camera)).0
            });
        }
        states
    }

    /// Resizes and normalises the images of the fresh cameras and takes their calibration. The others keep a
    /// grey picture and lose their frustum.
    pub(super) fn prepare(
        &mut self,
        frame: &Frame,
        states: &CameraStates,
    ) -> Result<(), FrameFault> {
        let fault = |code, index: usize| FrameFault {
            code,
            stage: StageId::Preprocess,
            detail: index as u64,
        };
        let length = self.preprocessor.output_len();
        let images = self.images.chunks_exact_mut(length);
        let cameras = self.order.iter().zip(states.as_slice()).zip(images);
        for (index, ((name, state), out)) in cameras.enumerate() {
            let camera = frame.camera(name);
            let camera = camera.filter(|_| *state == CameraState::Fresh);
            let found = camera.and_then(|camera| Some((camera, camera.image.as_ref()?)));
            self.active[index] = found.is_some();
            let Some((camera, image)) = found else {
                out.fill(0.0);
                continue;
            };
            let aug = self.preprocessor.run(image, out);
            self.augmentations[index] =
                aug.map_err(|_ignored| fault(FaultCode::ImageSize, index))?;
            self.calibrations[index] = camera.calibration;
        }
        self.view.set_active(&self.active);
        let taken = self
            .view
            .set_calibration(&self.calibrations, &self.augmentations, None);
        taken.map_err(|error| fault(FaultCode::Calibration, error.camera_index(&self.order)))?;
        Ok(())
    }

    /// The map of a frame without cameras: nothing pooled, through the down-sampling.
    pub(super) fn run_empty(&mut self, times: &mut StageTimes) -> Result<&[f32], FrameFault> {
        let cells = self.view.grid().cells();
        self.pooled.clear();
        self.pooled.resize(cells * self.view.shape().channels, 0.0);
        self.downsampled(times)
    }

    /// The camera BEV map `[C, X, Y]`.
    pub(super) fn run(
        &mut self,
        points: &GatheredPoints,
        times: &mut StageTimes,
    ) -> Result<&[f32], FrameFault> {
        let fault = |stage| FrameFault {
            code: FaultCode::Engine,
            stage,
            detail: stage as u64,
        };
        let mut watch = Stopwatch::start();
        let stage = StageId::CameraBackbone;
        let ran = self.backbone.run(&[&self.images], &mut self.features);
        ran.map_err(|_ignored| fault(stage))?;
        times[stage as usize] = watch.lap();

        let stage = StageId::DepthNet;
        let drawn = self
            .view
            .depth_image(&points.values, points.columns, &mut self.depth_image);
        drawn.map_err(|_ignored| fault(stage))?;
        let features = self.features[0].f32().ok_or_else(|| fault(stage))?;
        let ran = self
            .depth_net
            .run(&[&self.depth_image, features], &mut self.lifted);
        ran.map_err(|_ignored| fault(stage))?;
        times[stage as usize] = watch.lap();

        let stage = StageId::BevPool;
        let [depth_prob, context] = [0, 1].map(|index: usize| self.lifted[index].f32());
        let (depth_prob, context) = depth_prob.zip(context).ok_or_else(|| fault(stage))?;
        let pooled = self.view.pool(depth_prob, context, &mut self.pooled);
        pooled.map_err(|_ignored| fault(stage))?;
        times[stage as usize] = watch.lap();
        self.downsampled(times)
    }

    /// The pooled map in the size of the LiDAR's.
    fn downsampled(&mut self, times: &mut StageTimes) -> Result<&[f32], FrameFault> {
        let stage = StageId::BevDownsample;
        let fault = || FrameFault {
            code: FaultCode::Engine,
            stage,
            detail: stage as u64,
        };
        let mut watch = Stopwatch::start();
        let Some(downsample) = &mut self.downsample else {
            return Ok(&self.pooled);
        };
        downsample
            .run(&[&self.pooled], &mut self.bev)
            .map_err(|_ignored| fault())?;
        times[stage as usize] = watch.lap();
        self.bev[0].f32().ok_or_else(fault)
    }
}

/// A camera that looks along z from the LiDAR's place: stands in for a calibration that is not there yet,
/// where nothing depends on it.
const STAND_IN: CameraCalibration = CameraCalibration {
    image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    camera_from_lidar: Transform::IDENTITY,
};

/// What a camera of a frame is, and why it is not used where words say more than the state.
pub(super) fn camera_state(
    preprocessor: &CameraPreprocessor,
    policy: &CameraPolicy,
    (frame, camera): (&Frame, &CameraFrame),
) -> (CameraState, Option<String>) {
    let Some(image) = &camera.image else {
        return (CameraState::Missing, None);
    };
    let aug = match preprocessor.check(image) {
        Ok(aug) => aug,
        Err(error) => return (CameraState::Rejected, Some(error.to_string())),
    };
    let (image_ns, cloud_ns) = (frame.image_ns(camera), frame.cloud_ns());
    if !policy.is_fresh(image_ns, cloud_ns) {
        let late_s = (cloud_ns as f64 - image_ns as f64) * 1e-9;
        return (CameraState::Stale, Some(lateness(late_s)));
    }
    match CameraMatrices::new(&camera.calibration, aug.matrix()).check(&camera.name) {
        Ok(()) => (CameraState::Fresh, None),
        Err(error) => (CameraState::Uncalibrated, Some(error.to_string())),
    }
}

fn lateness(late_s: f64) -> String {
    let (apart, side) = (late_s.abs(), if late_s > 0.0 { "older" } else { "newer" });
    format!("the image is {apart:.3} s {side} than the cloud")
}
