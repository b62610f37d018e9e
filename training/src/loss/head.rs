//! The three losses of a batch, with gradients in the layout of the head's outputs.
//!
//! In: dense heatmap logits [B, K, X, Y], proposal class logits [B, K, P], box codes [B, 10, P] (centre
//! with the query position added, height, dim, rot, vel) and the targets of each sample. Out:
//! `loss_heatmap`, `layer_-1_loss_cls`, `layer_-1_loss_bbox`. All averages are over the batch at hand,
//! not over other devices.

use super::{FocalConfig, Loss, LossError, expect_len, gaussian_focal, sigmoid_focal, weighted_l1};
use crate::targets::{BOX_CODE_SIZE, SampleTargets};

/// Sizes of the head's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Number of classes K.
    pub num_classes: usize,
    /// Number of proposals P.
    pub num_proposals: usize,
    /// BEV cells X · Y.
    pub bev_cells: usize,
}

/// Outputs of the head for a batch.
#[derive(Clone, Copy, Debug)]
pub struct HeadOutputs<'a> {
    /// Dense heatmap logits [B, K, X, Y].
    pub dense_heatmap: &'a [f32],
    /// Class logits of the proposals [B, K, P].
    pub heatmap: &'a [f32],
    /// Box codes of the proposals [B, 10, P].
    pub boxes: &'a [f32],
}

/// Weights of the losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLossConfig {
    /// Weight of each number of a box code.
    pub code_weights: [f32; BOX_CODE_SIZE],
    /// Weight of the box loss.
    pub bbox_weight: f64,
    /// Shape of the class loss.
    pub focal: FocalConfig,
}

impl Default for HeadLossConfig {
    fn default() -> Self {
        Self {
            code_weights: [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2],
            bbox_weight: 0.25,
            focal: FocalConfig::default(),
        }
    }
}

/// The losses of a batch; gradients have the layout of [`HeadOutputs`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeadLoss {
    /// `loss_heatmap`.
    pub heatmap: Loss,
    /// `layer_-1_loss_cls`.
    pub class: Loss,
    /// `layer_-1_loss_bbox`.
    pub bbox: Loss,
}

impl HeadLoss {
    /// What is minimised.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.heatmap.value + self.class.value + self.bbox.value
    }
}

/// Losses of a batch of `targets.len()` samples.
///
/// # Errors
/// When an output or a target does not have the size that `shape` and the batch give.
pub fn head_loss(
    shape: HeadShape,
    outputs: &HeadOutputs<'_>,
    targets: &[SampleTargets],
    config: &HeadLossConfig,
) -> Result<HeadLoss, LossError> {
    let (classes, proposals) = (shape.num_classes, shape.num_proposals);
    let rows = targets.len() * proposals;
    expect_len("class logits", outputs.heatmap.len(), rows * classes)?;
    expect_len("box codes", outputs.boxes.len(), rows * BOX_CODE_SIZE)?;
    for target in targets {
        expect_len("labels", target.labels.len(), proposals)?;
        expect_len(
            "heatmap target",
            target.heatmap.len(),
            classes * shape.bev_cells,
        )?;
    }
    let positives = targets.iter().map(|t| t.num_pos).sum::<usize>().max(1) as f64;
    Ok(HeadLoss {
        heatmap: heatmap_loss(outputs, targets)?,
        class: class_loss(shape, outputs, targets, config, positives)?,
        bbox: bbox_loss(shape, outputs, targets, config, positives)?,
    })
}

fn heatmap_loss(outputs: &HeadOutputs<'_>, targets: &[SampleTargets]) -> Result<Loss, LossError> {
    let target: Vec<f32> = targets
        .iter()
        .flat_map(|t| t.heatmap.iter().copied())
        .collect();
    let centers = target.iter().filter(|v| **v >= 1.0).count().max(1);
    gaussian_focal(outputs.dense_heatmap, &target, centers as f64)
}

fn class_loss(
    shape: HeadShape,
    outputs: &HeadOutputs<'_>,
    targets: &[SampleTargets],
    config: &HeadLossConfig,
    positives: f64,
) -> Result<Loss, LossError> {
    let (classes, proposals) = (shape.num_classes, shape.num_proposals);
    let logits = swap_last_axes(outputs.heatmap, classes, proposals);
    let labels: Vec<u32> = targets
        .iter()
        .flat_map(|t| t.labels.iter().copied())
        .collect();
    let weights = targets.iter().flat_map(|t| t.label_weights.iter().copied());
    let weights: Vec<f32> = weights.collect();
    let mut loss = sigmoid_focal(&logits, &labels, &weights, classes, config.focal, positives)?;
    loss.gradient = swap_last_axes(&loss.gradient, proposals, classes);
    Ok(loss)
}

