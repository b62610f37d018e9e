//! The camera branch on the device: images to the camera BEV map.
//!
//! Swin and neck make features, the depth network weighs them by depth, pooling sums them into cells, three
//! convolutions bring the map to the size of the LiDAR's. What depends on the points, the depth image with its
//! first layers, is apart ([`enqueue_depth`](CameraProgram::enqueue_depth)), so that features do not wait.

use bevfusion_kernels::cuda::bev_pool::BevPool;
use bevfusion_kernels::cuda::dense_conv::{DenseConvKernels, MapSlice};
use bevfusion_kernels::cuda::depth_features::{
    DepthFeatureWeights, DepthFeatures, FIRST_CHANNELS, SECOND_CHANNELS,
};
use bevfusion_kernels::cuda::depth_image::{DepthImage, DepthImageConfig, PointSource};
use bevfusion_kernels::cuda::depth_softmax::{DepthSoftmax, DepthSoftmaxInputs};
use bevfusion_kernels::cuda::frame::FrameHeader;
use bevfusion_kernels::cuda::image::{ImageConfig, ImagePreprocess, PATCH_PITCH};
use bevfusion_kernels::cuda::layer_norm::LayerNormKernels;
use bevfusion_kernels::cuda::swin_mlp::SwinMlpKernels;
use bevfusion_kernels::cuda::view_tables::{ViewTables, ViewTablesConfig};
use bevfusion_kernels::cuda::window_attention::WindowAttentionKernels;
use bevfusion_kernels::driver::{DeviceArena, DriverError, PinnedSlice, Stream};

use super::dense::{DenseProgram, DenseRequest};
use super::layout::DenseMap;
use super::pool::MapMemory;
use super::steps::slice_of;
use super::swin::{SwinKernels, SwinMemory, SwinProgram};
use crate::camera::{behind_camera, depth_winner, frustum_params, pool_grid};
use crate::config::{CameraSpec, ModelConfig};
use crate::exec::BuildError;
use crate::graph::networks::{bev_downsample, depth_maps, depth_stem, image_neck};
use crate::weights::Weights;

/// Bounds of what cameras may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraCapacity {
    /// Largest width, height of a raw image (px).
    pub raw: [usize; 2],
    /// Pixels of a raw image that a lens may bend into the crop; 0: no undistortion.
    pub lens: usize,
}

impl CameraCapacity {
    /// For raw images of at most this width, height (px), without a lens to undistort.
    #[must_use]
    pub const fn of(raw: [usize; 2]) -> Self {
        Self { raw, lens: 0 }
    }
}

/// The camera branch, ready to be enqueued.
#[derive(Debug)]
pub struct CameraProgram {
    swin: SwinProgram,
    neck: DenseProgram,
    depth_image: DepthImage,
    depth_features: DepthFeatures,
    depth_maps: DenseProgram,
    softmax: DepthSoftmax,
    pool: BevPool,
    downsample: Option<DenseProgram>,
    tables: ViewTables,
    pooled: DenseMap,
}

impl CameraProgram {
    /// Takes memory and packs weights; the result goes into `bev`, the map that the next network reads.
    ///
    /// # Errors
    /// When a weight is missing, extents do not fit, or the GPU refuses.
    pub(super) fn new(
        arena: &DeviceArena,
        dense: &DenseConvKernels,
        (config, weights): (&ModelConfig, &Weights),
        points: &PointSource,
        (patches, tokens): (&MapSlice<u16>, &SwinMemory),
        (bev, memory): (&DenseMap, &MapMemory),
    ) -> Result<Self, BuildError> {
        let camera = config.camera.as_ref().ok_or_else(|| refuse("no cameras"))?;
        let (context, cameras) = (arena.context(), camera.camera_order.len());
        let (swin, neck, depth_maps) =
            features(arena, dense, (config, weights), (patches, tokens), memory)?;
        let stem_map = depth_maps.inputs().first();
        let stem_map = stem_map.ok_or_else(|| refuse("the depth network takes two maps"))?;
        let tables = ViewTablesConfig {
            cameras,
            frustum: frustum_params(camera),
            grid: pool_grid(camera),
        };
        let tables = ViewTables::new(context, arena, &tables)?;
        let image = DepthImageConfig {
            behind_camera: behind_camera(camera),
            winner: depth_winner(camera),
        };
        let depth_image = DepthImage::new(context, arena, &tables, points, &image)?;
        let depth_features = stem(arena, (config, weights), &depth_image, stem_map)?;
        let (softmax, downsample, pooled) = Self::behind(
            arena,
            dense,
            (config, weights),
            (&tables, &depth_image, &depth_maps),
            (bev, memory),
        )?;
        let pool = BevPool::new(
            context,
            arena,
            &tables,
            (softmax.lifted(), depth_image.frame()),
            &slice_of(&pooled).ok_or_else(|| refuse("the pooled map is not fp16"))?,
        )?;
        Ok(Self {
            swin,
            neck,
            depth_image,
            depth_features,
            depth_maps,
            softmax,
            pool,
            downsample,
            tables,
            pooled,
        })
    }

