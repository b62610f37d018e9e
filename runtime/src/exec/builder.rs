//! The build phase: description, weights and engine become a [`Pipeline`].

use super::camera_branch::CameraBranch;
use super::dense::DenseNetworks;
use super::host_pipeline::{HostPipeline, Parts};
use super::lidar_branch::LidarBranch;
use super::{BuildError, CameraPolicy, Pipeline};
use crate::config::ModelConfig;
use crate::cuda::{CudaOptions, CudaPipeline};
use crate::engine::Engine;
use crate::graph::networks::{bev_decoder, head};
use crate::weights::Weights;

/// Builds a [`Pipeline`].
///
/// ```no_run
/// use bevfusion::config::ModelConfig;
/// use bevfusion::engine::{CpuEngine, EngineOptions};
/// use bevfusion::exec::PipelineBuilder;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let native = bevfusion::weights::load(std::path::Path::new("weights/nuscenes_L"))?;
/// let config = ModelConfig::from_toml_str(&native.model_toml, "model.toml")?;
/// let engine = CpuEngine::new(EngineOptions::default());
/// let mut pipeline = PipelineBuilder::new(config, &native.weights).build(&engine)?;
/// # let frame = bevfusion::input::Frame::default();
/// let report = *pipeline.run(&frame);
/// println!("{:?}: {} boxes", report.outcome, pipeline.detections().len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PipelineBuilder<'w> {
    config: ModelConfig,
    weights: &'w Weights,
    min_cameras: Option<usize>,
    policy: Option<CameraPolicy>,
}

impl<'w> PipelineBuilder<'w> {
    /// For a model and its weights.
    #[must_use]
    pub const fn new(config: ModelConfig, weights: &'w Weights) -> Self {
        Self {
            config,
            weights,
            min_cameras: None,
            policy: None,
        }
    }

    /// Fewest cameras of a frame; default: all of the model. A frame with at least this many is run with the
    /// frustums of the others left out, and is flagged as degraded. Comes before the number of a
    /// [`camera_policy`](Self::camera_policy).
    #[must_use]
    pub const fn min_cameras(mut self, min_cameras: usize) -> Self {
        self.min_cameras = Some(min_cameras);
        self
    }

    /// When a camera counts, and what happens to frames with too few; on a GPU in place of
    /// [`CudaOptions::cameras`].
    #[must_use]
    pub const fn camera_policy(mut self, policy: CameraPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The model.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Builds the networks and hands them to `engine`.
    ///
    /// # Errors
    /// When weights are missing or of another shape, or the engine refuses a network.
    pub fn build(self, engine: &dyn Engine) -> Result<Pipeline, BuildError> {
        let policy = self.checked_policy(CameraPolicy::default())?;
        let Self {
            config, weights, ..
        } = self;
        let lidar = config
            .lidar_encoder
            .as_ref()
            .map(|encoder| LidarBranch::new(&config, encoder, weights))
            .transpose()?;
        let camera = config
            .camera
            .as_ref()
            .map(|camera| CameraBranch::new(&config, camera, weights, engine))
            .transpose()?;
        let decoder = match config.bev_decoder {
            Some(_) => Some(engine.load(&bev_decoder(&config, weights)?)?),
            None => None,
        };
        let head = engine.load(&head(&config, weights)?)?;
        let dense = DenseNetworks::new(decoder, head);
        let parts = Parts {
            config: config.clone(),
            policy,
            lidar,
            camera,
            dense,
        };
        let pipeline = HostPipeline::new(parts);
        Ok(Pipeline::host(config, policy, engine.name(), pipeline))
    }

    /// Builds the pipeline on a GPU: everything from the clouds to the boxes.
    ///
    /// # Errors
    /// When there is no usable GPU, `min_cameras` is more than the model has, or weights are missing.
    pub fn build_cuda(self, options: &CudaOptions) -> Result<Pipeline, BuildError> {
        let mut options = *options;
        options.cameras = self.checked_policy(options.cameras)?;
        let pipeline = CudaPipeline::new(self.config, self.weights, &options)?;
        Ok(Pipeline::cuda(pipeline))
    }
    /// The policy that was asked for, or else `default`.
    fn checked_policy(&self, default: CameraPolicy) -> Result<CameraPolicy, BuildError> {
        let mut policy = self.policy.unwrap_or(default);
        policy.min_cameras = self.min_cameras.or(policy.min_cameras);
        let cameras = self.config.camera.as_ref();
        let cameras = cameras.map_or(0, |camera| camera.camera_order.len());
        match policy.min_cameras {
            Some(min_cameras) if min_cameras > cameras => Err(BuildError::MinCameras {
                min_cameras,
                cameras,
            }),
            _ => Ok(policy),
        }
    }
}
