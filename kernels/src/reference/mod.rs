//! CPU twins of the kernels, one file each.

pub mod bev_pool;
pub mod circle_nms;
pub mod decode;
pub mod depth_image;
pub mod frustum;
pub mod image;
mod key_table;
mod matrix;
mod panel_product;
pub mod pool_table;
pub mod rotated_iou;
pub mod rotated_nms;

pub mod fourier;
pub mod layer_norm;
pub mod rulebook;
pub mod sites;
pub mod sparse_conv;
pub mod sparse_conv_backward;
pub mod sparse_to_dense;
pub mod sparse_weights;
pub mod sweep;
pub mod swin_mlp;
pub mod upsample;
pub mod voxelize;
pub mod window_attention;
