//! Filters and suppression: table sizes, thresholds, names.

use super::super::error::ConfigProblem;
use super::super::{AUTOWARE_LABELS, ClassRemapperSpec, NmsSpec, PostprocessSpec};
use super::Checker;

impl Checker<'_> {
    pub(super) fn postprocess(&mut self) {
        let post = &self.spec.postprocess;
        let range = post.post_center_range;
        for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
            let (lower, upper) = (range[axis], range[axis + 3]);
            if upper <= lower {
                self.fail(
                    &[],
                    ConfigProblem::new(
                        "postprocess.post_center_range",
                        format!("lower bound below upper bound along {name}"),
                        format!("{lower} and {upper}"),
                        "write the three lower bounds, then the three upper bounds",
                    ),
                );
            }
        }
        self.score_table(post);
        let yaw = &post.yaw_norm_thresholds;
        let classes = (self.spec.class_names.len(), "class");
        if !yaw.is_empty() {
            let key = "postprocess.yaw_norm_thresholds";
            self.length(&["class_names"], key, yaw, classes);
            self.thresholds(key, yaw);
        }
        for (i, nms) in post.nms.iter().enumerate() {
            self.nms(&format!("postprocess.nms[{i}]"), nms);
        }
        if let Some(remapper) = &post.class_remapper {
            self.remapper(remapper);
        }
    }

    fn score_table(&mut self, post: &PostprocessSpec) {
        let bins = &post.distance_bin_upper_limits;
        let key = "postprocess.distance_bin_upper_limits";
        let mut last = 0.0;
        for (i, limit) in bins.iter().enumerate() {
            let expected = format!("more than {last} m");
            let key = format!("{key}[{i}]");
            self.within(&key, f64::from(*limit), (*limit > last, &expected));
            last = *limit;
        }
        let rows = &post.min_confidence_scores;
        let key = "postprocess.min_confidence_scores";
        if bins.is_empty() {
            self.length(
                &["postprocess.distance_bin_upper_limits"],
                key,
                rows,
                (0, "class, because there are no distance bins"),
            );
            return;
        }
        let classes = (self.spec.class_names.len(), "class");
        self.length(&["class_names"], key, rows, classes);
        for (i, row) in rows.iter().enumerate() {
            let key = format!("{key}[{i}]");
            self.length(
                &["postprocess.distance_bin_upper_limits"],
                &key,
                row,
                (bins.len(), "distance bin"),
            );
            self.thresholds(&key, row);
        }
    }

    fn thresholds(&mut self, key: &str, values: &[f32]) {
        for (i, value) in values.iter().enumerate() {
            let inside = (0.0..1.0).contains(value);
            let key = format!("{key}[{i}]");
            self.within(&key, f64::from(*value), (inside, "0 to below 1"));
        }
    }

    fn nms(&mut self, key: &str, nms: &NmsSpec) {
        match nms {
            NmsSpec::CircleSquared {
                groups,
                threshold,
                post_max_size,
            } => {
                self.groups(key, groups);
                let squared = f64::from(*threshold);
                let key = &format!("{key}.threshold");
                self.within(key, squared, (squared > 0.0, "a squared distance above 0"));
                self.positive(&key.replace("threshold", "post_max_size"), *post_max_size);
            }
            NmsSpec::Rotated {
                groups,
                threshold,
                pre_max_size,
                post_max_size,
            } => {
                self.groups(key, groups);
                let iou = f64::from(*threshold);
                let inside = iou > 0.0 && iou <= 1.0;
                self.within(&format!("{key}.threshold"), iou, (inside, "an IoU above 0"));
                for (name, size) in [
                    ("pre_max_size", pre_max_size),
                    ("post_max_size", post_max_size),
                ] {
                    self.positive(&format!("{key}.{name}"), size.unwrap_or(1));
                }
            }
            NmsSpec::CircleDistance {
                circle_nms_dist_threshold: distance,
            } => {
                let key = format!("{key}.circle_nms_dist_threshold");
                self.within(&key, *distance, (*distance >= 0.0, "0 or metres"));
            }
            NmsSpec::IouBev {
                iou_nms_search_distance_2d: distance,
                iou_nms_threshold: iou,
            } => {
                let search = format!("{key}.iou_nms_search_distance_2d");
                self.within(&search, *distance, (*distance >= 0.0, "0 or metres"));
                let inside = (0.0..=1.0).contains(iou);
                let key = format!("{key}.iou_nms_threshold");
                self.within(&key, *iou, (inside, "an IoU from 0 to 1"));
            }
        }
    }

    /// Groups are made of classes; no class is in two.
    fn groups(&mut self, key: &str, groups: &[Vec<String>]) {
        let key = format!("{key}.groups");
        for (i, group) in groups.iter().enumerate() {
            self.classes(&format!("{key}[{i}]"), group);
        }
        self.unique(&key, &groups.concat());
    }

    fn remapper(&mut self, remapper: &ClassRemapperSpec) {
        const KEY: &str = "postprocess.class_remapper";
        const LABELS: &[&str] = &["postprocess.class_remapper.labels"];
        let labels = &remapper.labels;
        let key = format!("{KEY}.labels");
        self.unique(&key, labels);
        for (i, label) in labels.iter().enumerate() {
            if !AUTOWARE_LABELS.contains(&label.to_ascii_uppercase().as_str()) {
                let expected = format!("one of {}", AUTOWARE_LABELS.join(", "));
                let key = format!("{key}[{i}]");
                let found = format!("`{label}`");
                let remedy = "use the names of autoware_perception_msgs";
                self.fail(&[], ConfigProblem::new(key, expected, found, remedy));
            }
        }
        let places = (labels.len().saturating_mul(labels.len()), "pair of labels");
        let allow = &remapper.allow_remapping_by_area_matrix;
        let (min, max) = (&remapper.min_area_matrix, &remapper.max_area_matrix);
        let named = |name: &str| format!("{KEY}.{name}");
        self.length(
            LABELS,
            &named("allow_remapping_by_area_matrix"),
            allow,
            places,
        );
        self.length(LABELS, &named("min_area_matrix"), min, places);
        self.length(LABELS, &named("max_area_matrix"), max, places);
        for (i, flag) in allow.iter().enumerate() {
            let key = named(&format!("allow_remapping_by_area_matrix[{i}]"));
            self.within(&key, *flag as f64, ((0..=1).contains(flag), "0 or 1"));
        }
        for (i, ((flag, min), max)) in allow.iter().zip(min).zip(max).enumerate() {
            if *flag == 1 && max < min {
                self.fail(
                    &["postprocess.class_remapper.min_area_matrix"],
                    ConfigProblem::new(
                        named(&format!("max_area_matrix[{i}]")),
                        format!("at least min_area_matrix[{i}] = {min}"),
                        max.to_string(),
                        "swap or correct the areas (m²)",
                    ),
                );
            }
        }
    }
}
