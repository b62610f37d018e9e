//! LiDAR bytes to boxes on the GPU, one graph launch per frame.
//!
//! [`CudaPipeline::new`] loads kernels, packs weights, plans memory, captures one CUDA graph per slot and runs
//! it once. A frame is then: write the clouds' places into the slot's pinned header, launch, and later read
//! boxes from pinned memory. Images are taken when they arrive ([`push_image`](CudaPipeline::push_image)).
//! Nothing is allocated and the host waits for nothing but the slot's last event.

use std::sync::Arc;
use std::time::Duration;

use bevfusion_kernels::cuda::dense_conv::{ConvChoice, DenseConvKernels};
use bevfusion_kernels::cuda::frame::{CloudData, CloudHeader, MAX_CLOUDS, RowLayout};
use bevfusion_kernels::cuda::image::Resampling;
use bevfusion_kernels::cuda::sparse_conv::SparseConvKernels;
use bevfusion_kernels::driver::{
    ArenaEntry, Context, DeviceArena, DeviceSlice, DriverError, PinnedSlice,
};
use bevfusion_kernels::reference::image::{Lens, RawImage};
use bevfusion_kernels::reference::sweep::CloudPlacement;

use super::camera::CameraCapacity;
use super::images::{CameraInputs, DeviceImage, FrameCameras, ImageRefusal};
use super::memory::by_purpose;
use super::program::{Detector, Kernels, Streams};
use super::slot::{Slot, StageSpan, read_frame};
use crate::camera::{CameraMatrices, Matrix4};
use crate::config::ModelConfig;
use crate::exec::{
    BuildError, CameraPolicy, CameraStates, FaultCode, FrameFault, FrameOutcome, FrameReport,
    StageId, SubmitError, Ticket,
};
use crate::geometry::CameraCalibration;
use crate::input::{Frame, PointCloud};
use crate::lidar::{check_cloud, placement};
use crate::output::Detection;
use crate::weights::Weights;

/// Settings of the CUDA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Which GPU.
    pub device: u32,
    /// Points of a frame, all clouds together; more are clipped and counted.
    pub point_capacity: usize,
    /// Frames that may be under way at a time.
    pub slots: usize,
    /// Whether a frame is launched as one graph; otherwise kernel by kernel, for comparison.
    pub graph: bool,
    /// Whether stages are timed by events inside the graph.
    pub timed: bool,
    /// Which convolution kernels.
    pub kernels: ConvChoice,
    /// When a camera counts.
    pub cameras: CameraPolicy,
    /// What cameras may send; not looked at without cameras.
    pub images: CameraCapacity,
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self {
            device: 0,
            point_capacity: 400_000,
            slots: 2,
            graph: true,
            timed: false,
            kernels: ConvChoice::Auto,
            cameras: CameraPolicy::default(),
            images: CameraCapacity::of([1920, 1280]),
        }
    }
}

/// A cloud that the GPU can read where it is: in device or pinned memory.
#[derive(Clone, Copy, Debug)]
pub struct DeviceCloud<'a> {
    /// Where its rows are. They must stay there until the frame is done.
    pub data: CloudData,
    /// What a row holds.
    pub layout: &'a RowLayout,
    /// How it gets into the key frame.
    pub placement: CloudPlacement,
}

/// A model on a GPU.
#[derive(Debug)]
pub struct CudaPipeline {
    config: ModelConfig,
    context: Arc<Context>,
    streams: Streams,
    slots: Vec<Slot>,
    detector: Arc<Detector>,
    cameras: Option<CameraInputs>,
    policy: CameraPolicy,
    /// Of the frame that was looked at last.
    states: CameraStates,
    memory: Vec<ArenaEntry>,
    layout: RowLayout,
    submitted: u64,
    fetched: u64,
    detections: Vec<Detection>,
    spans: Vec<StageSpan>,
    report: FrameReport,
}