    /// Softmax, down-sampling and the map between them.
    fn behind(
        arena: &DeviceArena,
        dense: &DenseConvKernels,
        (config, weights): (&ModelConfig, &Weights),
        (tables, depth_image, depth_maps): (&ViewTables, &DepthImage, &DenseProgram),
        (bev, memory): (&DenseMap, &MapMemory),
    ) -> Result<(DepthSoftmax, Option<DenseProgram>, DenseMap), BuildError> {
        let camera = config.camera.as_ref().ok_or_else(|| refuse("no cameras"))?;
        let [logits, context] = depth_maps.outputs() else {
            return Err(refuse("the depth network makes two maps"));
        };
        let values = logits
            .float()
            .ok_or_else(|| refuse("logits are not float32"))?;
        let inputs = DepthSoftmaxInputs {
            logits: MapSlice {
                data: values.clone(),
                pitch: logits.pitch(),
                channel: logits.offset(),
            },
            context: slice_of(context).ok_or_else(|| refuse("the context is not fp16"))?,
            frame: depth_image.frame().clone(),
        };
        let channels = camera.view_transform.out_channels;
        let softmax = DepthSoftmax::new(
            arena.context(),
            arena,
            &tables.config().shape(),
            channels.next_multiple_of(8),
            &inputs,
        )?;
        let Some(graph) = bev_downsample(config, weights)? else {
            return Ok((softmax, None, bev.clone()));
        };
        let request = DenseRequest {
            given: &[("camera_bev", bev)],
            memory: Some(memory),
            ..DenseRequest::default()
        };
        let program = DenseProgram::new(dense, arena, &graph, request)?;
        let [pooled] = program.inputs() else {
            return Err(refuse("the down-sampling takes one map"));
        };
        let pooled = pooled.clone();
        Ok((softmax, Some(program), pooled))
    }

    /// Where calibrations become tables.
    #[must_use]
    pub const fn tables(&self) -> &ViewTables {
        &self.tables
    }

    /// The backbone.
    #[must_use]
    pub const fn swin(&self) -> &SwinProgram {
        &self.swin
    }

    /// The neck: `image_feats`.
    #[must_use]
    pub const fn neck(&self) -> &DenseProgram {
        &self.neck
    }

    /// The depth network behind its stem: logits and context.
    #[must_use]
    pub const fn depth_maps(&self) -> &DenseProgram {
        &self.depth_maps
    }

    /// The depth images of a frame.
    #[must_use]
    pub const fn depth_image(&self) -> &DepthImage {
        &self.depth_image
    }

    /// Probabilities and context as the pooling reads them.
    #[must_use]
    pub const fn softmax(&self) -> &DepthSoftmax {
        &self.softmax
    }

    /// The pooled map.
    #[must_use]
    pub const fn pooled(&self) -> &DenseMap {
        &self.pooled
    }

    /// Takes the frame's settings over and clears the depth images: before everything else of the branch.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_begin(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
    ) -> Result<(), DriverError> {
        self.depth_image.enqueue_begin(stream, header)
    }

    /// Enqueues backbone and neck.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_features(&self, stream: &Stream) -> Result<(), DriverError> {
        self.swin.enqueue(stream)?;
        self.neck.enqueue(stream)
    }

    /// Enqueues the depth images and their first layers: once the points of the frame are there.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_depth(&self, stream: &Stream) -> Result<(), DriverError> {
        self.depth_image.enqueue(stream)?;
        self.depth_features.enqueue(stream)
    }

    /// Enqueues the depth network and its softmax.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_depth_net(&self, stream: &Stream) -> Result<(), DriverError> {
        self.depth_maps.enqueue(stream)?;
        self.softmax.enqueue(stream)
    }

    /// Enqueues the pooling.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_pool(&self, stream: &Stream) -> Result<(), DriverError> {
        self.pool.enqueue(stream)
    }

    /// Enqueues the down-sampling, if the model has one.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_downsample(&self, stream: &Stream) -> Result<(), DriverError> {
        let downsample = self.downsample.as_ref();
        downsample.map_or(Ok(()), |program| program.enqueue(stream))
    }
}

