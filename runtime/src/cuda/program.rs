//! Everything that a frame runs on the device, in order.
//!
//! With cameras a frame has two branches. The LiDAR's runs beside the camera's and both meet in the fuser:
//! two streams, which a captured graph keeps apart. The depth images wait for the points only.

use bevfusion_kernels::cuda::decoder::{CrossShape, Decoder, DecoderConfig, DecoderInputs};
use bevfusion_kernels::cuda::dense_conv::{DenseConvKernels, MapSlice};
use bevfusion_kernels::cuda::depth_image::PointSource;
use bevfusion_kernels::cuda::frame::FrameHeader;
use bevfusion_kernels::cuda::postprocess::{Postprocess, PostprocessInputs};
use bevfusion_kernels::cuda::proposals::Proposals;
use bevfusion_kernels::cuda::sparse_conv::SparseConvKernels;
use bevfusion_kernels::cuda::sweep::Sweep;
use bevfusion_kernels::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Event, PinnedSlice, Priority, Stream,
};
use std::sync::Arc;

use super::camera::CameraProgram;
use super::dense::{DenseProgram, DenseRequest};
use super::encoder::{LidarProgram, sweep};
use super::layout::DenseMap;
use super::pool::MapMemory;
use super::swin::SwinMemory;
use crate::config::ModelConfig;
use crate::exec::{BuildError, StageId};
use crate::graph::networks::{bev_decoder, head};
use crate::head::{device_settings, proposal_config};
use crate::weights::Weights;

/// Channels that the query kernels read of every cell.
const QUERY_CHANNELS: usize = 128;

/// The kernels that a model's layers are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels<'a> {
    pub(super) dense: &'a DenseConvKernels,
    pub(super) sparse: &'a SparseConvKernels,
}

/// A model's kernels with their weights and memory.
#[derive(Debug)]
pub struct Detector {
    sweep: Sweep,
    lidar: Option<LidarProgram>,
    camera: Option<CameraProgram>,
    bev_decoder: Option<DenseProgram>,
    head_maps: DenseProgram,
    proposals: Proposals,
    decoder: Decoder,
    postprocess: Postprocess,
}

/// The two streams of a frame and where they part and meet.
#[derive(Debug)]
pub struct Streams {
    /// Cameras, fusion, head.
    pub(super) main: Stream,
    /// LiDAR of a model with cameras.
    side: Stream,
    fork: Event,
    points: Event,
    joined: Event,
}

impl Streams {
    /// New streams.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(context: &Arc<Context>) -> Result<Self, DriverError> {
        let event = || Event::ordering(context);
        Ok(Self {
            main: Stream::new(context, Priority::High)?,
            side: Stream::new(context, Priority::Normal)?,
            fork: event()?,
            points: event()?,
            joined: event()?,
        })
    }

    /// The stream on which a frame begins and ends.
    #[must_use]
    pub const fn main(&self) -> &Stream {
        &self.main
    }
}

/// The beginning or the end of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Begin,
    End,
}

/// What is told of a stage on its stream.
pub(super) type Mark<'a> = dyn FnMut(StageId, Moment, &Stream) -> Result<(), DriverError> + 'a;