impl CudaPipeline {
    /// Builds the pipeline and runs it once.
    ///
    /// # Errors
    /// When there is no usable GPU, the model needs what the engine lacks, or weights are missing.
    pub fn new(
        config: ModelConfig,
        weights: &Weights,
        options: &CudaOptions,
    ) -> Result<Self, BuildError> {
        let context = Context::new(options.device)?;
        let arena = DeviceArena::new(&context);
        let dense = DenseConvKernels::load(&context, options.kernels)?;
        let sparse = SparseConvKernels::load(&context, options.kernels)?;
        let camera = config.camera.as_ref();
        let images =
            camera.map(|camera| CameraInputs::new(&context, &arena, camera, options.images));
        let (mut cameras, patches) = images.transpose()?.unzip();
        let kernels = Kernels {
            dense: &dense,
            sparse: &sparse,
        };
        let (model, capacity) = ((&config, weights), options.point_capacity);
        let detector = Detector::new(&arena, kernels, model, patches.as_ref(), capacity)?;
        arena.seal();
        let detector = Arc::new(detector);
        if let Some(cameras) = &mut cameras {
            cameras.tables_mut().attach(&detector);
        }
        let streams = Streams::new(&context)?;
        let load_dim = config.points.load_dim;
        let slots = (0..options.slots.max(1))
            .map(|_| Slot::new(&streams, &detector, options, load_dim))
            .collect::<Result<Vec<_>, DriverError>>()?;
        let mut pipeline = Self {
            detections: Vec::with_capacity(config.head.num_proposals),
            layout: RowLayout::floats(load_dim),
            report: FrameReport::new(),
            submitted: 0,
            fetched: 0,
            spans: Vec::with_capacity(StageId::COUNT),
            policy: options.cameras,
            states: CameraStates::default(),
            cameras,
            config,
            context,
            streams,
            slots,
            memory: by_purpose(arena.entries()),
            detector,
        };
        pipeline.warm_up()?;
        Ok(pipeline)
    }

    /// The model.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The GPU.
    #[must_use]
    pub const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// What runs in a frame.
    #[must_use]
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Device memory by purpose, most first. No more is taken.
    #[must_use]
    pub fn memory(&self) -> &[ArenaEntry] {
        &self.memory
    }

