//! Everything that a LiDAR frame runs on the device, in order.

use bevfusion_kernels::cuda::decoder::{CrossShape, Decoder, DecoderConfig, DecoderInputs};
use bevfusion_kernels::cuda::dense_conv::DenseConvKernels;
use bevfusion_kernels::cuda::frame::FrameHeader;
use bevfusion_kernels::cuda::postprocess::{Postprocess, PostprocessInputs};
use bevfusion_kernels::cuda::proposals::Proposals;
use bevfusion_kernels::cuda::sparse_conv::SparseConvKernels;
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError, PinnedSlice, Stream};

use super::dense::{DenseProgram, DenseRequest};
use super::encoder::LidarProgram;
use super::layout::DenseMap;
use crate::config::ModelConfig;
use crate::exec::{BuildError, StageId};
use crate::graph::networks::{bev_decoder, head};
use crate::head::{device_settings, proposal_config};
use crate::weights::Weights;

/// Channels that the query kernels read of every cell.
const QUERY_CHANNELS: usize = 128;

/// A LiDAR model's kernels with their weights and memory.
#[derive(Debug)]
pub struct LidarDetector {
    lidar: LidarProgram,
    bev_decoder: DenseProgram,
    head_maps: DenseProgram,
    proposals: Proposals,
    decoder: Decoder,
    postprocess: Postprocess,
}

impl LidarDetector {
    /// Takes memory and packs weights.
    ///
    /// # Errors
    /// When the model needs what the engine lacks, a weight is missing, or the GPU refuses.
    pub(super) fn new(
        arena: &DeviceArena,
        (dense, sparse): (&DenseConvKernels, &SparseConvKernels),
        config: &ModelConfig,
        weights: &Weights,
        point_capacity: usize,
    ) -> Result<Self, BuildError> {
        if config.camera.is_some() {
            return Err(refuse(
                "models with cameras do not run on the CUDA engine yet: use the CPU engine",
            ));
        }
        let graph = bev_decoder(config, weights)?;
        let bev_decoder = DenseProgram::new(dense, arena, &graph, DenseRequest::default())?;
        let query = head::query_weights(config, weights)?;
        let graph = head::head_maps(config, weights, &query)?;
        let request = DenseRequest {
            float_outputs: &["heatmap"],
            least_pitch: &[("shared", QUERY_CHANNELS)],
        };
        let features = bev_decoder.outputs();
        let head_maps = DenseProgram::reading(dense, arena, &graph, request, features)?;
        let [lidar_bev] = bev_decoder.inputs() else {
            return Err(refuse("the BEV decoder takes one map, the LiDAR's"));
        };
        let lidar = LidarProgram::new(arena, sparse, config, weights, lidar_bev, point_capacity)?;
        let [shared, heatmap, key_value] = head_maps.outputs() else {
            return Err(refuse("the head's maps are three"));
        };
        let logits = heatmap
            .float()
            .ok_or_else(|| refuse("logits are not float32"))?;
        let settings = proposal_config(config, heatmap.size(), heatmap.pitch());
        let context = arena.context();
        let proposals = Proposals::new(context, arena, &settings, logits)?;
        let shape = decoder_config(config, heatmap.size());
        let inputs = DecoderInputs {
            shared: half(shared)?,
            key_values: half(key_value)?,
            proposals: &proposals,
        };
        let wide = head::widened_decoder(config, &query.decoder)?;
        let decoder = Decoder::new(context, arena, &shape, &wide, &inputs)?;
        let found = decoder.outputs();
        let inputs = PostprocessInputs {
            bbox_pred: &found.bbox_pred,
            score: &found.score,
            label: &found.label,
        };
        let postprocess = Postprocess::new(context, arena, &device_settings(config)?, &inputs)?;
        Ok(Self {
            lidar,
            bev_decoder,
            head_maps,
            proposals,
            decoder,
            postprocess,
        })
    }

    /// Sweeps, voxels and the sparse encoder.
    #[must_use]
    pub const fn lidar(&self) -> &LidarProgram {
        &self.lidar
    }

    /// SECOND and SECONDFPN.
    #[must_use]
    pub const fn bev_decoder(&self) -> &DenseProgram {
        &self.bev_decoder
    }

    /// The dense part of the head: shared features, heatmap, keys and values.
    #[must_use]
    pub const fn head_maps(&self) -> &DenseProgram {
        &self.head_maps
    }

    /// The best local maxima.
    #[must_use]
    pub const fn proposals(&self) -> &Proposals {
        &self.proposals
    }

    /// The query decoder.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Counts and boxes of a frame.
    #[must_use]
    pub const fn output(&self) -> &DeviceSlice<u32> {
        self.postprocess.output()
    }

    /// Enqueues the head: its maps, proposals and the query decoder.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_head(&self, stream: &Stream) -> Result<(), DriverError> {
        self.head_maps.enqueue(stream)?;
        self.proposals.enqueue(stream)?;
        self.decoder.enqueue(stream)
    }

    /// Enqueues decoding, filters and suppression alone.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_postprocess(&self, stream: &Stream) -> Result<(), DriverError> {
        self.postprocess.enqueue(stream)
    }

    /// Enqueues a frame; `mark(stage)` is called behind each stage.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
        mut mark: impl FnMut(StageId) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.lidar.enqueue_voxels(stream, header)?;
        mark(StageId::Voxelize)?;
        self.lidar.enqueue_encoder(stream)?;
        mark(StageId::SparseEncoder)?;
        self.bev_decoder.enqueue(stream)?;
        mark(StageId::BevDecoder)?;
        self.enqueue_head(stream)?;
        mark(StageId::Head)?;
        self.postprocess.enqueue(stream)?;
        mark(StageId::Postprocess)
    }
}

fn decoder_config(config: &ModelConfig, size: [usize; 2]) -> DecoderConfig {
    DecoderConfig {
        size,
        classes: config.class_names.len(),
        proposals: config.head.num_proposals,
        channels: config.head.hidden_channels,
        cross: CrossShape::default(),
    }
}

fn half(map: &DenseMap) -> Result<&DeviceSlice<u16>, BuildError> {
    map.half()
        .ok_or_else(|| refuse("a map of the head is not fp16"))
}

fn refuse(problem: &str) -> BuildError {
    let problem = problem.to_owned();
    BuildError::Driver(DriverError::Arguments {
        kernel: "cuda engine",
        problem,
    })
}