fn bbox_loss(
    shape: HeadShape,
    outputs: &HeadOutputs<'_>,
    targets: &[SampleTargets],
    config: &HeadLossConfig,
    positives: f64,
) -> Result<Loss, LossError> {
    let codes = swap_last_axes(outputs.boxes, BOX_CODE_SIZE, shape.num_proposals);
    let wanted = targets
        .iter()
        .flat_map(|t| t.box_targets.iter().flatten().copied());
    let wanted: Vec<f32> = wanted.collect();
    let masks = targets.iter().flat_map(|t| t.box_weights.iter());
    let weighted = |mask: &[f32; BOX_CODE_SIZE]| -> [f32; BOX_CODE_SIZE] {
        std::array::from_fn(|at| mask[at] * config.code_weights[at])
    };
    let weights: Vec<f32> = masks.flat_map(weighted).collect();
    let mut loss = weighted_l1(&codes, &wanted, &weights, config.bbox_weight, positives)?;
    loss.gradient = swap_last_axes(&loss.gradient, shape.num_proposals, BOX_CODE_SIZE);
    Ok(loss)
}

/// [B, rows, columns] to [B, columns, rows].
fn swap_last_axes(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let matrices = values.chunks_exact((rows * columns).max(1));
    let swap = |matrix: &[f32]| -> Vec<f32> {
        (0..columns)
            .flat_map(|c| (0..rows).map(move |r| matrix[r * columns + c]))
            .collect()
    };
    matrices.flat_map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::{HeadLossConfig, HeadOutputs, HeadShape, head_loss, swap_last_axes};
    use crate::loss::assert_gradient;
    use crate::targets::SampleTargets;

    const SHAPE: HeadShape = HeadShape {
        num_classes: 2,
        num_proposals: 3,
        bev_cells: 2,
    };

    fn sample(positive: usize) -> SampleTargets {
        let mut labels = vec![2; 3];
        labels[positive] = 1;
        let mut box_weights = vec![[0.0; 10]; 3];
        box_weights[positive] = [1.0; 10];
        SampleTargets {
            cost: vec![],
            assigned: vec![],
            labels,
            label_weights: vec![1.0; 3],
            box_targets: vec![[0.25; 10]; 3],
            box_weights,
            ious: vec![],
            num_pos: 1,
            matched_iou: 0.0,
            heatmap: vec![1.0, 0.2, 0.0, 0.5],
        }
    }

    #[test]
    fn gradients_come_back_in_the_outputs_layout() {
        let targets = [sample(0), sample(2)];
        let dense: Vec<f32> = (0..8_u8).map(|i| f32::from(i) * 0.3 - 1.0).collect();
        let logits: Vec<f32> = (0..12_u8).map(|i| f32::from(i) * 0.2 - 1.1).collect();
        let boxes: Vec<f32> = (0..60_u8).map(|i| f32::from(i) * 0.1 - 2.0).collect();
        let total = |dense: &[f32], heatmap: &[f32], boxes: &[f32]| {
            let outputs = HeadOutputs {
                dense_heatmap: dense,
                heatmap,
                boxes,
            };
            head_loss(SHAPE, &outputs, &targets, &HeadLossConfig::default()).unwrap()
        };
        let loss = total(&dense, &logits, &boxes);
        assert_gradient(&dense, &loss.heatmap.gradient, |d| {
            total(d, &logits, &boxes).total()
        });
        assert_gradient(&logits, &loss.class.gradient, |l| {
            total(&dense, l, &boxes).total()
        });
        assert_gradient(&boxes, &loss.bbox.gradient, |b| {
            total(&dense, &logits, b).total()
        });
    }

    #[test]
    fn swapping_twice_is_the_identity() {
        let values: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let swapped = swap_last_axes(&values, 2, 3);
        assert_eq!(swapped[..3], [0.0, 3.0, 1.0]);
        assert_eq!(swap_last_axes(&swapped, 3, 2), values);
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let outputs = HeadOutputs {
            dense_heatmap: &[0.0; 4],
            heatmap: &[0.0; 5],
            boxes: &[0.0; 30],
        };
        assert!(head_loss(SHAPE, &outputs, &[sample(0)], &HeadLossConfig::default()).is_err());
    }
}
