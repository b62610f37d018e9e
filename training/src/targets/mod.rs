//! What the head should have said about one sample.
//!
//! In: P decoded proposals (LiDAR frame, m, bottom centre, no score filter) with raw class logits [K, P],
//! and G ground-truth boxes with classes. Out: per proposal a class (K = background), a 10-number box
//! target and its mask, plus the dense heatmap [K, X, Y] whose rows are x. Source: mmdetection3d
//! `projects/BEVFusion/bevfusion/transfusion_head.py`; an empty ground truth, which the original cannot
//! handle, makes everything background.

pub mod assign;
pub mod heatmap;
pub mod hungarian;

use bevfusion_kernels::reference::decode::{BoxCoder, CODE_SIZE};

use assign::{CostConfig, cost_matrix, iou_matrix, match_proposals};
use heatmap::{draw_gaussian, drawn_radius, gaussian_radius};
use hungarian::HungarianError;

/// Numbers of a box target: centre x, y (cells), height of the centre (m), ln length, ln width,
/// ln height, sin yaw, cos yaw, velocity x, y (m/s).
pub const BOX_CODE_SIZE: usize = CODE_SIZE;

/// Geometry and rules of target assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetConfig {
    /// x0, y0, z0, x1, y1, z1 (m).
    pub point_cloud_range: [f64; 6],
    /// Voxel size in x and y (m).
    pub voxel_size: [f64; 2],
    /// Voxels per BEV cell along each axis.
    pub out_size_factor: usize,
    /// BEV cells along x and y.
    pub bev_shape: [usize; 2],
    /// Number of classes K.
    pub num_classes: usize,
    /// Overlap that sets the heatmap radius.
    pub gaussian_overlap: f64,
    /// Least heatmap radius (cells).
    pub min_radius: usize,
    /// Weights of the matching cost.
    pub cost: CostConfig,
}

impl TargetConfig {
    /// The coder of box targets.
    #[must_use]
    pub fn box_coder(&self) -> BoxCoder {
        let [x, y, ..] = self.point_cloud_range;
        BoxCoder {
            out_size_factor: self.out_size_factor,
            voxel_size: self.voxel_size,
            lower: [x, y],
        }
    }
}

/// Proposals of one sample.
#[derive(Clone, Copy, Debug)]
pub struct Proposals<'a> {
    /// P boxes: x, y, z of the bottom centre, length, width, height (m), yaw (rad), velocity x, y (m/s).
    pub boxes: &'a [[f32; 9]],
    /// Raw class logits [K, P].
    pub logits: &'a [f32],
}

/// Annotated boxes of one sample.
#[derive(Clone, Copy, Debug)]
pub struct GroundTruth<'a> {
    /// G boxes in the form of [`Proposals::boxes`].
    pub boxes: &'a [[f32; 9]],
    /// Class of each box, below K.
    pub labels: &'a [u32],
}

/// Targets of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleTargets {
    /// Matching cost [P, G].
    pub cost: Vec<f32>,
    /// Ground-truth index of each proposal; `None` is background.
    pub assigned: Vec<Option<usize>>,
    /// Class of each proposal; K is background.
    pub labels: Vec<u32>,
    /// Weight of each proposal in the class loss.
    pub label_weights: Vec<f32>,
    /// Box target of each proposal; zeros for background.
    pub box_targets: Vec<[f32; BOX_CODE_SIZE]>,
    /// 1 for each number of a positive proposal, 0 for background; without the code weights.
    pub box_weights: Vec<[f32; BOX_CODE_SIZE]>,
    /// IoU of each proposal with the box that it was assigned, within 0..=1; 0 for background.
    pub ious: Vec<f32>,
    /// Number of assigned proposals.
    pub num_pos: usize,
    /// Mean of [`Self::ious`] over assigned proposals; for the log.
    pub matched_iou: f64,
    /// Dense heatmap target [K, X, Y].
    pub heatmap: Vec<f32>,
}

/// Why targets cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// An input has the wrong number of values.
    #[error(
        "{what}: {found} values, expected {expected}; check the head's outputs and num_classes"
    )]
    Shape {
        /// Which input.
        what: &'static str,
        /// Values expected.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A ground-truth class does not exist.
    #[error(
        "ground truth {index} has label {label}, expected one below {num_classes}; \
         drop boxes of other classes before training"
    )]
    Label {
        /// Index of the box.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        num_classes: usize,
    },
    /// A ground-truth box has a value that no target can be made of.
    #[error(
        "ground truth {index} has {what} {value}; sizes must be positive and all values finite \
         (unknown velocities are 0)"
    )]
    Box {
        /// Index of the box.
        index: usize,
        /// Which number of it.
        what: &'static str,
        /// The number.
        value: f32,
    },
    /// The matching refused the costs.
    #[error("matching of proposals with ground truth: {0}")]
    Matching(#[from] HungarianError),
}

