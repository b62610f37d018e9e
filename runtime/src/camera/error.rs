//! What can be wrong with the cameras of a frame.

use super::ImageError;

/// Why the camera branch cannot run on a frame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CameraError {
    /// The image cannot be read.
    #[error("camera {camera:?}: {source}")]
    Image {
        /// Name in `camera_order`.
        camera: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// A matrix has no inverse.
    #[error(
        "camera {camera:?}: {matrix} is singular or not finite: {values:?}; check the camera's \
         calibration"
    )]
    Singular {
        /// Name in `camera_order`.
        camera: String,
        /// Which matrix.
        matrix: &'static str,
        /// Its rows, flattened.
        values: Vec<f32>,
    },
    /// The LiDAR augmentation has no inverse.
    #[error("the LiDAR augmentation matrix is singular or not finite: {values:?}")]
    SingularLidarAugmentation {
        /// Its rows, flattened.
        values: Vec<f32>,
    },
    /// A buffer does not fit the model.
    #[error("{what}: {found} values, expected {expected} ({shape})")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Values that the model takes.
        expected: usize,
        /// Values present.
        found: usize,
        /// The extents behind `expected`.
        shape: &'static str,
    },
    /// Pooling or projection before the first calibration.
    #[error("the view transform has no calibration yet; call set_calibration first")]
    NoCalibration,
}

impl CameraError {
    /// Place in `camera_order` of the camera that the error is about; its length when about none.
    #[must_use]
    pub fn camera_index(&self, camera_order: &[String]) -> usize {
        let about = match self {
            Self::Image { camera, .. } | Self::Singular { camera, .. } => Some(camera),
            Self::SingularLidarAugmentation { .. } | Self::Length { .. } | Self::NoCalibration => {
                None
            }
        };
        let place = camera_order.iter().position(|name| Some(name) == about);
        place.unwrap_or(camera_order.len())
    }

    /// Checks a buffer's length.
    pub(super) const fn check_length(
        what: &'static str,
        shape: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Length {
            what,
            expected,
            found,
            shape,
        })
    }
}
