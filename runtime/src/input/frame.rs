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
}
