//! The straight path from the head's output to detections.
//!
//! In: [`HeadOutput`] of one frame. Out: detections in the LiDAR frame, and how many proposals each step
//! took. Values that make no sense are dropped and counted, never trusted as an index.

use bevfusion_kernels::reference::decode::BoxCoder;

use super::HeadOutput;
use super::decode::{box_coder, detection};
use super::filter::{heading_is_certain, in_range, score_suffices};
use super::nms::suppress;
use super::remap::remap;
use crate::config::ModelSpec;
use crate::output::Detection;

/// What became of the proposals of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostprocessCounts {
    /// Proposals looked at.
    pub proposals: usize,
    /// Proposals that not all output buffers hold: the engine's outputs disagree in length.
    pub unpaired: usize,
    /// Dropped: the label is no class of the model.
    pub invalid_label: usize,
    /// Dropped: a value is NaN or infinite.
    pub non_finite: usize,
    /// Dropped: outside `post_center_range`.
    pub out_of_range: usize,
    /// Dropped: (sin, cos) shorter than the class's `yaw_norm_thresholds`.
    pub uncertain_heading: usize,
    /// Dropped: below the score threshold of its distance bin, or beyond all bins.
    pub low_score: usize,
    /// Dropped by suppression.
    pub suppressed: usize,
    /// Kept with another class.
    pub remapped: usize,
    /// Kept unchanged although the remapper wanted a class that the model lacks.
    pub remap_inexpressible: usize,
    /// Detections left.
    pub kept: usize,
}

/// Why a proposal is dropped before suppression.
#[derive(Clone, Copy)]
enum Refusal {
    InvalidLabel,
    NonFinite,
    OutOfRange,
    UncertainHeading,
    LowScore,
}

/// Decodes, filters, suppresses and remaps; `detections` is overwritten.
pub fn postprocess(
    spec: &ModelSpec,
    output: &HeadOutput<'_>,
    detections: &mut Vec<Detection>,
) -> PostprocessCounts {
    let coder = box_coder(spec);
    let mut counts = PostprocessCounts {
        proposals: output.proposals(),
        unpaired: output.unpaired(),
        ..PostprocessCounts::default()
    };
    detections.clear();
    for proposal in 0..counts.proposals {
        match judge(spec, &coder, output, proposal) {
            Ok(found) => detections.push(found),
            Err(Refusal::InvalidLabel) => counts.invalid_label += 1,
            Err(Refusal::NonFinite) => counts.non_finite += 1,
            Err(Refusal::OutOfRange) => counts.out_of_range += 1,
            Err(Refusal::UncertainHeading) => counts.uncertain_heading += 1,
            Err(Refusal::LowScore) => counts.low_score += 1,
        }
    }
    let found = detections.len();
    suppress(&spec.postprocess.nms, &spec.class_names, detections);
    counts.suppressed = found - detections.len();
    if let Some(remapper) = &spec.postprocess.class_remapper {
        let result = remap(remapper, &spec.class_names, detections);
        counts.remapped = result.changed;
        counts.remap_inexpressible = result.inexpressible;
    }
    counts.kept = detections.len();
    counts
}

fn judge(
    spec: &ModelSpec,
    coder: &BoxCoder,
    output: &HeadOutput<'_>,
    proposal: usize,
) -> Result<Detection, Refusal> {
    let label = u32::try_from(output.label[proposal])
        .ok()
        .filter(|label| (*label as usize) < spec.class_names.len())
        .ok_or(Refusal::InvalidLabel)?;
    let code = output.code(proposal);
    let found = detection(coder, code, output.score[proposal], label).ok_or(Refusal::NonFinite)?;
    let filters = &spec.postprocess;
    if !in_range(filters, &found) {
        return Err(Refusal::OutOfRange);
    }
    if !heading_is_certain(filters, label as usize, (code[6], code[7])) {
        return Err(Refusal::UncertainHeading);
    }
    if !score_suffices(filters, &found) {
        return Err(Refusal::LowScore);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{PostprocessCounts, postprocess};
    use crate::config::NmsSpec;
    use crate::head::HeadOutput;
    use crate::head::test_spec::test_spec;
    use crate::output::Detection;

    /// Rows of codes to `[10, P]`.
    fn by_rows(codes: &[[f32; 10]]) -> Vec<f32> {
        (0..10)
            .flat_map(|row| codes.iter().map(move |code| code[row]))
            .collect()
    }

    fn run(
        codes: &[[f32; 10]],
        score: &[f32],
        label: &[i64],
    ) -> (Vec<Detection>, PostprocessCounts) {
        let bbox_pred = by_rows(codes);
        let output = HeadOutput {
            bbox_pred: &bbox_pred,
            score,
            label,
        };
        let mut spec = test_spec();
        spec.postprocess.yaw_norm_thresholds = vec![0.3, 0.0];
        spec.postprocess.distance_bin_upper_limits = vec![100.0];
        spec.postprocess.min_confidence_scores = vec![vec![0.1], vec![0.1]];
        spec.postprocess.nms = vec![NmsSpec::CircleDistance {
            circle_nms_dist_threshold: 0.5,
        }];
        let mut detections = Vec::new();
        let counts = postprocess(&spec, &output, &mut detections);
        (detections, counts)
    }

    /// A box at (6, 0) m.
    const GOOD: [f32; 10] = [100.0, 90.0, 0.5, 1.5, 0.7, 0.0, 0.0, 1.0, 2.0, 0.0];

    #[test]
    fn a_box_is_decoded_to_its_bottom_centre() {
        let (detections, counts) = run(&[GOOD], &[0.7], &[1]);
        assert_eq!((counts.kept, detections.len()), (1, 1));
        let found = detections[0];
        assert!((found.bottom_center[0] - 6.0).abs() < 1e-4);
        assert!(found.bottom_center[1].abs() < 1e-4 && found.bottom_center[2].abs() < 1e-6);
        assert_eq!((found.label, found.velocity), (1, [2.0, 0.0]));
    }

    #[test]
    fn each_refusal_is_counted_under_its_reason() {
        let with = |index: usize, value: f32| {
            let mut code = GOOD;
            code[index] = value;
            code
        };
        let codes = [
            GOOD,
            GOOD,
            with(3, 200.0),
            with(0, f32::NAN),
            with(0, 1e4),
            with(7, 0.2),
            GOOD,
            GOOD,
        ];
        let score = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.05, 0.8];
        let (detections, counts) = run(&codes, &score, &[0, 2, 0, 0, 0, 0, 0, 0]);
        let want = PostprocessCounts {
            proposals: 8,
            invalid_label: 1,
            non_finite: 2,
            out_of_range: 1,
            uncertain_heading: 1,
            low_score: 1,
            suppressed: 1,
            kept: 1,
            ..PostprocessCounts::default()
        };
        assert_eq!(counts, want);
        assert_eq!(detections.len(), 1);
        let (_, counts) = run(&[GOOD], &[0.9], &[-1]);
        assert_eq!((counts.invalid_label, counts.kept), (1, 0));
    }

    #[test]
    fn outputs_of_different_lengths_are_counted_and_not_read_past() {
        let (detections, counts) = run(&[GOOD, GOOD], &[0.9], &[0, 0, 0]);
        assert_eq!(
            (counts.proposals, counts.unpaired, detections.len()),
            (1, 2, 1)
        );
        let (_, counts) = run(&[], &[], &[]);
        assert_eq!(counts, PostprocessCounts::default());
    }
}
