//! The camera branch of a pipeline: images to the camera BEV map, in reused buffers.

use std::time::Duration;

use super::clock::Stopwatch;
use super::{BuildError, FaultCode, FrameFault, StageId};
use crate::camera::{CameraPreprocessor, ImageAug, ViewTransform};
use crate::config::{CameraSpec, ModelSpec};
use crate::engine::{Engine, Network, TensorBuffer};
use crate::geometry::CameraCalibration;
use crate::graph::networks::{bev_downsample, camera_backbone, depth_net};
use crate::input::{CameraFrame, RgbImage};
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
            calibrations: Vec::with_capacity(count),
            augmentations: Vec::with_capacity(count),
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

    /// Cameras of the model.
    pub(super) fn count(&self) -> usize {
        self.order.len()
    }

    /// Cameras of the model that deliver an image in this frame.
    pub(super) fn available(&self, cameras: &[CameraFrame]) -> usize {
        self.order
            .iter()
            .filter(|name| find(cameras, name).is_some())
            .count()
    }

    /// Resizes and normalises every image and takes the calibration. A camera without image keeps a
    /// grey picture and loses its frustum.
    pub(super) fn prepare(&mut self, cameras: &[CameraFrame]) -> Result<(), FrameFault> {
        let stage = StageId::Preprocess;
        let fault = |code, index: usize| FrameFault {
            code,
            stage,
            detail: index as u64,
        };
        let stand_in = self.order.iter().find_map(|name| find(cameras, name));
        let Some(stand_in) = stand_in else {
            return Err(fault(FaultCode::MissingCameras, 0));
        };
        self.calibrations.clear();
        self.augmentations.clear();
        let length = self.preprocessor.output_len();
        for (index, (name, out)) in self
            .order
            .iter()
            .zip(self.images.chunks_exact_mut(length))
            .enumerate()
        {
            let found = find(cameras, name);
            self.active[index] = found.is_some();
            let (camera, image) = found.unwrap_or(stand_in);
            let aug = if self.active[index] {
                let aug = self.preprocessor.run(image, out);
                aug.map_err(|_ignored| fault(FaultCode::ImageSize, index))?
            } else {
                out.fill(0.0);
                self.preprocessor.augmentation(image)
            };
            self.calibrations.push(camera.calibration);
            self.augmentations.push(aug);
        }
        self.view.set_active(&self.active);
        let taken = self
            .view
            .set_calibration(&self.calibrations, &self.augmentations, None);
        taken.map_err(|error| fault(FaultCode::Calibration, error.camera_index(&self.order)))?;
        Ok(())
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

        let stage = StageId::BevDownsample;
        let Some(downsample) = &mut self.downsample else {
            return Ok(&self.pooled);
        };
        downsample
            .run(&[&self.pooled], &mut self.bev)
            .map_err(|_ignored| fault(stage))?;
        times[stage as usize] = watch.lap();
        self.bev[0].f32().ok_or_else(|| fault(stage))
    }
}

fn find<'a>(cameras: &'a [CameraFrame], name: &str) -> Option<(&'a CameraFrame, &'a RgbImage)> {
    let camera = cameras.iter().find(|camera| camera.name == name)?;
    camera.image.as_ref().map(|image| (camera, image))
}
