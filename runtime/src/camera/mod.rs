//! The camera branch: images to the camera BEV map.
//!
//! [`CameraPreprocessor`] makes the network's images, [`ViewTransform`] makes the depth images and pools the lifted features into the BEV grid.
//! The networks in between belong to [`graph`](crate::graph).

mod augmentation;
mod error;
mod matrices;
mod preprocess;
#[cfg(test)]
mod test_spec;
mod view_transform;

pub use augmentation::ImageAug;
pub use bevfusion_kernels::reference::image::{ImageError, Interpolation, Window};
pub use error::CameraError;
pub use matrices::{CameraMatrices, Matrix4};
pub(crate) use matrices::{identity, lidar_augmentation};
pub use preprocess::CameraPreprocessor;
pub use view_transform::ViewTransform;
pub(crate) use view_transform::{behind_camera, depth_winner, frustum_params, pool_grid};

#[cfg(test)]
pub(crate) use test_spec::test_spec;
