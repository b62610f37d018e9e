//! Camera matrices in float32, with the roundings of the original data pipeline.
//!
//! In: calibration in float64. Out: [`CameraMatrices`], and from them what the kernels take. mmdetection3d
//! stores intrinsics and pose in float32 and multiplies in float32; inverses are taken in float64 and
//! rounded once.

use bevfusion_kernels::reference::depth_image::DepthCamera;
use bevfusion_kernels::reference::frustum::{FrustumCamera, LidarAugmentation};

use super::CameraError;
use crate::geometry::{CameraCalibration, Transform};

/// A row-major 4×4 matrix.
pub type Matrix4 = [[f32; 4]; 4];
type Matrix3 = [[f32; 3]; 3];

/// The matrices of one camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraMatrices {
    /// `cam2img`: intrinsics in a 4×4 identity.
    pub image_from_camera: Matrix4,
    /// `cam2lidar`.
    pub lidar_from_camera: Matrix4,
    /// `lidar2img`.
    pub image_from_lidar: Matrix4,
    /// `img_aug_matrix`: network image from raw image.
    pub augmentation: Matrix4,
}

impl CameraMatrices {
    /// From a calibration, as the original loader computes them: the pose is taken as rigid, so that its
    /// inverse is (Rᵀ, −Rᵀt).
    #[must_use]
    pub fn new(calibration: &CameraCalibration, augmentation: Matrix4) -> Self {
        let mut image_from_camera = identity();
        for (row, source) in image_from_camera
            .iter_mut()
            .zip(&calibration.image_from_camera)
        {
            for (value, source) in row.iter_mut().zip(source) {
                *value = *source as f32;
            }
        }
        let pose = calibration
            .camera_from_lidar
            .matrix()
            .map(|row| row.map(|value| value as f32));
        Self {
            image_from_camera,
            lidar_from_camera: rigid_inverse(&pose),
            image_from_lidar: product4(&image_from_camera, &pose),
            augmentation,
        }
    }

    /// Whether every matrix can be inverted.
    ///
    /// # Errors
    /// Names the camera and the matrix that cannot.
    pub fn check(&self, camera: &str) -> Result<(), CameraError> {
        self.prepare(camera).map(|_prepared| ())
    }

    /// What the depth image and the frustum need of this camera.
    ///
    /// # Errors
    /// Names the camera and the matrix that cannot be inverted.
    pub(crate) fn prepare(
        &self,
        camera: &str,
    ) -> Result<(FrustumCamera, DepthCamera), CameraError> {
        let singular = |matrix: &'static str, values: &Matrix4| CameraError::Singular {
            camera: camera.into(),
            matrix,
            values: values.as_flattened().to_vec(),
        };
        let intrinsics = inverse3(&self.image_from_camera)
            .ok_or_else(|| singular("image_from_camera", &self.image_from_camera))?;
        let undo_augmentation = inverse3(&self.augmentation)
            .ok_or_else(|| singular("the image augmentation", &self.augmentation))?;
        for (name, matrix) in [
            ("camera_from_lidar", &self.lidar_from_camera),
            ("image_from_lidar", &self.image_from_lidar),
        ] {
            inverse3(matrix).ok_or_else(|| singular(name, matrix))?;
        }
        let frustum = FrustumCamera {
            augmentation_shift: translation(&self.augmentation),
            undo_augmentation,
            lidar_from_image: product3(&linear(&self.lidar_from_camera), &intrinsics),
            camera_center: translation(&self.lidar_from_camera),
        };
        let depth = DepthCamera {
            linear: linear(&self.image_from_lidar),
            translation: translation(&self.image_from_lidar),
            augmentation: linear(&self.augmentation),
            augmentation_shift: translation(&self.augmentation),
        };
        Ok((frustum, depth))
    }
}

/// The LiDAR augmentation and what undoes it (translation first, then the inverse block).
pub(crate) fn lidar_augmentation(
    matrix: &Matrix4,
) -> Result<(LidarAugmentation, LidarAugmentation), CameraError> {
    let inverse = inverse3(matrix).ok_or_else(|| CameraError::SingularLidarAugmentation {
        values: matrix.as_flattened().to_vec(),
    })?;
    let translation = translation(matrix);
    let forward = LidarAugmentation {
        linear: linear(matrix),
        translation,
    };
    let undo = LidarAugmentation {
        linear: inverse,
        translation,
    };
    Ok((forward, undo))
}

/// The 4×4 identity.
pub(crate) const fn identity() -> Matrix4 {
    [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
}

fn linear(m: &Matrix4) -> Matrix3 {
    [m[0], m[1], m[2]].map(|[a, b, c, _]| [a, b, c])
}

fn translation(m: &Matrix4) -> [f32; 3] {
    [m[0][3], m[1][3], m[2][3]]
}

/// Inverse of the 3×3 block; `None` when singular or when any element of the upper rows is not finite.
fn inverse3(m: &Matrix4) -> Option<Matrix3> {
    let wide = m.map(|row| row.map(f64::from));
    let inverse = Transform::from_matrix(wide).inverse()?;
    Some(inverse.linear().map(|row| row.map(|value| value as f32)))
}

fn product3(a: &Matrix3, b: &Matrix3) -> Matrix3 {
    a.map(|row| std::array::from_fn(|j| (0..3).map(|k| row[k] * b[k][j]).sum()))
}

fn product4(a: &Matrix4, b: &Matrix4) -> Matrix4 {
    a.map(|row| std::array::from_fn(|j| (0..4).map(|k| row[k] * b[k][j]).sum()))
}

fn rigid_inverse(pose: &Matrix4) -> Matrix4 {
    let moved = translation(pose);
    let mut inverse = identity();
    for (axis, row) in inverse.iter_mut().take(3).enumerate() {
        let column = [pose[0][axis], pose[1][axis], pose[2][axis]];
        let along: f32 = column.iter().zip(&moved).map(|(a, b)| a * b).sum();
        *row = [column[0], column[1], column[2], -along];
    }
    inverse
}
