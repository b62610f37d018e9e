//! CPU twins of the kernels, one file each.

pub mod bev_pool;
pub mod circle_nms;
pub mod decode;
pub mod depth_image;
pub mod frustum;
pub mod image;
mod matrix;
pub mod pool_table;
pub mod rotated_iou;
pub mod rotated_nms;
