//! What comes in: clouds, images, frames.

mod frame;

pub use frame::{CameraFrame, Frame, PointCloud, RgbImage, Sweep};
