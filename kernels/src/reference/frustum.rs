//! The camera frustum: image and depth positions and their place in the LiDAR frame.
//!
//! In: image, feature and depth sizes, camera matrices. Out, with D depths and an h×w feature map per
//! camera: [`frustum`] `[D, h, w, 3]` (u px, v px, depth m) and [`geometry`] `[N, D, h, w, 3]` (m, LiDAR
//! frame). float32 throughout, in the order of operations of the original `DepthLSSTransform`, because
//! a rounding difference at a cell border moves a point to another BEV cell.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::matrix::{Matrix3, difference, product, sum};

/// Points per task: small enough to spread over the cores, large enough to be worth it.
const CHUNK: usize = 4096;

/// Image, feature map and depth bins of one camera model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrustumParams {
    /// Height, width of the network's image (px).
    pub image_size: [usize; 2],
    /// Height, width of the feature map.
    pub feature_size: [usize; 2],
    /// First depth (m).
    pub first_depth: f64,
    /// Distance of depths (m).
    pub depth_step: f64,
    /// Number of depths.
    pub depths: usize,
}

impl FrustumParams {
    /// Frustum points of one camera.
    #[must_use]
    pub const fn points(&self) -> usize {
        self.depths * self.feature_size[0] * self.feature_size[1]
    }
}

/// Positions (u, v, depth) of one camera's frustum, `[D, h, w, 3]`.
#[must_use]
pub fn frustum(params: &FrustumParams) -> Vec<f32> {
    let [height, width] = params.feature_size;
    let columns = linspace(params.image_size[1], width);
    let rows = linspace(params.image_size[0], height);
    let mut out = Vec::with_capacity(params.points() * 3);
    for bin in 0..params.depths {
        let depth = (params.first_depth + bin as f64 * params.depth_step) as f32;
        for v in &rows {
            for u in &columns {
                out.extend([*u, *v, depth]);
            }
        }
    }
    out
}

/// `count` positions from 0 to `extent − 1`; the upper half counts back from the end, as torch does.
fn linspace(extent: usize, count: usize) -> Vec<f32> {
    let end = extent.saturating_sub(1) as f32;
    if count <= 1 {
        return vec![0.0; count];
    }
    let step = end / (count - 1) as f32;
    (0..count)
        .map(|index| {
            if index < count / 2 {
                step * index as f32
            } else {
                end - step * (count - 1 - index) as f32
            }
        })
        .collect()
}

/// What takes one camera's frustum to the LiDAR frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrustumCamera {
    /// Translation of the image augmentation (px).
    pub augmentation_shift: [f32; 3],
    /// Inverse of its 3×3 block.
    pub undo_augmentation: Matrix3,
    /// Rotation of lidar from camera times the inverse intrinsics.
    pub lidar_from_image: Matrix3,
    /// Camera centre in the LiDAR frame (m).
    pub camera_center: [f32; 3],
}

/// The LiDAR augmentation: identity except in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LidarAugmentation {
    /// 3×3 block.
    pub linear: Matrix3,
    /// Translation (m).
    pub translation: [f32; 3],
}

/// Frustum points in the (augmented) LiDAR frame: `out` becomes `[N, D, h, w, 3]` (m).
pub fn geometry(
    frustum: &[f32],
    cameras: &[FrustumCamera],
    augmentation: &LidarAugmentation,
    out: &mut Vec<f32>,
) {
    out.clear();
    out.resize(frustum.len() * cameras.len(), 0.0);
    if frustum.is_empty() {
        return;
    }
    for (camera, target) in cameras.iter().zip(out.chunks_exact_mut(frustum.len())) {
        target
            .par_chunks_mut(CHUNK * 3)
            .zip(frustum.par_chunks(CHUNK * 3))
            .for_each(|(target, source)| {
                let sources = source.as_chunks::<3>().0;
                for (point, position) in target.as_chunks_mut::<3>().0.iter_mut().zip(sources) {
                    *point = place(camera, augmentation, *position);
                }
            });
    }
}

fn place(camera: &FrustumCamera, augmentation: &LidarAugmentation, position: [f32; 3]) -> [f32; 3] {
    let shifted = difference(position, camera.augmentation_shift);
    let [u, v, depth] = product(&camera.undo_augmentation, shifted);
    let ray = [u * depth, v * depth, depth];
    let point = sum(product(&camera.lidar_from_image, ray), camera.camera_center);
    sum(
        product(&augmentation.linear, point),
        augmentation.translation,
    )
}

#[cfg(test)]
mod tests {
    use super::{FrustumParams, frustum};

    #[test]
    fn the_frustum_spans_the_image_and_counts_depth_first() {
        let params = FrustumParams {
            image_size: [32, 48],
            feature_size: [4, 6],
            first_depth: 1.0,
            depth_step: 0.5,
            depths: 3,
        };
        let points = frustum(&params);
        assert_eq!(points.len(), params.points() * 3);
        assert_eq!(points[..3], [0.0, 0.0, 1.0]);
        assert_eq!(points[points.len() - 3..], [47.0, 31.0, 2.0]);
    }
}
