//! Camera intrinsics and pose.

use super::Transform;

/// Calibration of one camera for one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraCalibration {
    /// 3×3 pinhole matrix of the raw image (px), row-major.
    pub image_from_camera: [[f64; 3]; 3],
    /// Pose: camera frame (x right, y down, z forward) from the key cloud's frame.
    pub camera_from_lidar: Transform,
}