impl Detector {
    /// Takes memory and packs weights. `patches` are the images of a model with cameras.
    ///
    /// # Errors
    /// When the model needs what the engine lacks, a weight is missing, or the GPU refuses.
    pub(super) fn new(
        arena: &DeviceArena,
        kernels: Kernels<'_>,
        (config, weights): (&ModelConfig, &Weights),
        patches: Option<&MapSlice<u16>>,
        point_capacity: usize,
    ) -> Result<Self, BuildError> {
        let (dense, model) = (kernels.dense, (config, weights));
        // All dense networks run one after the other.
        let memory = MapMemory::default();
        let camera = config.camera.as_ref();
        let tokens = camera
            .map(|camera| SwinMemory::new(arena, camera))
            .transpose()?;
        if let Some(tokens) = &tokens {
            tokens.lend(&memory);
        }
        let bev_decoder = match config.bev_decoder {
            Some(_) => {
                let graph = bev_decoder(config, weights)?;
                let request = DenseRequest {
                    memory: Some(&memory),
                    ..DenseRequest::default()
                };
                Some(DenseProgram::new(dense, arena, &graph, request)?)
            }
            None => None,
        };
        let features = bev_decoder.as_ref().map(DenseProgram::outputs);
        let query = head::query_weights(config, weights)?;
        let graph = head::head_maps(config, weights, &query)?;
        let given: Vec<(&str, &DenseMap)> = (features.unwrap_or_default().iter())
            .map(|map| ("bev_features", map))
            .collect();
        let request = DenseRequest {
            float_outputs: &["heatmap"],
            least_pitch: &[("shared", QUERY_CHANNELS)],
            given: &given,
            memory: Some(&memory),
        };
        let head_maps = DenseProgram::new(dense, arena, &graph, request)?;
        // What the branches write: the decoder's inputs, or without one the head's.
        let inputs = bev_decoder.as_ref().unwrap_or(&head_maps).inputs();
        let sweep = sweep(arena, config, point_capacity)?;
        let sources = (&sweep, patches.zip(tokens.as_ref()));
        let (lidar, camera) = branches(arena, kernels, model, sources, (inputs, &memory))?;
        let (proposals, decoder, postprocess) = queries(arena, config, &query, &head_maps)?;
        Ok(Self {
            sweep,
            lidar,
            camera,
            bev_decoder,
            head_maps,
            proposals,
            decoder,
            postprocess,
        })
    }

    /// How clouds are described, how many points fit, and the frame's counts.
    #[must_use]
    pub const fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// Voxels and the sparse encoder.
    #[must_use]
    pub const fn lidar(&self) -> Option<&LidarProgram> {
        self.lidar.as_ref()
    }

    /// The camera branch.
    #[must_use]
    pub const fn camera(&self) -> Option<&CameraProgram> {
        self.camera.as_ref()
    }

    /// Fuser, SECOND and SECONDFPN.
    #[must_use]
    pub const fn bev_decoder(&self) -> Option<&DenseProgram> {
        self.bev_decoder.as_ref()
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

    /// Enqueues a whole frame.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_frame(
        &self,
        streams: &Streams,
        header: &PinnedSlice<FrameHeader>,
    ) -> Result<(), DriverError> {
        self.enqueue(streams, header, &mut |_stage, _moment, _stream| Ok(()))
    }

    /// Enqueues a frame on the main stream; what runs beside it has ended when it goes on behind it.
    pub(super) fn enqueue(
        &self,
        streams: &Streams,
        header: &PinnedSlice<FrameHeader>,
        mark: &mut Mark<'_>,
    ) -> Result<(), DriverError> {
        let main = &streams.main;
        match &self.camera {
            None => self.enqueue_points(main, header, mark)?,
            Some(camera) => {
                streams.fork.record(main)?;
                streams.side.wait(&streams.fork)?;
                camera.enqueue_begin(main, header)?;
                self.enqueue_sweep(&streams.side, header, mark)?;
                streams.points.record(&streams.side)?;
                self.enqueue_lidar(&streams.side, mark)?;
                streams.joined.record(&streams.side)?;
                enqueue_camera(camera, streams, mark)?;
                main.wait(&streams.joined)?;
            }
        }
        let mut stage = |stage, run: &dyn Fn() -> Result<(), DriverError>| {
            mark(stage, Moment::Begin, main)?;
            run()?;
            mark(stage, Moment::End, main)
        };
        if let Some(decoder) = &self.bev_decoder {
            stage(StageId::BevDecoder, &|| decoder.enqueue(main))?;
        }
        stage(StageId::Head, &|| self.enqueue_head(main))?;
        stage(StageId::Postprocess, &|| self.postprocess.enqueue(main))
    }

