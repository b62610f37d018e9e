//! One frame as the pipeline takes it: a key cloud, past sweeps, camera images and calibration.

use crate::geometry::{CameraCalibration, Transform};

/// A point cloud: `len()` rows of `columns` float32 values. The first three are x, y, z (m) in the
/// sensor's frame, the fourth is intensity (0..=255).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointCloud {
    /// Row-major values, `[len, columns]`.
    pub values: Vec<f32>,
    /// Values per point; at least 3.
    pub columns: usize,
}

impl PointCloud {
    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A past cloud with what moves it into the key frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The points in the sweep's own sensor frame.
    pub cloud: PointCloud,
    /// Sensor pose at the sweep's time as seen from the sensor at the key cloud's time.
    pub key_from_sweep: Transform,
    /// Key time minus sweep time (s); positive for the past.
    pub time_lag: f64,
}

/// An 8-bit RGB image.
#[derive(Clone, Debug, PartialEq)]
pub struct RgbImage {
    /// Columns (px).
    pub width: usize,
    /// Rows (px).
    pub height: usize,
    /// `[height, width, 3]`, row-major, R G B.
    pub pixels: Vec<u8>,
}

/// One camera of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraFrame {
    /// Name, one of the model's `camera_order`.
    pub name: String,
    /// The raw image; `None` when it is missing.
    pub image: Option<RgbImage>,
    /// Intrinsics and pose relative to the key cloud.
    pub calibration: CameraCalibration,
    /// When the image was taken (ns, the clock of [`Frame::stamp_ns`]); `None`: when the key cloud was.
    pub stamp_ns: Option<i64>,
}

/// Everything that one detection needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// The key cloud.
    pub points: PointCloud,
    /// Past clouds, nearest in time first.
    pub sweeps: Vec<Sweep>,
    /// Cameras in any order; empty for LiDAR-only models.
    pub cameras: Vec<CameraFrame>,
    /// When the key cloud was taken (ns, any clock that the images share); `None`: when its images were.
    pub stamp_ns: Option<i64>,
}

impl Frame {
    /// The camera of that name.
    #[must_use]
    pub fn camera(&self, name: &str) -> Option<&CameraFrame> {
        self.cameras.iter().find(|camera| camera.name == name)
    }

    /// When the key cloud was taken (ns); 0 where that is unknown.
    #[must_use]
    pub fn cloud_ns(&self) -> i64 {
        self.stamp_ns.unwrap_or_default()
    }

    /// When the image of `camera` was taken (ns): the time of the cloud, unless both are known.
    #[must_use]
    pub fn image_ns(&self, camera: &CameraFrame) -> i64 {
        let known = self.stamp_ns.and(camera.stamp_ns);
        known.unwrap_or_else(|| self.cloud_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::{CameraFrame, Frame};
    use crate::geometry::{CameraCalibration, Transform};

    #[test]
    fn an_image_is_of_the_clouds_time_unless_both_are_known() {
        let camera = |stamp_ns| CameraFrame {
            name: "front".into(),
            image: None,
            calibration: CameraCalibration {
                image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                camera_from_lidar: Transform::IDENTITY,
            },
            stamp_ns,
        };
        let mut frame = Frame::default();
        assert_eq!((frame.cloud_ns(), frame.image_ns(&camera(Some(7)))), (0, 0));
        frame.stamp_ns = Some(5);
        assert_eq!(frame.image_ns(&camera(None)), 5);
        assert_eq!(frame.image_ns(&camera(Some(7))), 7);
        frame.cameras.push(camera(None));
        assert!(frame.camera("front").is_some() && frame.camera("back").is_none());
    }
}
