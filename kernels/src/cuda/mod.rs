//! CUDA kernels, one typed launcher per `.cu` file.
//!
//! A kernel takes one parameter struct by value; the launcher's struct mirrors it field by field. Sources
//! include only headers of `include/`, so that NVRTC can compile them without a toolkit.

pub mod decoder;
pub mod decoder_weights;
pub mod postprocess;
pub mod postprocess_settings;
pub mod proposals;

/// Machine code and sources, put together by the build script.
mod images {
    include!(concat!(env!("OUT_DIR"), "/images.rs"));
}
