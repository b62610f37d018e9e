//! Voxels of a frame: the model's grid handed to the voxelisation kernel.
//!
//! In: gathered points, x, y, z (m) first. Out: voxels with their means, in the order of their first
//! point. The grid has round((max − min) / size) cells along each axis.

use bevfusion_kernels::reference::sweep::GatheredPoints;
use bevfusion_kernels::reference::voxelize::{VoxelOutput, VoxelizeParams, Voxelizer, Voxels};

use crate::config::VoxelSpec;

/// The range filter's bounds: x, y, z lower then upper (m), in float32 as the filter compares them.
#[must_use]
pub fn point_range(spec: &VoxelSpec) -> [f32; 6] {
    spec.point_cloud_range.map(|bound| bound as f32)
}

/// Grid and caps of a model.
#[must_use]
pub fn voxelize_params(spec: &VoxelSpec) -> VoxelizeParams {
    let [min_x, min_y, min_z, max_x, max_y, max_z] = spec.point_cloud_range;
    let (min, max) = ([min_x, min_y, min_z], [max_x, max_y, max_z]);
    VoxelizeParams {
        min: min.map(|bound| bound as f32),
        size: spec.voxel_size.map(|size| size as f32),
        grid: std::array::from_fn(|j| ((max[j] - min[j]) / spec.voxel_size[j]).round() as usize),
        max_points: spec.max_points_per_voxel,
        max_voxels: spec.max_voxels,
        output: VoxelOutput::Mean,
    }
}

/// Voxelisation of one model, with its working memory.
#[derive(Clone, Debug)]
pub struct VoxelStage {
    params: VoxelizeParams,
    voxelizer: Voxelizer,
}

impl VoxelStage {
    /// For the grid of `spec`.
    #[must_use]
    pub fn new(spec: &VoxelSpec) -> Self {
        Self {
            params: voxelize_params(spec),
            voxelizer: Voxelizer::default(),
        }
    }

    /// Overwrites `out` with the voxels of `points`.
    pub fn run(&mut self, points: &GatheredPoints, out: &mut Voxels) {
        self.voxelizer
            .run(&self.params, &points.values, points.columns, out);
    }
}

#[cfg(test)]
mod tests {
    use super::{VoxelStage, voxelize_params};
    use crate::config::VoxelSpec;
    use crate::lidar::{GatheredPoints, Voxels};

    fn nuscenes() -> VoxelSpec {
        VoxelSpec {
            point_cloud_range: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0],
            voxel_size: [0.075, 0.075, 0.2],
            max_points_per_voxel: 2,
            max_voxels: 100,
        }
    }

    #[test]
    fn the_grid_is_rounded_not_cut() {
        assert_eq!(voxelize_params(&nuscenes()).grid, [1440, 1440, 40]);
        let t4 = VoxelSpec {
            point_cloud_range: [-122.4, -122.4, -3.0, 122.4, 122.4, 5.0],
            voxel_size: [0.17, 0.17, 0.2],
            ..nuscenes()
        };
        assert_eq!(voxelize_params(&t4).grid, [1440, 1440, 40]);
    }

    #[test]
    fn a_voxel_is_the_mean_of_its_first_points() {
        let points = GatheredPoints {
            values: [
                [0.01, 0.01, 0.0, 2.0],
                [-53.99, -53.99, -4.9, 7.0],
                [0.03, 0.03, 0.1, 4.0],
                [0.02, 0.02, 0.0, 100.0],
            ]
            .as_flattened()
            .to_vec(),
            columns: 4,
            ..GatheredPoints::default()
        };
        let mut voxels = Voxels::default();
        VoxelStage::new(&nuscenes()).run(&points, &mut voxels);
        assert_eq!(voxels.coords, [[720, 720, 25], [0, 0, 0]]);
        assert_eq!(voxels.counts, [2, 1]);
        assert_eq!((voxels.mean[3], voxels.mean[7]), (3.0, 7.0));
        assert_eq!(voxels.dropped.voxel_full, 1);
    }
}
