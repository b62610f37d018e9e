//! The camera matrices as the kernels of the view transform read them. Mirrors `include/view.cuh`.

use bytemuck::{Pod, Zeroable};

use super::view_shape::MAX_CAMERAS;
use crate::driver::DriverError;
use crate::reference::depth_image::DepthCamera;
use crate::reference::frustum::{FrustumCamera, LidarAugmentation};

/// A 3×3 block, row-major, and a translation.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Affine {
    linear: [f32; 9],
    translation: [f32; 3],
}

impl Affine {
    fn new(linear: &[[f32; 3]; 3], translation: [f32; 3]) -> Self {
        Self {
            linear: std::array::from_fn(|i| linear[i / 3][i % 3]),
            translation,
        }
    }
}

/// The matrices of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct CameraRecord {
    undo_augmentation: Affine,
    lidar_from_image: Affine,
    image_from_lidar: Affine,
    augmentation: Affine,
}

/// All matrices of a rig, one element of pinned memory that a build of the tables reads.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ViewRecord {
    lidar_augmentation: Affine,
    undo_lidar_augmentation: Affine,
    camera: [CameraRecord; MAX_CAMERAS],
}

impl ViewRecord {
    /// Overwrites it. `forward` is the LiDAR augmentation, `undo` has the inverse of its 3×3 block and the
    /// same translation.
    ///
    /// # Errors
    /// When there are more than [`MAX_CAMERAS`] cameras.
    pub fn set(
        &mut self,
        cameras: &[(FrustumCamera, DepthCamera)],
        forward: &LidarAugmentation,
        undo: &LidarAugmentation,
    ) -> Result<(), DriverError> {
        let Some(places) = self.camera.get_mut(..cameras.len()) else {
            return Err(DriverError::Arguments {
                kernel: "view tables",
                problem: format!("{} cameras, at most {MAX_CAMERAS}", cameras.len()),
            });
        };
        for (place, (frustum, depth)) in places.iter_mut().zip(cameras) {
            *place = CameraRecord {
                undo_augmentation: Affine::new(
                    &frustum.undo_augmentation,
                    frustum.augmentation_shift,
                ),
                lidar_from_image: Affine::new(&frustum.lidar_from_image, frustum.camera_center),
                image_from_lidar: Affine::new(&depth.linear, depth.translation),
                augmentation: Affine::new(&depth.augmentation, depth.augmentation_shift),
            };
        }
        self.lidar_augmentation = Affine::new(&forward.linear, forward.translation);
        self.undo_lidar_augmentation = Affine::new(&undo.linear, undo.translation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CameraRecord, ViewRecord};

    #[test]
    fn the_structs_have_the_sizes_that_the_kernels_assume() {
        assert_eq!(size_of::<CameraRecord>(), 192);
        assert_eq!(size_of::<ViewRecord>(), 96 + 16 * 192);
    }
}
