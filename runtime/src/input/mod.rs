//! What comes in: clouds, images, frames, and the file formats they are stored in.

mod frame;
#[cfg(feature = "dataset")]
mod image;
mod points;
mod points_pcd;

#[cfg(feature = "dataset")]
pub use self::image::{ImageError, decode_image, encode_jpeg, encode_png};
pub use frame::{CameraFrame, Frame, PointCloud, RgbImage, Sweep};
pub use points::{PointsError, parse_points, with_columns};
pub use points_pcd::parse_pcd;
