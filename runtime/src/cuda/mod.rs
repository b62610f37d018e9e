//! The CUDA engine: dense graphs and the whole LiDAR pipeline on our own kernels.
//!
//! Maps are NHWC fp16 with fp32 sums. Everything is planned while the pipeline is built; a frame only
//! launches.

mod dense;
mod fuse;
mod layout;

pub use dense::{DenseProgram, DenseRequest};
pub use layout::DenseMap;

/// The engine's name.
const NAME: &str = "cuda";