    /// Kernels, copies and fills of a frame.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.slots.first().map_or(0, Slot::nodes)
    }

    /// Pinned memory for points that are submitted without a copy.
    ///
    /// # Errors
    /// When the system has none left to lock.
    pub fn pinned_points(&self, values: usize) -> Result<PinnedSlice<f32>, DriverError> {
        PinnedSlice::new(&self.context, values)
    }

    /// Boxes of the frame that was fetched last.
    #[must_use]
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// When the stages of the frame that was fetched last ran; empty unless
    /// [`timed`](CudaOptions::timed).
    #[must_use]
    pub fn spans(&self) -> &[StageSpan] {
        &self.spans
    }

    /// Fewest cameras of a frame.
    #[must_use]
    pub fn min_cameras(&self) -> usize {
        let cameras = self.config.camera.as_ref();
        let cameras = cameras.map_or(0, |camera| camera.camera_order.len());
        self.policy.least(cameras)
    }

    /// When a camera counts.
    #[must_use]
    pub const fn camera_policy(&self) -> &CameraPolicy {
        &self.policy
    }

    /// Takes the calibration of a camera, by its place in `camera_order`. It holds from the next frame on;
    /// frames under way keep theirs.
    ///
    /// # Errors
    /// When there is no such camera or a matrix cannot be inverted; the earlier calibration stays.
    pub fn set_calibration(
        &mut self,
        camera: usize,
        calibration: CameraCalibration,
    ) -> Result<(), ImageRefusal> {
        self.context.bind()?;
        self.camera_inputs(camera)?.0.calibrate(camera, calibration)
    }

    /// How the images of a camera become the network's, from the next one on: `lens` straightens them first,
    /// within the room of [`CameraCapacity::lens`]; intrinsics are then those of its `projection`.
    ///
    /// # Errors
    /// When there is no such camera. A lens without meaning or room is refused with the next image.
    pub fn set_lens(
        &mut self,
        camera: usize,
        lens: Option<Lens>,
        resampling: Resampling,
    ) -> Result<(), ImageRefusal> {
        let (inputs, _streams) = self.camera_inputs(camera)?;
        inputs.set_lens(camera, lens, resampling)
    }

    /// Takes an image out of ordinary memory: copies it, starts the upload and the preprocessing. `stamp_ns`
    /// is when it was taken.
    ///
    /// # Errors
    /// When there is no such camera, the image is not one that the camera may send (it then counts as
    /// rejected until the next good one), or earlier images are still on their way.
    pub fn push_image(
        &mut self,
        camera: usize,
        image: &RawImage<'_>,
        stamp_ns: i64,
    ) -> Result<(), ImageRefusal> {
        self.context.bind()?;
        let (inputs, streams) = self.camera_inputs(camera)?;
        inputs.push(&streams.main, camera, image, stamp_ns)
    }

    /// Takes images that the GPU reads where they are, in device or pinned memory; they must stay there
    /// until the next frame is done. All are preprocessed by one launch.
    ///
    /// # Errors
    /// As [`push_image`](Self::push_image), for the first that is refused; the others are taken.
    pub fn push_device_images(&mut self, images: &[DeviceImage]) -> Result<(), ImageRefusal> {
        self.context.bind()?;
        let camera = images.first().map_or(0, |image| image.camera);
        let (inputs, streams) = self.camera_inputs(camera)?;
        inputs.push_device(&streams.main, images)
    }

    /// Forgets the images of a camera: it is missing until the next one.
    pub fn forget_images(&mut self, camera: usize) {
        if let Some(inputs) = &mut self.cameras {
            inputs.forget(camera);
        }
    }

    /// Pools by the given ranks of frustum points `[N, D, h, w]`, (x · Y + y) · Z + z or negative, in place
    /// of those that follow from the calibration: two implementations can only be compared closely when
    /// points on a cell border fall to the same side.
    pub fn override_ranks(&mut self, ranks: DeviceSlice<i32>) {
        if let Some(inputs) = &mut self.cameras {
            inputs.tables_mut().override_ranks(ranks);
        }
    }

    /// Takes the float32 matrices of all cameras themselves and the LiDAR augmentation, in place of
    /// calibrations and test-time augmentation.
    pub fn override_matrices(&mut self, cameras: &[CameraMatrices], lidar_aug_matrix: Matrix4) {
        if let Some(inputs) = &mut self.cameras {
            let tables = inputs.tables_mut();
            tables.override_matrices(cameras, lidar_aug_matrix);
        }
    }

    fn camera_inputs(
        &mut self,
        camera: usize,
    ) -> Result<(&mut CameraInputs, &Streams), ImageRefusal> {
        let inputs = self.cameras.as_mut();
        let inputs = inputs.ok_or(ImageRefusal::Camera { camera, cameras: 0 })?;
        Ok((inputs, &self.streams))
    }

    /// Takes a frame whose clouds and images lie in ordinary memory: copies them and starts.
    ///
    /// # Errors
    /// When all slots are taken or the frame does not fit the model.
    pub fn submit(&mut self, frame: &Frame) -> Result<Ticket, SubmitError> {
        let mut clouds = Clouds::default();
        let slot = self.free_slot()?;
        let (spec, layout) = (&self.config.points, &self.layout);
        let mut copy = |cloud: &PointCloud, placement: CloudPlacement| {
            check_cloud(spec, cloud, String::new).map_err(|error| FrameFault {
                code: FaultCode::PointColumns,
                stage: StageId::Sweeps,
                detail: error.columns() as u64,
            })?;
            let data = self.slots[slot].stage(&cloud.values, layout.stride);
            clouds.push(&self.detector, data, layout, &placement)
        };
        copy(&frame.points, CloudPlacement::KEY)?;
        for sweep in frame.sweeps.iter().take(spec.sweeps_num) {
            copy(&sweep.cloud, placement(spec, sweep))?;
        }
        self.take_images(frame)?;
        self.start(slot, &clouds, frame.cloud_ns())
    }

    /// The images of a frame. A camera whose image or calibration is not taken is not used; whether the
    /// others are enough is seen when the frame starts.
    fn take_images(&mut self, frame: &Frame) -> Result<(), SubmitError> {
        let Some(inputs) = &mut self.cameras else {
            return Ok(());
        };
        let taken = (self.context.bind().map_err(ImageRefusal::from))
            .and_then(|()| inputs.push_frame(&self.streams.main, frame));
        taken.map_err(|refusal| match refusal {
            ImageRefusal::Busy { .. } => SubmitError::Full,
            _ => device_fault().into(),
        })
    }

    /// Takes a frame whose clouds the GPU can read where they are; the key cloud comes first. Its cameras'
    /// newest images are used as far as they belong to `stamp_ns`, when the key cloud was taken.
    ///
    /// # Errors
    /// When all slots are taken, the clouds do not fit the model, or too few cameras are fresh.
    pub fn submit_device(
        &mut self,
        clouds: &[DeviceCloud<'_>],
        stamp_ns: i64,
    ) -> Result<Ticket, SubmitError> {
        let slot = self.free_slot()?;
        let mut headers = Clouds::default();
        for cloud in clouds {
            headers.push(&self.detector, cloud.data, cloud.layout, &cloud.placement)?;
        }
        self.start(slot, &headers, stamp_ns)
    }

    /// Whether a frame is the next to be fetched.
    #[must_use]
    pub const fn is_next(&self, ticket: Ticket) -> bool {
        ticket.0 == self.fetched && self.fetched < self.submitted
    }

    /// The report of a frame, if it is done. Frames are fetched in the order in which they were
    /// submitted; [`detections`](Self::detections) then holds the boxes.
    pub fn poll(&mut self, ticket: Ticket) -> Option<&FrameReport> {
        if !self.is_next(ticket) {
            return None;
        }
        let slot = self.slot_of(ticket.0);
        match self.slots[slot].is_done() {
            Ok(false) => return None,
            Ok(true) => {
                let slot = &self.slots[slot];
                let (counts, cameras) = (slot.counts(), slot.cameras());
                self.report = read_frame(slot.output(), counts, cameras, &mut self.detections);
                slot.read_spans(&mut self.spans);
                for span in &self.spans {
                    let time = f64::from((span.end_us - span.begin_us).max(0.0)) * 1e-6;
                    self.report.stage_times[span.stage as usize] = Duration::from_secs_f64(time);
                }
            }
            Err(_device) => {
                self.detections.clear();
                self.report = FrameReport::new();
                self.report.outcome = FrameOutcome::Dropped(device_fault());
            }
        }
        self.fetched += 1;
        Some(&self.report)
    }

    /// The report of the oldest frame that was submitted; spins until it is done.
    pub fn wait(&mut self, ticket: Ticket) -> Option<&FrameReport> {
        if !self.is_next(ticket) {
            return None;
        }
        while self.poll(ticket).is_none() {
            std::hint::spin_loop();
        }
        Some(&self.report)
    }

    /// Submits and waits.
    pub fn run(&mut self, frame: &Frame) -> &FrameReport {
        let mut taken = self.submit(frame);
        // Without frames under way only images and tables can be: they arrive soon.
        while self.is_idle() && taken == Err(SubmitError::Full) {
            std::hint::spin_loop();
            taken = self.submit(frame);
        }
        self.finish(taken)
    }

    /// Submits clouds that the GPU can read and waits.
    pub fn run_device(&mut self, clouds: &[DeviceCloud<'_>], stamp_ns: i64) -> &FrameReport {
        let mut taken = self.submit_device(clouds, stamp_ns);
        while self.is_idle() && taken == Err(SubmitError::Full) {
            std::hint::spin_loop();
            taken = self.submit_device(clouds, stamp_ns);
        }
        self.finish(taken)
    }

    const fn is_idle(&self) -> bool {
        self.submitted == self.fetched
    }

    fn finish(&mut self, taken: Result<Ticket, SubmitError>) -> &FrameReport {
        let fault = match taken {
            Ok(ticket) => {
                let _fetched = self.wait(ticket);
                return &self.report;
            }
            Err(SubmitError::Frame(fault)) => fault,
            Err(SubmitError::Full) => device_fault(),
        };
        self.detections.clear();
        self.report = FrameReport::new();
        self.report.outcome = FrameOutcome::Dropped(fault);
        self.report.cameras = self.states;
        &self.report
    }

    fn free_slot(&mut self) -> Result<usize, SubmitError> {
        self.states = CameraStates::default();
        if self.submitted - self.fetched >= self.slots.len() as u64 {
            return Err(SubmitError::Full);
        }
        let slot = self.slot_of(self.submitted);
        self.slots[slot].clear();
        Ok(slot)
    }

    fn slot_of(&self, ticket: u64) -> usize {
        (ticket % self.slots.len() as u64) as usize
    }

    fn start(
        &mut self,
        slot: usize,
        clouds: &Clouds,
        stamp_ns: i64,
    ) -> Result<Ticket, SubmitError> {
        let (cameras, is_lidar_only) = self.frame_cameras(stamp_ns)?;
        self.launch(slot, clouds, cameras, is_lidar_only)
            .map_err(|_device| device_fault())?;
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        Ok(ticket)
    }

    /// The cameras of a frame, and whether it is run without them.
    fn frame_cameras(&mut self, stamp_ns: i64) -> Result<(FrameCameras, bool), SubmitError> {
        let policy = self.policy;
        let Some(inputs) = &mut self.cameras else {
            return Ok((FrameCameras::default(), false));
        };
        let taken =
            (self.context.bind()).and_then(|()| inputs.take(&self.streams.main, stamp_ns, &policy));
        let cameras = taken.map_err(|_device| device_fault())?;
        let cameras = cameras.ok_or(SubmitError::Full)?;
        self.states = cameras.states;
        let has_lidar = self.config.lidar_encoder.is_some();
        let is_lidar_only = policy.runs_lidar_only(&cameras.states, has_lidar)?;
        Ok((cameras, is_lidar_only))
    }

    fn launch(
        &mut self,
        slot: usize,
        clouds: &Clouds,
        cameras: FrameCameras,
        is_lidar_only: bool,
    ) -> Result<(), DriverError> {
        self.context.bind()?;
        let (streams, detector) = (&self.streams, &self.detector);
        let clouds = &clouds.headers[..clouds.len];
        self.slots[slot].launch(streams, detector, clouds, cameras, is_lidar_only)?;
        let inputs = self.cameras.as_ref();
        inputs.map_or(Ok(()), |inputs| inputs.launched(&streams.main))
    }

    /// One run of every slot, without points and cameras, so that the first frame is like the others.
    fn warm_up(&mut self) -> Result<(), BuildError> {
        for slot in 0..self.slots.len() {
            self.launch(slot, &Clouds::default(), FrameCameras::default(), true)?;
        }
        self.context.synchronize()?;
        Ok(())
    }
}

fn device_fault() -> FrameFault {
    FrameFault {
        code: FaultCode::Device,
        stage: StageId::Sweeps,
        detail: 0,
    }
}

/// Headers of the clouds of a frame.
struct Clouds {
    headers: [CloudHeader; MAX_CLOUDS],
    len: usize,
}

impl Default for Clouds {
    fn default() -> Self {
        Self {
            headers: [bytemuck::Zeroable::zeroed(); MAX_CLOUDS],
            len: 0,
        }
    }
}

impl Clouds {
    fn push(
        &mut self,
        detector: &Detector,
        data: CloudData,
        layout: &RowLayout,
        placement: &CloudPlacement,
    ) -> Result<(), FrameFault> {
        let fault = |code, detail| FrameFault {
            code,
            stage: StageId::Sweeps,
            detail,
        };
        let Some(place) = self.headers.get_mut(self.len) else {
            return Err(fault(FaultCode::Clouds, self.len as u64 + 1));
        };
        let columns = layout.columns.len() as u64;
        let header = detector.sweep().cloud(data, layout, placement);
        *place = header.map_err(|_layout| fault(FaultCode::PointColumns, columns))?;
        self.len += 1;
        Ok(())
    }
}