/// Backbone, neck and the depth network behind its stem; each writes where the next one reads.
fn features(
    arena: &DeviceArena,
    dense: &DenseConvKernels,
    (config, weights): (&ModelConfig, &Weights),
    (patches, tokens): (&MapSlice<u16>, &SwinMemory),
    memory: &MapMemory,
) -> Result<(SwinProgram, DenseProgram, DenseProgram), BuildError> {
    let camera = config.camera.as_ref().ok_or_else(|| refuse("no cameras"))?;
    let (context, cameras) = (arena.context(), camera.camera_order.len());
    let graph = depth_maps(config, weights, cameras)?;
    let request = DenseRequest {
        float_outputs: &["depth_logits"],
        memory: Some(memory),
        ..DenseRequest::default()
    };
    let depth_maps = DenseProgram::new(dense, arena, &graph, request)?;
    let [_, features] = depth_maps.inputs() else {
        return Err(refuse("the depth network takes two maps"));
    };
    let graph = image_neck(config, weights, cameras)?;
    let request = DenseRequest {
        given: &[("image_feats", features)],
        memory: Some(memory),
        ..DenseRequest::default()
    };
    let neck = DenseProgram::new(dense, arena, &graph, request)?;
    let kernels = SwinKernels {
        dense: dense.clone(),
        attention: WindowAttentionKernels::load(context)?,
        norm: LayerNormKernels::load(context)?,
        mlp: SwinMlpKernels::load(context)?,
    };
    let images = (patches, tokens);
    let swin = SwinProgram::new(arena, &kernels, camera, weights, images, neck.inputs())?;
    Ok((swin, neck, depth_maps))
}

/// What turns raw images of a model into patches, with the patches as the backbone reads them.
pub(super) fn preprocess(
    arena: &DeviceArena,
    camera: &CameraSpec,
    capacity: CameraCapacity,
) -> Result<(ImagePreprocess, MapSlice<u16>), DriverError> {
    let config = ImageConfig {
        cameras: camera.camera_order.len(),
        image_size: camera.image_size,
        mean: camera.mean,
        std: camera.std,
        raw_capacity: capacity.raw,
        lens_capacity: capacity.lens,
    };
    let images = ImagePreprocess::new(arena.context(), arena, &config)?;
    let patches = MapSlice {
        data: images.output().clone(),
        pitch: PATCH_PITCH,
        channel: 0,
    };
    Ok((images, patches))
}

fn stem(
    arena: &DeviceArena,
    (config, weights): (&ModelConfig, &Weights),
    image: &DepthImage,
    map: &DenseMap,
) -> Result<DepthFeatures, BuildError> {
    let stem = depth_stem(config, weights)?;
    fn fixed<const N: usize>(values: &[f32]) -> Result<&[f32; N], BuildError> {
        let fixed = values.try_into();
        fixed.map_err(|_length| refuse("the depth image's layers have other channels"))
    }
    let weights = DepthFeatureWeights {
        first_weight: fixed::<FIRST_CHANNELS>(&stem.first_weight)?,
        first_bias: fixed::<FIRST_CHANNELS>(&stem.first_bias)?,
        second_weight: &stem.second_weight,
        second_bias: fixed::<SECOND_CHANNELS>(&stem.second_bias)?,
    };
    let out = slice_of(map).ok_or_else(|| refuse("the depth features are not fp16"))?;
    Ok(DepthFeatures::new(
        arena.context(),
        arena,
        image,
        &weights,
        &out,
    )?)
}

fn refuse(problem: &str) -> BuildError {
    BuildError::Driver(DriverError::Arguments {
        kernel: "camera branch",
        problem: problem.to_owned(),
    })
}
