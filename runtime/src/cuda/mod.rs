//! The CUDA engine: dense graphs and the whole LiDAR pipeline on our own kernels.
//!
//! Maps are NHWC fp16 with fp32 sums. Everything is planned while the pipeline is built; a frame only
//! launches.

mod dense;
mod encoder;
mod engine;
mod fuse;
mod layout;
mod pipeline;
mod program;
mod slot;
mod steps;

pub use dense::{DenseProgram, DenseRequest};
pub use encoder::{EncoderTap, LidarProgram};
pub use engine::CudaEngine;
pub use layout::DenseMap;
pub use pipeline::{CudaOptions, CudaPipeline, DeviceCloud};
pub use program::LidarDetector;

/// The engine's name.
const NAME: &str = "cuda";
