//! CPU twins of the kernels, one file each.

mod key_table;
mod panel_product;

pub mod fourier;
pub mod rulebook;
pub mod sites;
pub mod sparse_conv;
pub mod sparse_conv_backward;
pub mod sparse_to_dense;
pub mod sparse_weights;
pub mod sweep;
pub mod voxelize;
