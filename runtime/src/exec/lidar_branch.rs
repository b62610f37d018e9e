//! The LiDAR branch of a pipeline: gathered points to the LiDAR BEV map, in reused buffers.

use super::{FaultCode, FrameFault, StageId};
use crate::config::{LidarEncoderSpec, ModelSpec};
use crate::lidar::{DroppedPoints, GatheredPoints, LidarEncoder, VoxelStage, Voxels};
use crate::weights::{MissingWeight, Weights};

pub(super) struct LidarBranch {
    stage: VoxelStage,
    voxels: Voxels,
    encoder: LidarEncoder,
}

impl LidarBranch {
    pub(super) fn new(
        spec: &ModelSpec,
        encoder: &LidarEncoderSpec,
        weights: &Weights,
    ) -> Result<Self, MissingWeight> {
        Ok(Self {
            stage: VoxelStage::new(&spec.voxel),
            voxels: Voxels::default(),
            encoder: LidarEncoder::new(encoder, spec.points.use_dim.len(), weights)?,
        })
    }

    /// Points to voxels; returns what found no room.
    pub(super) fn voxelize(&mut self, points: &GatheredPoints) -> DroppedPoints {
        self.stage.run(points, &mut self.voxels);
        self.voxels.dropped
    }

    pub(super) fn voxel_count(&self) -> usize {
        self.voxels.len()
    }

    /// The BEV map `[C, X, Y]`.
    pub(super) fn encode(&mut self) -> Result<&[f32], FrameFault> {
        self.encoder
            .run(&self.voxels, None)
            .map_err(|_ignored| FrameFault {
                code: FaultCode::Engine,
                stage: StageId::SparseEncoder,
                detail: StageId::SparseEncoder as u64,
            })
    }
}