    fn enqueue_points(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
        mark: &mut Mark<'_>,
    ) -> Result<(), DriverError> {
        self.enqueue_sweep(stream, header, mark)?;
        self.enqueue_lidar(stream, mark)
    }

    fn enqueue_sweep(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
        mark: &mut Mark<'_>,
    ) -> Result<(), DriverError> {
        mark(StageId::Sweeps, Moment::Begin, stream)?;
        if let Some(lidar) = &self.lidar {
            lidar.enqueue_empty_map(stream)?;
        }
        self.sweep.enqueue(stream, header)?;
        mark(StageId::Sweeps, Moment::End, stream)
    }

    fn enqueue_lidar(&self, stream: &Stream, mark: &mut Mark<'_>) -> Result<(), DriverError> {
        let Some(lidar) = &self.lidar else {
            return Ok(());
        };
        mark(StageId::Voxelize, Moment::Begin, stream)?;
        lidar.enqueue_voxels(stream)?;
        mark(StageId::Voxelize, Moment::End, stream)?;
        mark(StageId::SparseEncoder, Moment::Begin, stream)?;
        lidar.enqueue_encoder(stream)?;
        mark(StageId::SparseEncoder, Moment::End, stream)
    }
}

/// The camera branch on the main stream, which waits for the points of the side stream.
fn enqueue_camera(
    camera: &CameraProgram,
    streams: &Streams,
    mark: &mut Mark<'_>,
) -> Result<(), DriverError> {
    let main = &streams.main;
    let mut stage = |stage, run: &dyn Fn() -> Result<(), DriverError>| {
        mark(stage, Moment::Begin, main)?;
        run()?;
        mark(stage, Moment::End, main)
    };
    stage(StageId::CameraBackbone, &|| camera.enqueue_features(main))?;
    main.wait(&streams.points)?;
    stage(StageId::DepthNet, &|| {
        camera.enqueue_depth(main)?;
        camera.enqueue_depth_net(main)
    })?;
    stage(StageId::BevPool, &|| camera.enqueue_pool(main))?;
    stage(StageId::BevDownsample, &|| camera.enqueue_downsample(main))
}

/// The branches that the model has; each writes its own of `inputs`, camera first.
fn branches(
    arena: &DeviceArena,
    kernels: Kernels<'_>,
    (config, weights): (&ModelConfig, &Weights),
    (sweep, images): (&Sweep, Option<(&MapSlice<u16>, &SwinMemory)>),
    (inputs, memory): (&[DenseMap], &MapMemory),
) -> Result<(Option<LidarProgram>, Option<CameraProgram>), BuildError> {
    let missing = || refuse("the branches and the maps that they write do not fit together");
    let camera_bev = inputs.first().ok_or_else(missing)?;
    let lidar_bev = inputs.last().ok_or_else(missing)?;
    let branches =
        usize::from(config.camera.is_some()) + usize::from(config.lidar_encoder.is_some());
    if branches != inputs.len() {
        return Err(missing());
    }
    let camera = match (&config.camera, images) {
        (Some(_), Some(images)) => {
            let points = PointSource::from(sweep);
            let model = (config, weights);
            let dense = kernels.dense;
            Some(CameraProgram::new(
                arena,
                dense,
                model,
                &points,
                images,
                (camera_bev, memory),
            )?)
        }
        (None, None) => None,
        _ => return Err(missing()),
    };
    let lidar = match &config.lidar_encoder {
        Some(_) => {
            let sparse = kernels.sparse;
            Some(LidarProgram::new(
                arena, sparse, config, weights, lidar_bev, sweep,
            )?)
        }
        None => None,
    };
    Ok((lidar, camera))
}

/// Proposals, query decoder and what makes boxes of them.
fn queries(
    arena: &DeviceArena,
    config: &ModelConfig,
    query: &head::QueryWeights,
    head_maps: &DenseProgram,
) -> Result<(Proposals, Decoder, Postprocess), BuildError> {
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
    Ok((proposals, decoder, postprocess))
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
