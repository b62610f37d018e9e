//! A model ready to detect, whatever runs it.
//!
//! [`run`](Pipeline::run) answers when the boxes are there. [`submit`](Pipeline::submit) starts a frame and
//! returns; [`poll`](Pipeline::poll) and [`wait`](Pipeline::wait) fetch frames in the order of their tickets.

use std::sync::{Arc, Mutex, PoisonError};

use super::host_pipeline::HostPipeline;
use super::worker::Worker;
use super::{CameraPolicy, FaultCode, FrameFault, FrameReport, StageId, SubmitError, Ticket};
use crate::config::ModelConfig;
use crate::cuda::CudaPipeline;
use crate::input::Frame;
use crate::output::Detection;

/// A model ready to detect.
pub struct Pipeline {
    config: ModelConfig,
    policy: CameraPolicy,
    engine: &'static str,
    backend: Backend,
    detections: Vec<Detection>,
    report: FrameReport,
}

enum Backend {
    Host {
        pipeline: Arc<Mutex<HostPipeline>>,
        worker: Option<Worker>,
    },
    Cuda(Box<CudaPipeline>),
}

impl Pipeline {
    pub(super) fn host(
        config: ModelConfig,
        policy: CameraPolicy,
        engine: &'static str,
        pipeline: HostPipeline,
    ) -> Self {
        let pipeline = Arc::new(Mutex::new(pipeline));
        let backend = Backend::Host {
            pipeline,
            worker: None,
        };
        Self::new(config, policy, engine, backend)
    }

    pub(super) fn cuda(pipeline: CudaPipeline) -> Self {
        let config = pipeline.config().clone();
        let policy = *pipeline.camera_policy();
        let backend = Backend::Cuda(Box::new(pipeline));
        Self::new(config, policy, "cuda", backend)
    }

    fn new(
        config: ModelConfig,
        policy: CameraPolicy,
        engine: &'static str,
        backend: Backend,
    ) -> Self {
        Self {
            detections: Vec::with_capacity(config.head.num_proposals),
            report: FrameReport::new(),
            config,
            policy,
            engine,
            backend,
        }
    }

    /// The model.
    #[must_use]
    pub const fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Fewest cameras that a frame may have.
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

    /// What runs the networks: `cpu`, `cuda`.
    #[must_use]
    pub const fn engine(&self) -> &'static str {
        self.engine
    }

    /// The GPU pipeline, with what only it can do: clouds in device memory, for example.
    pub fn as_cuda(&mut self) -> Option<&mut CudaPipeline> {
        match &mut self.backend {
            Backend::Cuda(pipeline) => Some(pipeline),
            Backend::Host { .. } => None,
        }
    }

    /// Boxes of the frame that was run or fetched last; none when it was dropped.
    #[must_use]
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// Detects in one frame. [`detections`](Self::detections) then holds the boxes. Frames that were
    /// submitted before and not fetched stay where they are; on a GPU they take the slots.
    pub fn run(&mut self, frame: &Frame) -> &FrameReport {
        self.detections.clear();
        match &mut self.backend {
            Backend::Host { pipeline, .. } => {
                let mut pipeline = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
                self.report = *pipeline.run(frame);
                self.detections.extend_from_slice(pipeline.detections());
            }
            Backend::Cuda(pipeline) => {
                self.report = *pipeline.run(frame);
                self.detections.extend_from_slice(pipeline.detections());
            }
        }
        &self.report
    }

    /// Starts a frame. The first call on the CPU engine starts a thread.
    ///
    /// # Errors
    /// When all slots are taken, or the frame does not fit the model.
    pub fn submit(&mut self, frame: &Frame) -> Result<Ticket, SubmitError> {
        match &mut self.backend {
            Backend::Cuda(pipeline) => pipeline.submit(frame),
            Backend::Host { pipeline, worker } => {
                if worker.is_none() {
                    let started = Worker::start(Arc::clone(pipeline));
                    *worker = Some(started.map_err(|_refused| no_thread())?);
                }
                worker
                    .as_mut()
                    .map_or(Err(SubmitError::Full), |worker| worker.submit(frame))
            }
        }
    }

    /// The report of a frame, if it is done and all earlier ones were fetched.
    pub fn poll(&mut self, ticket: Ticket) -> Option<&FrameReport> {
        match &mut self.backend {
            Backend::Cuda(pipeline) => {
                self.report = *pipeline.poll(ticket)?;
                self.detections.clear();
                self.detections.extend_from_slice(pipeline.detections());
            }
            Backend::Host { worker, .. } => {
                let worker = worker.as_mut().filter(|worker| worker.is_next(ticket))?;
                self.report = worker.fetch(&mut self.detections)?;
            }
        }
        Some(&self.report)
    }

    /// The report of the oldest frame that was submitted; waits for it. None for any other ticket.
    pub fn wait(&mut self, ticket: Ticket) -> Option<&FrameReport> {
        let is_next = match &self.backend {
            Backend::Cuda(pipeline) => pipeline.is_next(ticket),
            Backend::Host { worker, .. } => {
                worker.as_ref().is_some_and(|worker| worker.is_next(ticket))
            }
        };
        if !is_next {
            return None;
        }
        let on_gpu = matches!(self.backend, Backend::Cuda(_));
        while self.poll(ticket).is_none() {
            // A frame on the GPU takes about a millisecond, on the CPU seconds.
            if on_gpu {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        Some(&self.report)
    }
}

fn no_thread() -> FrameFault {
    FrameFault {
        code: FaultCode::Engine,
        stage: StageId::Sweeps,
        detail: u64::MAX,
    }
}