/// Targets of one sample.
///
/// # Errors
/// When shapes, labels or boxes are not usable, or a proposal holds NaN.
pub fn assign_targets(
    config: &TargetConfig,
    proposals: &Proposals<'_>,
    truth: &GroundTruth<'_>,
) -> Result<SampleTargets, TargetError> {
    check(config, proposals, truth)?;
    let ious = iou_matrix(proposals, truth);
    let (count, truths) = (proposals.boxes.len(), truth.boxes.len());
    let range = &config.point_cloud_range;
    let cost = cost_matrix(proposals, truth, &ious, range, &config.cost);
    let assigned = match_proposals(&cost, count, truths)?;
    let overlap_with = |(p, g): (usize, &Option<usize>)| g.map_or(0.0, |g| ious[p * truths + g]);
    let matched = assigned.iter().enumerate().map(overlap_with);
    let ious: Vec<f32> = matched.map(|iou| iou.clamp(0.0, 1.0)).collect();
    let positives = || (0..count).filter_map(|p| assigned[p].map(|g| (p, g)));
    let num_pos = positives().count();
    let overlap: f64 = positives().map(|(p, _)| f64::from(ious[p])).sum();

    let background = config.num_classes as u32;
    let mut targets = SampleTargets {
        cost,
        labels: vec![background; count],
        label_weights: vec![1.0; count],
        box_targets: vec![[0.0; BOX_CODE_SIZE]; count],
        box_weights: vec![[0.0; BOX_CODE_SIZE]; count],
        ious,
        num_pos,
        matched_iou: overlap / num_pos.max(1) as f64,
        heatmap: heatmap_target(config, truth),
        assigned: Vec::new(),
    };
    let coder = config.box_coder();
    for (p, g) in positives() {
        targets.labels[p] = truth.labels[g];
        targets.box_targets[p] = coder.encode(truth.boxes[g]);
        targets.box_weights[p] = [1.0; BOX_CODE_SIZE];
    }
    targets.assigned = assigned;
    Ok(targets)
}

/// Dense heatmap target [K, X, Y] of checked ground truth.
fn heatmap_target(config: &TargetConfig, truth: &GroundTruth<'_>) -> Vec<f32> {
    let [rows, columns] = config.bev_shape;
    let mut heatmap = vec![0.0; config.num_classes * rows * columns];
    let cells = |metres: f32, axis: usize| {
        metres / config.voxel_size[axis] as f32 / config.out_size_factor as f32
    };
    for (b, label) in truth.boxes.iter().zip(truth.labels) {
        let radius = gaussian_radius(cells(b[4], 1), cells(b[3], 0), config.gaussian_overlap);
        let radius = drawn_radius(radius, config.min_radius);
        // Truncated towards zero: a centre up to one cell below the range falls into cell 0.
        let center =
            [0, 1].map(|axis| cells(b[axis] - config.point_cloud_range[axis] as f32, axis) as i64);
        let map = &mut heatmap[*label as usize * rows * columns..][..rows * columns];
        draw_gaussian(map, columns, center, radius);
    }
    heatmap
}

