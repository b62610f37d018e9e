//! One proposal of the head to a box.
//!
//! In: regression rows `[10, P]` (cx, cy in BEV cells, z of the centre in m, ln l, ln w, ln h, sin, cos,
//! vx, vy), scores and labels `[P]`. Out: [`Detection`] in the LiDAR frame with its bottom centre.

use bevfusion_kernels::reference::decode::{BoxCoder, CODE_SIZE};

use crate::config::ModelSpec;
use crate::output::Detection;

/// What the head gives for one frame.
#[derive(Clone, Copy, Debug)]
pub struct HeadOutput<'a> {
    /// `[10, P]`.
    pub bbox_pred: &'a [f32],
    /// `[P]`: final scores, in 0..=1.
    pub score: &'a [f32],
    /// `[P]`: class indices.
    pub label: &'a [i64],
}

impl HeadOutput<'_> {
    /// Proposals that all three buffers hold.
    pub(super) fn proposals(&self) -> usize {
        self.columns().min(self.score.len()).min(self.label.len())
    }

    /// Proposals that some buffer lacks; 0 when all lengths agree.
    pub(super) fn unpaired(&self) -> usize {
        let most = self.columns().max(self.score.len()).max(self.label.len());
        most - self.proposals()
    }

    fn columns(&self) -> usize {
        self.bbox_pred.len() / CODE_SIZE
    }

    /// The regression values of a proposal.
    pub(super) fn code(&self, proposal: usize) -> [f32; CODE_SIZE] {
        std::array::from_fn(|row| self.bbox_pred[row * self.columns() + proposal])
    }
}

/// The box coder of a model.
pub(super) fn box_coder(spec: &ModelSpec) -> BoxCoder {
    let [x_min, y_min, ..] = spec.voxel.point_cloud_range;
    let [x_size, y_size, _] = spec.voxel.voxel_size;
    BoxCoder {
        out_size_factor: spec.head.out_size_factor,
        voxel_size: [x_size, y_size],
        lower: [x_min, y_min],
    }
}

/// A box with its score and class; `None` when a value is not finite.
pub(super) fn detection(
    coder: &BoxCoder,
    code: [f32; CODE_SIZE],
    score: f32,
    label: u32,
) -> Option<Detection> {
    let values = coder.decode(code);
    let [x, y, z, l, w, h, yaw, vx, vy] = values;
    let finite = values.iter().all(|value| value.is_finite()) && score.is_finite();
    finite.then_some(Detection {
        bottom_center: [x, y, z],
        size: [l, w, h],
        yaw,
        velocity: [vx, vy],
        score,
        label,
    })
}
