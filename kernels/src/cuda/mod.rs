//! CUDA kernels, one typed launcher per `.cu` file.
//!
//! A kernel takes one parameter struct by value; the launcher's struct mirrors it field by field. Sources
//! include only headers of `include/`, so that NVRTC can compile them without a toolkit.

pub mod frame;
pub mod packed_rulebook;
pub mod rulebook;
pub mod sweep;
pub mod voxelize;

/// Machine code and sources, put together by the build script.
mod images {
    include!(concat!(env!("OUT_DIR"), "/images.rs"));
}
