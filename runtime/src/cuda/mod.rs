//! The CUDA engine: dense graphs and whole pipelines, LiDAR and cameras, on our own kernels.
//!
//! Maps are NHWC fp16 with fp32 sums. Everything is planned while the pipeline is built; a frame only
//! launches.

mod camera;
mod dense;
mod encoder;
mod engine;
mod fuse;
mod images;
mod layout;
mod memory;
mod pipeline;
mod pool;
mod program;
mod slot;
mod steps;
mod swin;
mod tables;

pub use camera::{CameraCapacity, CameraProgram};
pub use dense::{DenseProgram, DenseRequest};
pub use encoder::{EncoderTap, LidarProgram};
pub use engine::CudaEngine;
pub use images::{DeviceImage, ImageRefusal};
pub use layout::DenseMap;
pub use pipeline::{CudaOptions, CudaPipeline, DeviceCloud};
pub use pool::MapMemory;
pub use program::{Detector, Streams};
pub use slot::StageSpan;
pub use swin::{SwinProgram, TokenTap};

/// The engine's name.
const NAME: &str = "cuda";
