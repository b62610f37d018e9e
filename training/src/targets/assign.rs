//! Which proposal answers for which ground-truth box.
//!
//! In: P decoded proposals with raw class logits [K, P] and G ground-truth boxes, all in the LiDAR frame
//! (m, bottom centre). Out: a cost matrix [P, G] and the assignment of least total cost. Costs are single
//! precision as in mmdetection3d's `HungarianAssigner3D`; the matching is done in double precision.

use bevfusion_kernels::reference::rotated_iou::{UprightBox, iou_3d};

use super::hungarian::{HungarianError, assign_minimum};
use super::{GroundTruth, Proposals};

/// Keeps the logarithms of the class cost finite.
const LOG_EPSILON: f32 = 1e-12;

/// Weights of the matching cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostConfig {
    /// Weight of the focal class cost.
    pub class_weight: f32,
    /// Balance of positives against negatives in the class cost.
    pub alpha: f32,
    /// Exponent of the class cost.
    pub gamma: f32,
    /// Weight of the normalised L1 distance of the centres.
    pub center_weight: f32,
    /// Weight of the 3D IoU.
    pub iou_weight: f32,
}

impl Default for CostConfig {
    fn default() -> Self {
        Self {
            class_weight: 0.15,
            alpha: 0.25,
            gamma: 2.0,
            center_weight: 0.25,
            iou_weight: 0.25,
        }
    }
}

/// Focal cost of answering for a box whose class has this logit: positive minus negative part, weighted.
#[must_use]
pub fn class_cost(logit: f32, config: &CostConfig) -> f32 {
    let p = 1.0 / (1.0 + (-logit).exp());
    let negative = -(1.0 - p + LOG_EPSILON).ln() * (1.0 - config.alpha) * p.powf(config.gamma);
    let positive = -(p + LOG_EPSILON).ln() * config.alpha * (1.0 - p).powf(config.gamma);
    (positive - negative) * config.class_weight
}

/// L1 distance of two centres (m) after scaling the point cloud range (x0, y0, z0, x1, y1, z1) to 0..1,
/// weighted.
#[must_use]
pub fn center_cost(a: [f32; 2], b: [f32; 2], range: &[f64; 6], config: &CostConfig) -> f32 {
    let normalised = |value: f32, axis: usize| {
        let (low, high) = (range[axis] as f32, range[axis + 3] as f32);
        (value - low) / (high - low)
    };
    let along = |axis: usize| (normalised(a[axis], axis) - normalised(b[axis], axis)).abs();
    (along(0) + along(1)) * config.center_weight
}

/// 3D IoU of every proposal with every ground-truth box, [P, G].
#[must_use]
pub fn iou_matrix(proposals: &Proposals<'_>, truth: &GroundTruth<'_>) -> Vec<f32> {
    let upright = |boxes: &[[f32; 9]]| -> Vec<UprightBox> {
        let boxes = boxes.iter();
        boxes.map(|b| UprightBox::of(b.map(f64::from))).collect()
    };
    let (proposals, truth) = (upright(proposals.boxes), upright(truth.boxes));
    let pairs = proposals
        .iter()
        .flat_map(|a| truth.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| iou_3d(a, b) as f32).collect()
}

/// Cost of every pair, [P, G], from IoUs of the same shape. The inputs have been checked.
pub(super) fn cost_matrix(
    proposals: &Proposals<'_>,
    truth: &GroundTruth<'_>,
    ious: &[f32],
    range: &[f64; 6],
    config: &CostConfig,
) -> Vec<f32> {
    let (count, truths) = (proposals.boxes.len(), truth.boxes.len());
    let pair = |at: usize| {
        let (p, g) = (at / truths, at % truths);
        let (a, b) = (&proposals.boxes[p], &truth.boxes[g]);
        let class = class_cost(
            proposals.logits[truth.labels[g] as usize * count + p],
            config,
        );
        let center = center_cost([a[0], a[1]], [b[0], b[1]], range, config);
        class + center + -ious[at] * config.iou_weight
    };
    (0..count * truths).map(pair).collect()
}

/// Ground-truth index of each proposal in the assignment of least cost; `None` is background.
///
/// # Errors
/// When the matrix is not [proposals, truths] or a cost is not finite.
pub fn match_proposals(
    cost: &[f32],
    proposals: usize,
    truths: usize,
) -> Result<Vec<Option<usize>>, HungarianError> {
    let cost: Vec<f64> = cost.iter().map(|v| f64::from(*v)).collect();
    assign_minimum(&cost, proposals, truths)
}

#[cfg(test)]
mod tests {
    use super::{CostConfig, center_cost, class_cost};

    #[test]
    fn costs_are_those_of_the_original() {
        let config = CostConfig::default();
        for (logit, want) in [(2.0, -0.1856), (-1.0, 0.0238), (0.0, -0.0130)] {
            assert!((class_cost(logit, &config) - want).abs() < 5e-5, "{logit}");
        }
        let range = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0];
        let cost = center_cost([10.0, -20.0], [13.0, -18.0], &range, &config);
        assert!((cost - 0.011_574).abs() < 5e-7);
    }

    #[test]
    fn extreme_logits_have_finite_costs() {
        let config = CostConfig::default();
        assert!(class_cost(200.0, &config).is_finite());
        assert!(class_cost(-200.0, &config).is_finite());
    }
}
