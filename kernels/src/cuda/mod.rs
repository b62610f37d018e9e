//! CUDA kernels, one typed launcher per `.cu` file.
//!
//! A kernel takes one parameter struct by value; the launcher's struct mirrors it field by field. Sources
//! include only headers of `include/`, so that NVRTC can compile them without a toolkit.

use crate::driver::KernelImage;

pub mod bev_pool;
pub mod decoder;
pub mod decoder_weights;
pub mod dense_conv;
pub mod depth_features;
pub mod depth_image;
pub mod depth_softmax;
pub mod frame;
pub mod gather_conv;
pub mod hopper_conv;
mod hopper_sparse_conv;
mod hopper_tiling;
pub mod image;
mod image_params;
mod image_plan;
mod image_tables;
pub mod layer_norm;
pub mod packed_rulebook;
mod packing;
pub mod postprocess;
pub mod postprocess_settings;
pub mod proposals;
pub mod rulebook;
pub mod sparse_conv;
pub mod sweep;
mod swin_maps;
pub mod swin_mlp;
pub mod upsample;
pub mod view_record;
pub mod view_shape;
pub mod view_tables;
pub mod voxelize;
pub mod window_attention;
/// Machine code and sources, put together by the build script.
mod images {
    include!(concat!(env!("OUT_DIR"), "/images.rs"));
}

/// Every kernel file, for what looks at all of them.
#[must_use]
pub fn images() -> &'static [&'static KernelImage] {
    &images::ALL
}
