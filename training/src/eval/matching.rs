//! Predictions meet ground truth: greedy matching by score over the whole set.
//!
//! In: both sides of one class. Out: for each prediction in score order whether it is a true positive,
//! and the matched pairs with their errors. Source: the nuScenes devkit's `accumulate`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::boxes::{Attribute, EvalBox, EvalBoxes};
use super::config::{ClassConfig, TpError};

/// Both sides of one class, predictions in score order.
pub(super) struct ClassBoxes<'a> {
    truths: Vec<&'a EvalBox>,
    /// Truths of sample s are `truths[bounds[s]..bounds[s + 1]]`.
    bounds: Vec<usize>,
    /// Sample and box, best score first.
    predictions: Vec<(usize, &'a EvalBox)>,
}

/// Outcome at one distance threshold.
pub(super) struct Matches<'a> {
    /// Whether each prediction is a true positive, best score first.
    pub(super) hits: Vec<bool>,
    /// Score of each prediction.
    pub(super) scores: Vec<f64>,
    /// Ground truth and prediction of each true positive, best score first.
    pub(super) pairs: Vec<(&'a EvalBox, &'a EvalBox)>,
}

impl<'a> ClassBoxes<'a> {
    /// Boxes of `class`; `sample_of` gives the index of each token in `truth`.
    pub(super) fn collect(
        class: usize,
        truth: &'a EvalBoxes,
        predictions: &'a EvalBoxes,
        sample_of: &BTreeMap<&str, usize>,
    ) -> Self {
        let (mut truths, mut bounds) = (Vec::new(), vec![0]);
        for (_, boxes) in &truth.samples {
            truths.extend(boxes.iter().filter(|b| b.class == class));
            bounds.push(truths.len());
        }
        let mut ordered = Vec::new();
        for (token, boxes) in &predictions.samples {
            if let Some(sample) = sample_of.get(token.as_str()) {
                ordered.extend(
                    boxes
                        .iter()
                        .filter(|b| b.class == class)
                        .map(|b| (*sample, b)),
                );
            }
        }
        // Equal scores: the later one first, as after the original's reversal of an ascending sort.
        ordered.reverse();
        ordered.sort_by(|(_, a), (_, b)| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal));
        Self {
            truths,
            bounds,
            predictions: ordered,
        }
    }

    /// Number of ground-truth boxes.
    pub(super) fn truth_count(&self) -> usize {
        self.truths.len()
    }

    /// Gives each prediction, best first, the nearest free ground truth of its sample if that is nearer
    /// than `threshold` (m).
    pub(super) fn matches(&self, threshold: f64) -> Matches<'a> {
        let mut taken = vec![false; self.truths.len()];
        let mut found = Matches {
            hits: Vec::with_capacity(self.predictions.len()),
            scores: self.predictions.iter().map(|(_, b)| b.score).collect(),
            pairs: Vec::new(),
        };
        for (sample, prediction) in &self.predictions {
            let nearest = self.nearest_free(*sample, prediction, &taken);
            let hit = nearest.filter(|(_, distance)| *distance < threshold);
            found.hits.push(hit.is_some());
            if let Some((truth, _)) = hit {
                taken[truth] = true;
                found.pairs.push((self.truths[truth], prediction));
            }
        }
        found
    }

    fn nearest_free(
        &self,
        sample: usize,
        prediction: &EvalBox,
        taken: &[bool],
    ) -> Option<(usize, f64)> {
        let mut nearest: Option<(usize, f64)> = None;
        for truth in (self.bounds[sample]..self.bounds[sample + 1]).filter(|t| !taken[*t]) {
            let distance = self.truths[truth].center_distance(prediction);
            if nearest.is_none_or(|(_, shortest)| distance < shortest) {
                nearest = Some((truth, distance));
            }
        }
        nearest
    }
}

/// Error of a matched pair; NaN where it is unknown.
#[must_use]
pub fn pair_error(
    kind: TpError,
    truth: &EvalBox,
    prediction: &EvalBox,
    class: &ClassConfig,
) -> f64 {
    match kind {
        TpError::Translation => truth.center_distance(prediction),
        TpError::Scale => 1.0 - aligned_iou(truth.size, prediction.size),
        TpError::Orientation => {
            angle_difference(truth.yaw(), prediction.yaw(), class.heading_period).abs()
        }
        TpError::Velocity => {
            let [dx, dy] = [0, 1].map(|axis| prediction.velocity[axis] - truth.velocity[axis]);
            (dx * dx + dy * dy).sqrt()
        }
        TpError::Attribute => match truth.attribute {
            Some(Attribute::Empty) => f64::NAN,
            Some(attribute) if prediction.attribute == Some(attribute) => 0.0,
            Some(_) | None => 1.0,
        },
    }
}

/// IoU of two boxes that share centre and heading.
fn aligned_iou(a: [f64; 3], b: [f64; 3]) -> f64 {
    let intersection: f64 = a.iter().zip(b).map(|(a, b)| a.min(b)).product();
    intersection / (a.iter().product::<f64>() + b.iter().product::<f64>() - intersection)
}

/// `a` − `b` in (−period/2, period/2].
fn angle_difference(a: f64, b: f64, period: f64) -> f64 {
    let difference = (a - b + period / 2.0).rem_euclid(period) - period / 2.0;
    if difference > PI {
        difference - 2.0 * PI
    } else {
        difference
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::{aligned_iou, angle_difference, pair_error};
    use crate::eval::boxes::{Attribute, EvalBox};
    use crate::eval::config::{EvalConfig, TpError};

    #[test]
    fn headings_differ_by_the_short_way() {
        assert!((angle_difference(3.1, -3.1, 2.0 * PI) - (6.2 - 2.0 * PI)).abs() < 1e-12);
        assert!(angle_difference(0.2, 0.2 + PI, PI).abs() < 1e-12);
        assert!((angle_difference(1.0, -1.0, 2.0 * PI) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn aligned_boxes_overlap_by_their_smaller_sides() {
        assert!((aligned_iou([2.0, 4.0, 1.0], [1.0, 4.0, 2.0]) - 4.0 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn attributes_are_wrong_unknown_or_right() {
        let config = EvalConfig::nuscenes();
        let with = |attribute| EvalBox {
            class: 0,
            translation: [0.0; 3],
            size: [1.0; 3],
            rotation: [1.0, 0.0, 0.0, 0.0],
            velocity: [0.0; 2],
            ego_translation: [0.0; 3],
            num_pts: -1,
            score: 0.0,
            attribute,
        };
        let error = |truth, prediction| {
            pair_error(
                TpError::Attribute,
                &with(truth),
                &with(prediction),
                &config.classes[0],
            )
        };
        let (moving, parked) = (
            Some(Attribute::VehicleMoving),
            Some(Attribute::VehicleParked),
        );
        assert!(error(moving, moving).abs() < 1e-12);
        assert!((error(moving, parked) - 1.0).abs() < 1e-12);
        assert!((error(None, None) - 1.0).abs() < 1e-12);
        assert!(error(Some(Attribute::Empty), moving).is_nan());
    }
}
