//! The sparse depth image of each camera: LiDAR points projected into the network's image.
//!
//! In: points `[n, columns]` (x, y, z first, m, augmented LiDAR frame), camera matrices. Out:
//! `[N, H, W]` depth along the camera's z axis (m), 0 where no point falls. Of several points on a pixel
//! the last in order or the nearest wins; cameras run in parallel. float32 in the order of
//! operations of the original, because rounding decides the pixel of a point on a border.

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::frustum::LidarAugmentation;
use super::matrix::{Matrix3, difference, product, sum};

/// Depths are clamped to this before the division (m).
const DEPTH_LIMITS: (f32, f32) = (1e-5, 1e5);

/// What takes LiDAR points into one camera's network image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthCamera {
    /// 3×3 block of image from lidar.
    pub linear: Matrix3,
    /// Its translation.
    pub translation: [f32; 3],
    /// 3×3 block of the image augmentation.
    pub augmentation: Matrix3,
    /// Its translation (px).
    pub augmentation_shift: [f32; 3],
}

/// Points behind a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BehindCamera {
    /// Kept if they land in the image with their depth clamped to 1e-5 m (mmdetection3d).
    Keep,
    /// Dropped (AWML).
    Drop,
}

/// Which of several points on a pixel leaves its depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthWinner {
    /// The last in order.
    Last,
    /// The one with the smallest depth.
    Nearest,
}

/// Settings of [`depth_image`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthImageParams {
    /// Height, width of the image (px).
    pub image_size: [usize; 2],
    /// Points behind a camera.
    pub behind_camera: BehindCamera,
    /// Translation of the LiDAR augmentation (m), and the inverse of its 3×3 block.
    pub undo_augmentation: LidarAugmentation,
}

/// Fills `out`, `[N, H, W]`, the last point on a pixel winning; cameras beyond the buffer are left out.
///
/// `points` has `columns` values a point, of which the first three are read.
pub fn depth_image(
    points: &[f32],
    columns: usize,
    cameras: &[DepthCamera],
    params: &DepthImageParams,
    out: &mut [f32],
) {
    depth_image_by(DepthWinner::Last, (points, columns), cameras, params, out);
}

/// As [`depth_image`] with a choice of the winner. `points` come with their `columns`.
pub fn depth_image_by(
    winner: DepthWinner,
    (points, columns): (&[f32], usize),
    cameras: &[DepthCamera],
    params: &DepthImageParams,
    out: &mut [f32],
) {
    let [height, width] = params.image_size;
    if height * width == 0 {
        return;
    }
    out.par_chunks_exact_mut(height * width)
        .zip(cameras.par_iter())
        .for_each(|(image, camera)| {
            image.fill(0.0);
            for point in points.chunks_exact(columns.max(3)) {
                let point = undo(&params.undo_augmentation, [point[0], point[1], point[2]]);
                let Some((row, column, depth)) = project(camera, params, point) else {
                    continue;
                };
                let pixel = &mut image[row * width + column];
                if winner == DepthWinner::Last || *pixel <= 0.0 || depth < *pixel {
                    *pixel = depth;
                }
            }
        });
}

fn undo(augmentation: &LidarAugmentation, point: [f32; 3]) -> [f32; 3] {
    product(
        &augmentation.linear,
        difference(point, augmentation.translation),
    )
}

/// Row, column and depth of a point; `None` outside the image.
fn project(
    camera: &DepthCamera,
    params: &DepthImageParams,
    point: [f32; 3],
) -> Option<(usize, usize, f32)> {
    let [x, y, z] = sum(product(&camera.linear, point), camera.translation);
    if params.behind_camera == BehindCamera::Drop && z <= 0.0 {
        return None;
    }
    let depth = z.clamp(DEPTH_LIMITS.0, DEPTH_LIMITS.1);
    let image = [x / depth, y / depth, depth];
    let [u, v, _] = sum(
        product(&camera.augmentation, image),
        camera.augmentation_shift,
    );
    let [height, width] = params.image_size;
    let inside = (0.0..height as f32).contains(&v) && (0.0..width as f32).contains(&u);
    inside.then_some((v as usize, u as usize, depth))
}

#[cfg(test)]
mod tests {
    use super::{
        BehindCamera, DepthCamera, DepthImageParams, DepthWinner, depth_image, depth_image_by,
    };
    use crate::reference::frustum::LidarAugmentation;

    const IDENTITY: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    fn image(points: &[f32], behind_camera: BehindCamera) -> Vec<f32> {
        let (camera, params) = camera(behind_camera);
        let mut out = vec![9.0; 8];
        depth_image(points, 4, &[camera], &params, &mut out);
        out
    }

    fn camera(behind_camera: BehindCamera) -> (DepthCamera, DepthImageParams) {
        let camera = DepthCamera {
            linear: [[2.0, 0.0, 2.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]],
            translation: [0.0; 3],
            augmentation: IDENTITY,
            augmentation_shift: [0.0; 3],
        };
        let params = DepthImageParams {
            image_size: [2, 4],
            behind_camera,
            undo_augmentation: LidarAugmentation {
                linear: IDENTITY,
                translation: [0.0; 3],
            },
        };
        (camera, params)
    }

    #[test]
    fn the_nearest_point_on_a_pixel_wins_when_asked() {
        let (camera, params) = camera(BehindCamera::Keep);
        let points = [[0.0, 0.0, 9.0], [0.1, 0.1, 5.0], [0.0, 0.0, 7.0]];
        let mut out = vec![9.0; 8];
        let points = (points.as_flattened(), 3);
        depth_image_by(DepthWinner::Nearest, points, &[camera], &params, &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0]);
    }

    #[test]
    fn the_last_point_on_a_pixel_wins_even_when_it_is_further() {
        let out = image(
            &[0.0, 0.0, 5.0, 7.0, 0.1, 0.1, 9.0, 7.0],
            BehindCamera::Keep,
        );
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 0.0]);
    }

    #[test]
    fn a_point_behind_the_camera_is_kept_or_dropped_as_asked() {
        // x = -z·(2/2) and y = -z/2 make the projection 0/1e-5: in the image although behind.
        let behind = [2.0, 1.0, -2.0, 0.0];
        assert_eq!(image(&behind, BehindCamera::Keep)[..1], [1e-5]);
        assert_eq!(image(&behind, BehindCamera::Drop), [0.0; 8]);
    }

    #[test]
    fn points_that_are_not_numbers_leave_no_depth() {
        let out = image(&[f32::NAN, 0.0, 5.0, 0.0], BehindCamera::Keep);
        assert_eq!(out, [0.0; 8]);
    }
}
