//! T4MetricV2 with BEV centre distance: AP, APH and F1 in rings around the vehicle.
//!
//! In: frames of annotated and predicted boxes in `base_link`. Out, for each ring: per label and distance
//! threshold the average precision with a precision envelope, the heading-weighted one, and the operating
//! point of best F1. Source: tier4/autoware_perception_evaluation at 9d8c977 as AWML configures it. The
//! order of equal scores, which the original leaves open, is last frame and last box first.

use std::cmp::Ordering;
use std::f64::consts::PI;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::curve::{RECALL_SAMPLES, interpolate, mean, mean_without_nan, recall_at};

/// Recalls up to 0.1 are left out.
const FIRST_RECALL_INDEX: usize = 11;
/// Precision below this one counts as zero.
const MIN_PRECISION: f64 = 0.1;

/// Rings of the T4 configurations: least and greatest distance (m).
pub const RINGS: [[f64; 2]; 4] = [[0.0, 50.0], [50.0, 90.0], [90.0, 121.0], [0.0, 121.0]];
/// Distance thresholds (m).
pub const THRESHOLDS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

/// One box in `base_link`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameBox {
    /// Index of the label.
    pub label: usize,
    /// x and y of the centre (m).
    pub center: [f64; 2],
    /// Heading (rad).
    pub yaw: f64,
    /// Confidence; without meaning for ground truth.
    pub score: f64,
}

/// One frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Annotated boxes with at least one point.
    pub truths: Vec<FrameBox>,
    /// Predicted boxes.
    pub predictions: Vec<FrameBox>,
}

/// Operating point of best F1; NaN where nothing is defined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestF1 {
    /// The F1 score.
    pub f1: f64,
    /// Score threshold.
    pub confidence: f64,
    /// Precision there.
    pub precision: f64,
    /// Recall there.
    pub recall: f64,
}

/// Scores of one label at one threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelScore {
    /// Average precision; NaN when the label occurs on neither side.
    pub ap: f64,
    /// AP weighted by heading as the original computes it: from unsigned angles, so that a mirrored
    /// heading costs nothing.
    pub aph_original: f64,
    /// AP weighted by the true heading difference.
    pub aph: f64,
    /// Best operating point.
    pub best: BestF1,
}

/// Scores in one ring.
#[derive(Clone, Debug, PartialEq)]
pub struct RingScores {
    /// Scores of each label at each of [`THRESHOLDS`].
    pub labels: Vec<[LabelScore; 4]>,
    /// Annotated boxes of each label in the ring.
    pub truth_counts: Vec<usize>,
    /// Predicted boxes of each label in the ring.
    pub prediction_counts: Vec<usize>,
    /// Mean AP over labels.
    pub map: f64,
    /// Mean of [`LabelScore::aph_original`].
    pub maph_original: f64,
    /// Mean of [`LabelScore::aph`].
    pub maph: f64,
}

/// Scores `frames` in `ring` (least ≤ distance < greatest, m) for labels 0..`num_labels`.
///
/// Boxes with NaN are left out, as in the original.
#[must_use]
pub fn evaluate_ring(frames: &[Frame], num_labels: usize, ring: [f64; 2]) -> RingScores {
    let scored: Vec<([LabelScore; 4], usize, usize)> = (0..num_labels)
        .into_par_iter()
        .map(|label| {
            let frames: Vec<Frame> = frames.iter().map(|f| restrict(f, label, ring)).collect();
            let truths = frames.iter().map(|f| f.truths.len()).sum();
            let predictions = frames.iter().map(|f| f.predictions.len()).sum();
            let at = |threshold| label_score(&frames, truths, threshold);
            (THRESHOLDS.map(at), truths, predictions)
        })
        .collect();
    let labels: Vec<[LabelScore; 4]> = scored.iter().map(|s| s.0).collect();
    let mean_of = |value: fn(&LabelScore) -> f64| {
        let per_label = labels
            .iter()
            .map(|scores| mean_without_nan(scores.iter().map(value)));
        mean_without_nan(per_label)
    };
    RingScores {
        map: mean_of(|s| s.ap),
        maph_original: mean_of(|s| s.aph_original),
        maph: mean_of(|s| s.aph),
        truth_counts: scored.iter().map(|s| s.1).collect(),
        prediction_counts: scored.iter().map(|s| s.2).collect(),
        labels,
    }
}

