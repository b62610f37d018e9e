//! Which boxes are worth reporting.
//!
//! Range, heading certainty and score by distance; thresholds are per class, in the order of the
//! network's classes, and act before any class is changed. Source of the last two: the Autoware node.

use crate::config::PostprocessSpec;
use crate::output::Detection;

/// Whether the bottom centre lies in `post_center_range`, bounds included.
pub(super) fn in_range(spec: &PostprocessSpec, detection: &Detection) -> bool {
    let (lower, upper) = spec.post_center_range.split_at(3);
    detection
        .bottom_center
        .iter()
        .zip(lower.iter().zip(upper))
        .all(|(value, (low, high))| low <= value && value <= high)
}

/// Whether (sin, cos) of the heading is long enough for the class.
pub(super) fn heading_is_certain(
    spec: &PostprocessSpec,
    label: usize,
    (sin, cos): (f32, f32),
) -> bool {
    spec.yaw_norm_thresholds
        .get(label)
        .is_none_or(|threshold| (sin * sin + cos * cos).sqrt() >= *threshold)
}

/// Whether the score reaches the threshold of the class in the box's distance bin: the first whose limit
/// is beyond the box. A box beyond all bins is dropped; without bins every score passes.
pub(super) fn score_suffices(spec: &PostprocessSpec, detection: &Detection) -> bool {
    if spec.distance_bin_upper_limits.is_empty() {
        return true;
    }
    let [x, y, _] = detection.bottom_center;
    let squared = x * x + y * y;
    let threshold = spec
        .distance_bin_upper_limits
        .iter()
        .position(|limit| squared < limit * limit)
        .and_then(|bin| {
            let scores = spec.min_confidence_scores.get(detection.label as usize)?;
            scores.get(bin)
        });
    threshold.is_some_and(|threshold| detection.score >= *threshold)
}

#[cfg(test)]
mod tests {
    use super::{heading_is_certain, in_range, score_suffices};
    use crate::head::test_spec::{detection, test_spec};

    #[test]
    fn the_range_includes_its_bounds() {
        let spec = test_spec().postprocess;
        let mut at_border = detection([61.2, -61.2, 10.0], 0.5, 0);
        assert!(in_range(&spec, &at_border));
        at_border.bottom_center[2] = 10.001;
        assert!(!in_range(&spec, &at_border));
    }

    #[test]
    fn a_short_heading_vector_is_uncertain_for_its_class_only() {
        let mut spec = test_spec().postprocess;
        assert!(heading_is_certain(&spec, 0, (0.0, 0.0)));
        spec.yaw_norm_thresholds = vec![0.3, 0.0];
        assert!(!heading_is_certain(&spec, 0, (0.1, 0.2)));
        assert!(heading_is_certain(&spec, 0, (0.3, 0.0)));
        assert!(heading_is_certain(&spec, 1, (0.1, 0.2)));
    }

    #[test]
    fn the_score_is_held_against_the_first_bin_that_reaches_the_box() {
        let mut spec = test_spec().postprocess;
        spec.distance_bin_upper_limits = vec![10.0, 50.0];
        spec.min_confidence_scores = vec![vec![0.2, 0.4], vec![0.9, 0.9]];
        assert!(score_suffices(&spec, &detection([6.0, 7.9, 0.0], 0.2, 0)));
        assert!(!score_suffices(&spec, &detection([6.0, 8.0, 0.0], 0.2, 0)));
        assert!(score_suffices(&spec, &detection([6.0, 8.0, 0.0], 0.4, 0)));
        assert!(!score_suffices(&spec, &detection([6.0, 8.0, 0.0], 0.8, 1)));
        assert!(!score_suffices(&spec, &detection([50.0, 0.0, 0.0], 1.0, 0)));
    }
}
