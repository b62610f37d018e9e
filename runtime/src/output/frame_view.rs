//! One frame with its result, lent to the writers of this module.

use super::Detection;
use crate::input::{CameraFrame, Frame, PointCloud};

/// What a picture, a recording or a result file shows of one frame.
///
/// Detections and ground truth are in the frame of the key cloud; ground truth has score 1.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// Name of the frame: a sample token or a file stem.
    pub frame_id: &'a str,
    /// Name of the model.
    pub model: &'a str,
    /// Names that `Detection::label` points into.
    pub class_names: &'a [String],
    /// The key cloud.
    pub points: &'a PointCloud,
    /// Cameras in any order.
    pub cameras: &'a [CameraFrame],
    /// What the model found.
    pub detections: &'a [Detection],
    /// Annotated boxes; empty when there are none.
    pub ground_truth: &'a [Detection],
}

impl<'a> FrameView<'a> {
    /// A view of a frame and what a model found in it.
    #[must_use]
    pub fn new(
        (frame_id, frame): (&'a str, &'a Frame),
        (model, class_names): (&'a str, &'a [String]),
        detections: &'a [Detection],
        ground_truth: &'a [Detection],
    ) -> Self {
        Self {
            frame_id,
            model,
            class_names,
            points: &frame.points,
            cameras: &frame.cameras,
            detections,
            ground_truth,
        }
    }

    /// Name of a box's class; `class 7` when the model has no such class.
    #[must_use]
    pub fn class_name(&self, label: u32) -> String {
        class_name(self.class_names, label)
    }
}

/// Name of class `label`, or `class 7` beyond the end.
pub(super) fn class_name(class_names: &[String], label: u32) -> String {
    usize::try_from(label)
        .ok()
        .and_then(|index| class_names.get(index))
        .cloned()
        .unwrap_or_else(|| format!("class {label}"))
}

/// Boxes of at least `min_score`, best first; equal scores keep their order.
pub(super) fn by_score(boxes: &[Detection], min_score: f32) -> Vec<&Detection> {
    let mut kept: Vec<_> = boxes.iter().filter(|b| b.score >= min_score).collect();
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}
