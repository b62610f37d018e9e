//! Suppression by overlap of rotated footprints.
//!
//! In: footprints and scores. Out: indices of kept boxes, best first. [`rotated_nms`] is the greedy
//! rule of mmdetection3d's `nms_bev`; [`iou_nms`] is Autoware's, in which a suppressed box still
//! suppresses others.

use super::circle_nms::{greedy, order_by_score};
use super::rotated_iou::{BevBox, bev_iou};

/// Limits of [`rotated_nms`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotatedNmsParams {
    /// A box goes when its IoU with a kept, better one is at least this.
    pub threshold: f64,
    /// Boxes considered, best first.
    pub pre_max_size: Option<usize>,
    /// Boxes kept.
    pub post_max_size: Option<usize>,
}

/// Greedy suppression; `keep` lists the kept boxes by descending score.
pub fn rotated_nms(
    boxes: &[BevBox],
    scores: &[f32],
    params: &RotatedNmsParams,
    keep: &mut Vec<usize>,
) {
    order_by_score(scores, keep);
    keep.truncate(params.pre_max_size.unwrap_or(usize::MAX));
    greedy(keep, |kept, candidate| {
        bev_iou(&boxes[kept], &boxes[candidate]) >= params.threshold
    });
    keep.truncate(params.post_max_size.unwrap_or(usize::MAX));
}

/// Limits of [`iou_nms`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IouNmsParams {
    /// Pairs of centres further apart are not compared (m).
    pub search_distance: f64,
    /// A box goes when its IoU with any better-scored one is above this.
    pub threshold: f64,
}

/// Autoware's suppression; `comparable` says whether two boxes may suppress each other by class.
pub fn iou_nms(
    boxes: &[BevBox],
    scores: &[f32],
    params: &IouNmsParams,
    comparable: impl Fn(usize, usize) -> bool,
    keep: &mut Vec<usize>,
) {
    order_by_score(scores, keep);
    let order = keep.clone();
    let mut position = 0;
    keep.retain(|candidate| {
        let better = &order[..position];
        position += 1;
        !better.iter().any(|other| {
            let (a, b) = (&boxes[*other], &boxes[*candidate]);
            let (dx, dy) = (a.center[0] - b.center[0], a.center[1] - b.center[1]);
            dx * dx + dy * dy <= params.search_distance * params.search_distance
                && comparable(*other, *candidate)
                && bev_iou(a, b) > params.threshold
        })
    });
}

#[cfg(test)]
mod tests {
    use super::{IouNmsParams, RotatedNmsParams, iou_nms, rotated_nms};
    use crate::reference::rotated_iou::{BevBox, bev_iou};
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    fn boxes() -> impl Strategy<Value = Vec<(BevBox, f32)>> {
        let bev = (
            proptest::array::uniform2(-6.0_f64..6.0),
            proptest::array::uniform2(0.5_f64..5.0),
            -3.0_f64..3.0,
        )
            .prop_map(|(center, size, yaw)| BevBox { center, size, yaw });
        let score = (0_u32..8).prop_map(|v| v as f32 / 8.0);
        proptest::collection::vec((bev, score), 0..40)
    }

    fn row(offset: f64) -> BevBox {
        BevBox {
            center: [offset, 0.0],
            size: [4.0, 2.0],
            yaw: 0.0,
        }
    }

    proptest! {
        #[test]
        fn greedy_suppression_equals_brute_force(boxes in boxes()) {
            let (bevs, scores): (Vec<BevBox>, Vec<f32>) = boxes.iter().copied().unzip();
            let params = RotatedNmsParams {
                threshold: 0.2, pre_max_size: Some(30), post_max_size: Some(10),
            };
            let mut keep = Vec::new();
            rotated_nms(&bevs, &scores, &params, &mut keep);
            let mut left: Vec<usize> = (0..boxes.len()).collect();
            left.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).expect("finite"));
            left.truncate(30);
            let mut want = Vec::new();
            while !left.is_empty() {
                let best = left.remove(0);
                want.push(best);
                left.retain(|other| bev_iou(&bevs[best], &bevs[*other]) < 0.2);
            }
            want.truncate(10);
            prop_assert_eq!(keep, want);
        }
    }

    #[test]
    fn a_suppressed_box_suppresses_only_in_autowares_form() {
        // Neighbours overlap by a third, the outer two not at all.
        let (bevs, scores) = ([row(0.0), row(2.0), row(4.0)], [0.9, 0.8, 0.7]);
        let mut keep = Vec::new();
        let params = RotatedNmsParams {
            threshold: 0.1,
            pre_max_size: None,
            post_max_size: None,
        };
        rotated_nms(&bevs, &scores, &params, &mut keep);
        assert_eq!(keep, [0, 2]);
        let params = IouNmsParams {
            search_distance: 10.0,
            threshold: 0.1,
        };
        iou_nms(&bevs, &scores, &params, |_, _| true, &mut keep);
        assert_eq!(keep, [0]);
    }

    #[test]
    fn far_or_incomparable_boxes_are_left_alone() {
        let (bevs, scores) = ([row(0.0), row(1.0)], [0.5, 0.9]);
        let mut keep = Vec::new();
        let near = IouNmsParams {
            search_distance: 0.5,
            threshold: 0.1,
        };
        iou_nms(&bevs, &scores, &near, |_, _| true, &mut keep);
        assert_eq!(keep, [1, 0]);
        let far = IouNmsParams {
            search_distance: 10.0,
            ..near
        };
        iou_nms(&bevs, &scores, &far, |_, _| false, &mut keep);
        assert_eq!(keep, [1, 0]);
    }
}
