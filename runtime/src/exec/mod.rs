//! The frame: build, run, results.
//!
//! [`PipelineBuilder`] may fail richly; [`Pipeline::run`] answers with a [`FrameReport`] whose fault, if
//! any, is a 16-byte value. [`explain()`] says in words what is wrong with a frame that was dropped.

mod builder;
mod camera_branch;
mod cameras;
mod clock;
mod dense;
mod error;
mod explain;
mod fault;
mod host_pipeline;
mod lidar_branch;
mod pipeline;
mod report;
mod stage;
mod ticket;
mod worker;

pub use builder::PipelineBuilder;
pub use cameras::{BelowMinCameras, CameraPolicy, CameraState, CameraStates, MAX_CAMERAS};
pub use error::BuildError;
pub use explain::explain;
pub use fault::{FaultCode, FrameFault};
pub use pipeline::Pipeline;
pub use report::{Degradation, FrameCounts, FrameOutcome, FrameReport};
pub use stage::StageId;
pub use ticket::{SubmitError, Ticket};