/// Boxes of one label inside the ring, predictions best score first.
fn restrict(frame: &Frame, label: usize, ring: [f64; 2]) -> Frame {
    let kept = |b: &&FrameBox| {
        let [x, y] = b.center;
        let distance = (x * x + y * y).sqrt();
        let known = !(b.yaw.is_nan() || b.score.is_nan());
        b.label == label && known && ring[0] <= distance && distance < ring[1]
    };
    let mut kept_predictions: Vec<FrameBox> =
        frame.predictions.iter().filter(kept).copied().collect();
    kept_predictions.sort_by(|a, b| descending(a.score, b.score));
    Frame {
        truths: frame.truths.iter().filter(kept).copied().collect(),
        predictions: kept_predictions,
    }
}

fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// A prediction: its score and, when it is a true positive, its two heading weights (original, true).
struct Outcome {
    score: f64,
    weights: Option<[f64; 2]>,
}

fn label_score(frames: &[Frame], truths: usize, threshold: f64) -> LabelScore {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for frame in frames {
        match_frame(frame, threshold, &mut outcomes);
    }
    outcomes.reverse();
    outcomes.sort_by(|a, b| descending(a.score, b.score));
    let curve = |weight: &dyn Fn(&[f64; 2]) -> f64| Curve::new(&outcomes, truths, weight);
    let plain = curve(&|_| 1.0);
    LabelScore {
        ap: plain.average_precision(truths),
        aph_original: curve(&|w| w[0]).average_precision(truths),
        aph: curve(&|w| w[1]).average_precision(truths),
        best: plain.best_f1(&outcomes),
    }
}

/// Gives each prediction of a restricted frame the nearest free ground truth nearer than `threshold`.
fn match_frame(frame: &Frame, threshold: f64, outcomes: &mut Vec<Outcome>) {
    let mut taken = vec![false; frame.truths.len()];
    for prediction in &frame.predictions {
        let mut nearest: Option<(usize, f64)> = None;
        for (at, truth) in frame
            .truths
            .iter()
            .enumerate()
            .filter(|(at, _)| !taken[*at])
        {
            let [dx, dy] = [0, 1].map(|axis| prediction.center[axis] - truth.center[axis]);
            let distance = (dx * dx + dy * dy).sqrt();
            if nearest.is_none_or(|(_, shortest)| distance < shortest) {
                nearest = Some((at, distance));
            }
        }
        let hit = nearest.filter(|(_, distance)| *distance < threshold);
        let weights = hit.map(|(at, _)| {
            taken[at] = true;
            heading_weights(prediction.yaw, frame.truths[at].yaw)
        });
        outcomes.push(Outcome {
            score: prediction.score,
            weights,
        });
    }
}

/// 1 for equal headings, 0 for opposite ones: from unsigned rotation angles, and from true differences.
fn heading_weights(a: f64, b: f64) -> [f64; 2] {
    let unsigned = |yaw: f64| {
        let half = 0.5 * yaw;
        wrapped(2.0 * half.sin().abs().atan2(half.cos()))
    };
    [unsigned(a) - unsigned(b), a - b].map(|difference| {
        let weight = 1.0 - wrapped(difference).abs() / PI;
        (weight.clamp(0.0, 1.0) * 1e10).round() / 1e10
    })
}

/// The angle in [−π, π).
fn wrapped(angle: f64) -> f64 {
    (angle + PI).rem_euclid(2.0 * PI) - PI
}

/// Precision and recall after each prediction.
struct Curve {
    precisions: Vec<f64>,
    recalls: Vec<f64>,
}

