//! Transforms, cameras and grids.

mod camera;
mod pose;

pub use camera::CameraCalibration;
pub use pose::Transform;
