//! The LiDAR branch: sweeps to the LiDAR BEV map.

pub(crate) mod blocks;
pub(crate) mod encoder;
mod sweeps;
mod voxelize;

pub use bevfusion_kernels::reference::sweep::{GatheredPoints, PointCounts};
pub use bevfusion_kernels::reference::voxelize::{DroppedPoints, Voxels};
pub use encoder::{EncoderInputError, LidarEncoder, SparseObserver};
pub use sweeps::{PointsError, gather_points};
pub(crate) use sweeps::{check_cloud, placement};
pub use voxelize::{VoxelStage, point_range, voxelize_params};
