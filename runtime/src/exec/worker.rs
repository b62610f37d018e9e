//! A thread that runs submitted frames of a host pipeline.
//!
//! Jobs go round in a ring of two lock-free queues, to the worker and back, so that neither side waits for
//! the other; a job's memory is used again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;

use super::host_pipeline::HostPipeline;
use super::{FrameReport, SubmitError, Ticket};
use crate::input::Frame;
use crate::output::Detection;

/// Frames that may be under way or waiting to be fetched.
const SLOTS: usize = 2;

/// A frame on its way through the worker.
struct Job {
    frame: Frame,
    report: FrameReport,
    detections: Vec<Detection>,
}

/// What both threads see.
struct Shared {
    todo: ArrayQueue<Job>,
    done: ArrayQueue<Job>,
    stop: AtomicBool,
}

/// The thread and its jobs.
pub(super) struct Worker {
    shared: Arc<Shared>,
    free: Vec<Job>,
    thread: JoinHandle<()>,
    submitted: u64,
    fetched: u64,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(pipeline: Arc<Mutex<HostPipeline>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            todo: ArrayQueue::new(SLOTS),
            done: ArrayQueue::new(SLOTS),
            stop: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("bevfusion-frame".into());
        let thread = thread.spawn(move || work(&seen, &pipeline))?;
        let job = || Job {
            frame: Frame::default(),
            report: FrameReport::new(),
            detections: Vec::new(),
        };
        Ok(Self {
            shared,
            free: (0..SLOTS).map(|_| job()).collect(),
            thread,
            submitted: 0,
            fetched: 0,
        })
    }

    /// Hands a copy of the frame to the thread.
    pub(super) fn submit(&mut self, frame: &Frame) -> Result<Ticket, SubmitError> {
        let mut job = self.free.pop().ok_or(SubmitError::Full)?;
        job.frame.clone_from(frame);
        if let Err(job) = self.shared.todo.push(job) {
            self.free.push(job);
            return Err(SubmitError::Full);
        }
        self.thread.thread().unpark();
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        Ok(ticket)
    }

    /// Whether a frame is the next to be fetched.
    pub(super) fn is_next(&self, ticket: Ticket) -> bool {
        ticket.0 == self.fetched && self.fetched < self.submitted
    }

    /// Takes the result of the oldest frame, if it is done.
    pub(super) fn fetch(&mut self, detections: &mut Vec<Detection>) -> Option<FrameReport> {
        let mut job = self.shared.done.pop()?;
        std::mem::swap(detections, &mut job.detections);
        let report = job.report;
        self.free.push(job);
        self.fetched += 1;
        Some(report)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

fn work(shared: &Shared, pipeline: &Mutex<HostPipeline>) {
    while !shared.stop.load(Ordering::Acquire) {
        let Some(mut job) = shared.todo.pop() else {
            std::thread::park();
            continue;
        };
        let mut pipeline = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        job.report = *pipeline.run(&job.frame);
        job.detections.clear();
        job.detections.extend_from_slice(pipeline.detections());
        drop(pipeline);
        // The ring has room for every job there is.
        let _full = shared.done.push(job);
    }
}
