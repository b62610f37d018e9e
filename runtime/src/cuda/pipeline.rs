//! LiDAR bytes to boxes on the GPU, one graph launch per frame.
//!
//! [`CudaPipeline::new`] loads kernels, packs weights, plans memory, captures one CUDA graph per slot and runs
//! it once. A frame is then: write the clouds' places into the slot's pinned header, launch, and later read
//! boxes from pinned memory. Nothing is allocated and the host waits for nothing but the slot's last event.

use std::collections::BTreeMap;
use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::{ConvChoice, DenseConvKernels};
use bevfusion_kernels::cuda::frame::{CloudData, CloudHeader, MAX_CLOUDS, RowLayout};
use bevfusion_kernels::cuda::sparse_conv::SparseConvKernels;
use bevfusion_kernels::driver::{
    ArenaEntry, Context, DeviceArena, DriverError, PinnedSlice, Priority, Stream,
};
use bevfusion_kernels::reference::sweep::CloudPlacement;

use super::program::LidarDetector;
use super::slot::{Slot, read_frame};
use crate::config::ModelConfig;
use crate::exec::{
    BuildError, FaultCode, FrameFault, FrameOutcome, FrameReport, StageId, SubmitError, Ticket,
};
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

/// A LiDAR model on a GPU.
#[derive(Debug)]
pub struct CudaPipeline {
    config: ModelConfig,
    context: Arc<Context>,
    stream: Stream,
    slots: Vec<Slot>,
    detector: Arc<LidarDetector>,
    memory: Vec<ArenaEntry>,
    layout: RowLayout,
    submitted: u64,
    fetched: u64,
    detections: Vec<Detection>,
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
        let kernels = (&dense, &sparse);
        let capacity = options.point_capacity;
        let detector = LidarDetector::new(&arena, kernels, &config, weights, capacity)?;
        arena.seal();
        let detector = Arc::new(detector);
        let stream = Stream::new(&context, Priority::High)?;
        let load_dim = config.points.load_dim;
        let slots = (0..options.slots.max(1))
            .map(|_| Slot::new(&stream, &detector, options, load_dim))
            .collect::<Result<Vec<_>, DriverError>>()?;
        let mut pipeline = Self {
            detections: Vec::with_capacity(config.head.num_proposals),
            layout: RowLayout::floats(load_dim),
            report: FrameReport::new(),
            submitted: 0,
            fetched: 0,
            config,
            context,
            stream,
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
    pub fn detector(&self) -> &LidarDetector {
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

    /// Takes a frame whose clouds lie in ordinary memory: copies them and starts.
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
        self.start(slot, &clouds)
    }

    /// Takes a frame whose clouds the GPU can read where they are; the key cloud comes first.
    ///
    /// # Errors
    /// When all slots are taken or the clouds do not fit the model.
    pub fn submit_device(&mut self, clouds: &[DeviceCloud<'_>]) -> Result<Ticket, SubmitError> {
        let slot = self.free_slot()?;
        let mut headers = Clouds::default();
        for cloud in clouds {
            headers.push(&self.detector, cloud.data, cloud.layout, &cloud.placement)?;
        }
        self.start(slot, &headers)
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
                let words = self.slots[slot].output();
                let counts = self.slots[slot].counts();
                self.report = read_frame(words, counts, &mut self.detections);
                self.slots[slot].read_times(&mut self.report.stage_times);
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
        let taken = self.submit(frame);
        self.finish(taken)
    }

    /// Submits clouds that the GPU can read and waits.
    pub fn run_device(&mut self, clouds: &[DeviceCloud<'_>]) -> &FrameReport {
        let taken = self.submit_device(clouds);
        self.finish(taken)
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
        &self.report
    }

    fn free_slot(&mut self) -> Result<usize, SubmitError> {
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

    fn start(&mut self, slot: usize, clouds: &Clouds) -> Result<Ticket, SubmitError> {
        let started = self.context.bind().and_then(|()| {
            let clouds = &clouds.headers[..clouds.len];
            self.slots[slot].launch(&self.stream, &self.detector, clouds)
        });
        started.map_err(|_device| device_fault())?;
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        Ok(ticket)
    }

    /// One run of every slot, so that the first frame is like the others.
    fn warm_up(&mut self) -> Result<(), BuildError> {
        for _ in 0..self.slots.len() {
            let empty = Frame::default();
            if let FrameOutcome::Dropped(_) = self.run(&empty).outcome {
                self.context.synchronize()?;
            }
        }
        self.context.synchronize()?;
        Ok(())
    }
}

/// Entries of one name together.
fn by_purpose(entries: Vec<ArenaEntry>) -> Vec<ArenaEntry> {
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        *sums.entry(entry.name).or_default() += entry.bytes;
    }
    let sums = sums.into_iter();
    let mut sums: Vec<ArenaEntry> = sums
        .map(|(name, bytes)| ArenaEntry { name, bytes })
        .collect();
    sums.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
    sums
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
        detector: &LidarDetector,
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
        let header = detector.lidar().sweep().cloud(data, layout, placement);
        *place = header.map_err(|_layout| fault(FaultCode::PointColumns, columns))?;
        self.len += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bevfusion_kernels::driver::ArenaEntry;

    use super::by_purpose;

    #[test]
    fn memory_is_summed_by_purpose_most_first() {
        let entry = |name: &str, bytes| ArenaEntry {
            name: name.to_owned(),
            bytes,
        };
        let entries = vec![
            entry("weights", 10),
            entry("maps", 30),
            entry("weights", 25),
        ];
        assert_eq!(
            by_purpose(entries),
            [entry("weights", 35), entry("maps", 30)]
        );
    }
}