impl Curve {
    fn new(outcomes: &[Outcome], truths: usize, weight: &dyn Fn(&[f64; 2]) -> f64) -> Self {
        let (mut hits, mut misses) = (0.0, 0.0);
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let (mut precisions, mut recalls) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match &outcome.weights {
                Some(weights) => hits += weight(weights),
                None => misses += 1.0,
            }
            precisions.push(ratio(hits, hits + misses));
            recalls.push(ratio(hits, truths as f64));
        }
        Self {
            precisions,
            recalls,
        }
    }

    fn average_precision(&self, truths: usize) -> f64 {
        match (truths, self.precisions.len()) {
            (0, 0) => return f64::NAN,
            (0, _) | (_, 0) => return 0.0,
            _ => {}
        }
        let mut envelope = self.precisions.clone();
        for at in (1..envelope.len()).rev() {
            envelope[at - 1] = envelope[at - 1].max(envelope[at]);
        }
        let at = |i| interpolate(recall_at(i), &self.recalls, &envelope, envelope[0], 0.0);
        let above = |i| f64::max(at(i) - MIN_PRECISION, 0.0);
        let used: Vec<f64> = (FIRST_RECALL_INDEX..RECALL_SAMPLES).map(above).collect();
        mean(&used) / (1.0 - MIN_PRECISION)
    }

    fn best_f1(&self, outcomes: &[Outcome]) -> BestF1 {
        let unknown = f64::NAN;
        let mut best = BestF1 {
            f1: unknown,
            confidence: unknown,
            precision: unknown,
            recall: unknown,
        };
        for (at, outcome) in outcomes.iter().enumerate() {
            let (precision, recall) = (self.precisions[at], self.recalls[at]);
            let f1 = 2.0 * precision * recall / (precision + recall);
            if f1 > best.f1 || best.f1.is_nan() && !f1.is_nan() {
                best = BestF1 {
                    f1,
                    confidence: outcome.score,
                    precision,
                    recall,
                };
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::{Frame, FrameBox, RINGS, evaluate_ring, heading_weights};

    fn car(x: f64, yaw: f64, score: f64) -> FrameBox {
        FrameBox {
            label: 0,
            center: [x, 0.0],
            yaw,
            score,
        }
    }

    #[test]
    fn the_envelope_forgives_an_early_false_positive() {
        let frame = Frame {
            truths: vec![car(10.0, 0.0, 1.0), car(20.0, 0.0, 1.0)],
            predictions: vec![
                car(40.0, 0.0, 0.9),
                car(10.0, 0.0, 0.8),
                car(20.0, 0.0, 0.7),
            ],
        };
        let scores = evaluate_ring(&[frame], 1, RINGS[0]);
        // Precisions 0, 1/2, 2/3 become 2/3 everywhere.
        let want = (2.0 / 3.0 - 0.1) / 0.9;
        assert!((scores.map - want).abs() < 1e-12);
        let best = scores.labels[0][0].best;
        assert!((best.f1 - 0.8).abs() < 1e-12 && (best.confidence - 0.7).abs() < 1e-12);
    }

    #[test]
    fn rings_are_half_open_and_each_side_is_cut_for_itself() {
        let frame = Frame {
            truths: vec![car(49.9, 0.0, 1.0)],
            predictions: vec![car(50.0, 0.0, 0.9)],
        };
        let near = evaluate_ring(std::slice::from_ref(&frame), 2, RINGS[0]);
        assert_eq!((near.truth_counts[0], near.prediction_counts[0]), (1, 0));
        assert!(near.map.abs() < 1e-12);
        assert!(near.labels[1][0].ap.is_nan());
        let all = evaluate_ring(&[frame], 2, RINGS[3]);
        assert!((all.map - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_original_heading_weight_misses_a_mirrored_heading() {
        let [original, signed] = heading_weights(0.5, -0.5);
        assert!((original - 1.0).abs() < 1e-12);
        assert!((signed - (1.0 - 1.0 / PI)).abs() < 1e-9);
        let [original, signed] = heading_weights(0.0, 3.1);
        assert!((original - signed).abs() < 1e-12);
        assert!((signed - (1.0 - 3.1 / PI)).abs() < 1e-9);
    }

    #[test]
    fn boxes_with_nan_are_left_out() {
        let frame = Frame {
            truths: vec![car(10.0, 0.0, 1.0)],
            predictions: vec![
                car(f64::NAN, 0.0, 0.9),
                car(10.0, f64::NAN, 0.9),
                car(10.0, 0.0, 0.2),
            ],
        };
        let scores = evaluate_ring(&[frame], 1, RINGS[3]);
        assert_eq!(scores.prediction_counts, [1]);
        assert!((scores.map - 1.0).abs() < 1e-12);
    }
}
