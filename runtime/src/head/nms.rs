//! Suppression of duplicates, step by step as the model lists it.
//!
//! mmdetection3d's forms work per group of classes and leave the kept boxes in proposal order, classes
//! outside every group untouched. Autoware's forms work on all boxes and leave them best first.

use bevfusion_kernels::reference::circle_nms::{circle_nms_distance, circle_nms_squared};
use bevfusion_kernels::reference::rotated_iou::BevBox;
use bevfusion_kernels::reference::rotated_nms::{
    IouNmsParams, RotatedNmsParams, iou_nms, rotated_nms,
};

use crate::config::NmsSpec;
use crate::output::Detection;

/// Class of people on foot, which Autoware never compares with other classes.
const PEDESTRIAN: &str = "pedestrian";

/// Runs `steps` in turn over `detections`.
pub(super) fn suppress(steps: &[NmsSpec], class_names: &[String], detections: &mut Vec<Detection>) {
    for step in steps {
        apply(step, class_names, detections);
    }
}

fn apply(step: &NmsSpec, class_names: &[String], detections: &mut Vec<Detection>) {
    match step {
        NmsSpec::CircleSquared {
            groups,
            threshold,
            post_max_size,
        } => in_groups(groups, class_names, detections, |members, keep| {
            let (centers, scores) = (centers(members), scores(members));
            circle_nms_squared(&centers, &scores, *threshold, *post_max_size, keep);
        }),
        NmsSpec::Rotated {
            groups,
            threshold,
            pre_max_size,
            post_max_size,
        } => {
            let params = RotatedNmsParams {
                threshold: f64::from(*threshold),
                pre_max_size: *pre_max_size,
                post_max_size: *post_max_size,
            };
            in_groups(groups, class_names, detections, |members, keep| {
                rotated_nms(&footprints(members), &scores(members), &params, keep);
            });
        }
        NmsSpec::CircleDistance {
            circle_nms_dist_threshold,
        } => {
            let mut keep = Vec::new();
            let (centers, scores) = (centers(detections), scores(detections));
            circle_nms_distance(&centers, &scores, *circle_nms_dist_threshold, &mut keep);
            select(detections, &keep);
        }
        NmsSpec::IouBev {
            iou_nms_search_distance_2d,
            iou_nms_threshold,
        } => {
            let params = IouNmsParams {
                search_distance: *iou_nms_search_distance_2d,
                threshold: *iou_nms_threshold,
            };
            across_classes(&params, class_names, detections);
        }
    }
}

/// The class that is only compared with itself.
pub(super) fn pedestrian_class(class_names: &[String]) -> Option<usize> {
    class_names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(PEDESTRIAN))
}

fn across_classes(params: &IouNmsParams, class_names: &[String], detections: &mut Vec<Detection>) {
    let pedestrian = pedestrian_class(class_names);
    let is_pedestrian = |label: u32| Some(label as usize) == pedestrian;
    let comparable = |a: usize, b: usize| {
        let (a, b) = (detections[a].label, detections[b].label);
        a == b || !(is_pedestrian(a) || is_pedestrian(b))
    };
    let mut keep = Vec::new();
    let (footprints, scores) = (footprints(detections), scores(detections));
    iou_nms(&footprints, &scores, params, comparable, &mut keep);
    select(detections, &keep);
}

/// Runs `rule` on the members of each group and drops those it does not list in its second argument.
fn in_groups(
    groups: &[Vec<String>],
    class_names: &[String],
    detections: &mut Vec<Detection>,
    rule: impl Fn(&[Detection], &mut Vec<usize>),
) {
    let mut kept = vec![true; detections.len()];
    let mut keep = Vec::new();
    for group in groups {
        let in_group = |detection: &Detection| {
            class_names
                .get(detection.label as usize)
                .is_some_and(|name| group.contains(name))
        };
        let places: Vec<usize> = (0..detections.len())
            .filter(|place| in_group(&detections[*place]))
            .collect();
        let members: Vec<Detection> = places.iter().map(|place| detections[*place]).collect();
        rule(&members, &mut keep);
        for place in &places {
            kept[*place] = false;
        }
        for member in &keep {
            kept[places[*member]] = true;
        }
    }
    let mut flags = kept.into_iter();
    detections.retain(|_| flags.next().unwrap_or(true));
}

fn select(detections: &mut Vec<Detection>, keep: &[usize]) {
    *detections = keep.iter().map(|index| detections[*index]).collect();
}

fn centers(detections: &[Detection]) -> Vec<[f32; 2]> {
    detections
        .iter()
        .map(|d| [d.bottom_center[0], d.bottom_center[1]])
        .collect()
}

fn scores(detections: &[Detection]) -> Vec<f32> {
    detections.iter().map(|d| d.score).collect()
}

fn footprints(detections: &[Detection]) -> Vec<BevBox> {
    detections
        .iter()
        .map(|d| BevBox {
            center: [d.bottom_center[0].into(), d.bottom_center[1].into()],
            size: [d.size[0].into(), d.size[1].into()],
            yaw: d.yaw.into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::suppress;
    use crate::config::NmsSpec;
    use crate::head::test_spec::{detection, test_spec};
    use crate::output::Detection;

    fn run(step: NmsSpec, mut detections: Vec<Detection>) -> Vec<(f32, u32)> {
        suppress(&[step], &test_spec().class_names, &mut detections);
        detections.iter().map(|d| (d.score, d.label)).collect()
    }

    /// Two cars and two pedestrians on one spot, worse before better.
    fn crowd() -> Vec<Detection> {
        [(0.2, 0), (0.9, 1), (0.5, 0), (0.8, 1)]
            .map(|(score, label)| detection([1.0, 2.0, 0.0], score, label))
            .to_vec()
    }

    #[test]
    fn groups_keep_proposal_order_and_leave_other_classes_whole() {
        let step = NmsSpec::CircleSquared {
            groups: vec![vec!["car".into()]],
            threshold: 0.175,
            post_max_size: 83,
        };
        assert_eq!(run(step, crowd()), [(0.9, 1), (0.5, 0), (0.8, 1)]);
        let step = NmsSpec::Rotated {
            groups: vec![vec!["pedestrian".into(), "car".into()]],
            threshold: 0.2,
            pre_max_size: None,
            post_max_size: None,
        };
        assert_eq!(run(step, crowd()), [(0.9, 1)]);
    }

    #[test]
    fn the_cap_counts_per_group() {
        let step = NmsSpec::CircleSquared {
            groups: vec![vec!["car".into()], vec!["pedestrian".into()]],
            threshold: -1.0,
            post_max_size: 1,
        };
        assert_eq!(run(step, crowd()), [(0.9, 1), (0.5, 0)]);
    }

    #[test]
    fn autowares_circle_form_ignores_classes_and_sorts() {
        let step = NmsSpec::CircleDistance {
            circle_nms_dist_threshold: 0.5,
        };
        let mut boxes = crowd();
        boxes.insert(0, detection([9.0, 2.0, 0.0], 0.1, 0));
        assert_eq!(run(step, boxes), [(0.9, 1), (0.1, 0)]);
    }

    #[test]
    fn pedestrians_and_cars_do_not_suppress_each_other_by_overlap() {
        let step = NmsSpec::IouBev {
            iou_nms_search_distance_2d: 10.0,
            iou_nms_threshold: 0.1,
        };
        assert_eq!(run(step, crowd()), [(0.9, 1), (0.5, 0)]);
    }
}