fn check(
    config: &TargetConfig,
    proposals: &Proposals<'_>,
    truth: &GroundTruth<'_>,
) -> Result<(), TargetError> {
    let (count, truths) = (proposals.boxes.len(), truth.boxes.len());
    for (what, expected, found) in [
        (
            "class logits",
            config.num_classes * count,
            proposals.logits.len(),
        ),
        ("ground-truth labels", truths, truth.labels.len()),
    ] {
        if expected != found {
            return Err(TargetError::Shape {
                what,
                expected,
                found,
            });
        }
    }
    let num_classes = config.num_classes;
    for (index, (b, &label)) in truth.boxes.iter().zip(truth.labels).enumerate() {
        if label as usize >= num_classes {
            return Err(TargetError::Label {
                index,
                label,
                num_classes,
            });
        }
        if let Some(&value) = b.iter().find(|v| !v.is_finite()) {
            return Err(TargetError::Box {
                index,
                what: "value",
                value,
            });
        }
        if let Some(&value) = b[3..6].iter().find(|v| **v <= 0.0) {
            return Err(TargetError::Box {
                index,
                what: "size",
                value,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{GroundTruth, Proposals, TargetConfig, TargetError, assign_targets};
    use crate::targets::assign::CostConfig;

    fn config() -> TargetConfig {
        TargetConfig {
            point_cloud_range: [-12.0, -6.0, -5.0, 12.0, 6.0, 3.0],
            voxel_size: [0.075, 0.075],
            out_size_factor: 8,
            bev_shape: [40, 20],
            num_classes: 3,
            gaussian_overlap: 0.1,
            min_radius: 2,
            cost: CostConfig::default(),
        }
    }

    fn car(x: f32, y: f32) -> [f32; 9] {
        [x, y, -1.0, 4.6, 1.95, 1.7, 0.3, 2.0, 0.5]
    }

    #[test]
    fn near_proposals_answer_and_the_rest_is_background() {
        let proposals = [
            car(-8.0, 3.0),
            car(5.1, -2.0),
            car(0.0, 0.0),
            car(-3.9, 1.0),
        ];
        let truths = [car(-4.0, 1.0), car(5.0, -2.0)];
        let logits = [0.0; 12];
        let proposals = Proposals {
            boxes: &proposals,
            logits: &logits,
        };
        let truth = GroundTruth {
            boxes: &truths,
            labels: &[2, 0],
        };
        let targets = assign_targets(&config(), &proposals, &truth).unwrap();
        assert_eq!(targets.assigned, [None, Some(1), None, Some(0)]);
        assert_eq!(targets.labels, [3, 0, 3, 2]);
        assert_eq!(targets.num_pos, 2);
        // Moved by 0.1 m each, of 4.6 m by 1.95 m.
        assert!((0.85..0.99).contains(&targets.matched_iou));
        assert!(
            targets.box_weights[3]
                .iter()
                .all(|w| (w - 1.0).abs() < f32::EPSILON)
        );
        assert!(
            targets.box_targets[0]
                .iter()
                .all(|t| t.abs() < f32::EPSILON)
        );
        // (5 + 12) / 0.6 = 28.3 along x (rows), (-2 + 6) / 0.6 = 6.7 along y (columns).
        assert_eq!(targets.heatmap[28 * 20 + 6].to_bits(), 1.0_f32.to_bits());
        assert_eq!(targets.heatmap.iter().filter(|v| **v >= 1.0).count(), 2);
    }

    #[test]
    fn no_ground_truth_is_all_background() {
        let proposals = [car(0.0, 0.0); 2];
        let proposals = Proposals {
            boxes: &proposals,
            logits: &[0.0; 6],
        };
        let truth = GroundTruth {
            boxes: &[],
            labels: &[],
        };
        let targets = assign_targets(&config(), &proposals, &truth).unwrap();
        assert_eq!(targets.labels, [3, 3]);
        assert_eq!(targets.num_pos, 0);
        assert!(targets.matched_iou.abs() < f64::EPSILON);
        assert!(targets.heatmap.iter().all(|v| *v <= 0.0));
    }

    #[test]
    fn unusable_inputs_are_refused_by_name() {
        let one = [car(0.0, 0.0)];
        let proposals = Proposals {
            boxes: &one,
            logits: &[0.0; 3],
        };
        let refuse = |boxes: &[[f32; 9]], labels: &[u32]| {
            let truth = GroundTruth { boxes, labels };
            assign_targets(&config(), &proposals, &truth).unwrap_err()
        };
        assert!(matches!(
            refuse(&one, &[3]),
            TargetError::Label { label: 3, .. }
        ));
        assert!(matches!(refuse(&one, &[]), TargetError::Shape { .. }));
        let mut flat = one;
        flat[0][4] = 0.0;
        assert!(refuse(&flat, &[0]).to_string().contains("size 0"));
        flat[0][4] = f32::NAN;
        assert!(matches!(refuse(&flat, &[0]), TargetError::Box { .. }));
        let broken = Proposals {
            boxes: &one,
            logits: &[f32::NAN; 3],
        };
        let truth = GroundTruth {
            boxes: &one,
            labels: &[0],
        };
        let error = assign_targets(&config(), &broken, &truth).unwrap_err();
        assert!(matches!(error, TargetError::Matching(_)));
    }
}
