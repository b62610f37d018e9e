//! Filters and suppression from the parameters; what no file states stays the preset's.

use std::collections::BTreeMap;

use super::super::error::{ConfigProblem, listed};
use super::super::form::{Field, Form, optional};
use super::super::node::{Node, Value};
use super::super::{AUTOWARE_LABELS, ClassRemapperSpec, ModelSpec, NmsSpec, PostprocessSpec};
use super::Reader;
use super::keys::{BINS, PostKeys, SCORES};

/// Limit of the only distance bin where one threshold holds at every distance (m).
const EVERYWHERE: f32 = 1.0e6;
const SCORE_LIST: &[Field] = &[optional("scores", Form::List(&Form::Number))];

impl Reader<'_> {
    pub(super) fn postprocess(&mut self, spec: &mut ModelSpec, keys: PostKeys) {
        let classes = &spec.class_names;
        let post = &mut spec.postprocess;
        self.score_table(classes, post, &keys);
        match keys.yaw_norm_thresholds {
            Some(thresholds) => post.yaw_norm_thresholds = thresholds,
            None => self.assume(format!(
                "yaw_norm_thresholds: {:?} (preset)",
                post.yaw_norm_thresholds
            )),
        }
        for step in &mut post.nms {
            match step {
                NmsSpec::CircleDistance {
                    circle_nms_dist_threshold,
                } => {
                    let name = "circle_nms_dist_threshold";
                    self.stated(
                        name,
                        keys.circle_nms_dist_threshold,
                        circle_nms_dist_threshold,
                    );
                }
                NmsSpec::IouBev {
                    iou_nms_search_distance_2d,
                    iou_nms_threshold,
                } => {
                    let name = "iou_nms_search_distance_2d";
                    self.stated(
                        name,
                        keys.iou_nms_search_distance_2d,
                        iou_nms_search_distance_2d,
                    );
                    self.stated(
                        "iou_nms_threshold",
                        keys.iou_nms_threshold,
                        iou_nms_threshold,
                    );
                }
                NmsSpec::CircleSquared { .. } | NmsSpec::Rotated { .. } => {}
            }
        }
        post.class_remapper = self.remapper(
            keys.allow_remapping_by_area_matrix,
            keys.min_area_matrix,
            keys.max_area_matrix,
        );
    }

    fn stated(&mut self, name: &str, value: Option<f64>, place: &mut f64) {
        match value {
            Some(value) => *place = value,
            None => self.assume(format!("{name}: {place} (preset)")),
        }
    }

    /// The table by distance, or the single `score_threshold` of nodes before it.
    fn score_table(&mut self, classes: &[String], post: &mut PostprocessSpec, keys: &PostKeys) {
        let mut scores = self.scores();
        match (&keys.distance_bins, keys.score_threshold) {
            (Some(bins), single) => {
                if single.is_some() {
                    self.one_table_only();
                }
                post.distance_bin_upper_limits.clone_from(bins);
                post.min_confidence_scores = classes
                    .iter()
                    .map(|class| self.row(class, scores.remove(class), bins.len()))
                    .collect();
            }
            (None, Some(threshold)) => {
                post.distance_bin_upper_limits = vec![EVERYWHERE];
                post.min_confidence_scores = vec![vec![threshold]; classes.len()];
            }
            (None, None) if scores.is_empty() => self.assume(format!(
                "detection_score_thresholds: {:?} up to {:?} m (preset)",
                post.min_confidence_scores, post.distance_bin_upper_limits
            )),
            (None, None) => self.contradiction(
                &[],
                ConfigProblem::new(
                    BINS,
                    "upper limits of the distance bins, as there are min_confidence_scores",
                    "no such key",
                    format!("add `{BINS}`"),
                ),
            ),
        }
        if keys.distance_bins.is_some() {
            for class in scores.into_keys() {
                self.contradiction(
                    &["class_names"],
                    ConfigProblem::new(
                        format!("{SCORES}{class}"),
                        format!("one of class_names ({})", listed(classes)),
                        format!("`{class}`"),
                        "remove it or correct the name",
                    ),
                );
            }
        }
    }

    fn one_table_only(&mut self) {
        self.contradiction(
            &[],
            ConfigProblem::new(
                "score_threshold",
                "either score_threshold or detection_score_thresholds",
                "both",
                "remove score_threshold: nodes with the table do not read it",
            ),
        );
    }

    fn row(&mut self, class: &str, row: Option<Vec<f32>>, bins: usize) -> Vec<f32> {
        row.unwrap_or_else(|| {
            let key = format!("{SCORES}{class}");
            self.contradiction(
                &["class_names"],
                ConfigProblem::new(
                    &key,
                    format!("{bins} scores, one for each distance bin"),
                    "no such key",
                    format!("add `{key}`"),
                ),
            );
            vec![0.0; bins]
        })
    }

    /// `min_confidence_scores`, by class name.
    fn scores(&mut self) -> BTreeMap<String, Vec<f32>> {
        let mut scores = BTreeMap::new();
        for (key, parameter) in self.parameters {
            let Some(class) = key.strip_prefix(SCORES) else {
                continue;
            };
            let entry = Node {
                line: None,
                value: Value::Table(vec![("scores".into(), parameter.node.clone())]),
            };
            let before = self.reading.problems.len();
            let table = self.reading.table("", &entry, SCORE_LIST);
            for problem in self.reading.problems.iter_mut().skip(before) {
                problem.key = problem.key.replacen("scores", key, 1);
            }
            let row = table.get("scores").and_then(toml::Value::as_array);
            let row = row.into_iter().flatten().filter_map(toml::Value::as_float);
            scores.insert(class.into(), row.map(|score| score as f32).collect());
        }
        if self.reading.is_replaced("scores") {
            self.reading.replaced.insert(BINS.into());
        }
        scores
    }

    /// All three matrices or none, over Autoware's first n labels.
    fn remapper(
        &mut self,
        allow: Option<Vec<i64>>,
        min: Option<Vec<f64>>,
        max: Option<Vec<f64>>,
    ) -> Option<ClassRemapperSpec> {
        let (allow, min, max) = match (allow, min, max) {
            (None, None, None) => {
                self.assume("class remapper: none".into());
                return None;
            }
            (Some(allow), Some(min), Some(max)) => (allow, min, max),
            (allow, min, max) => {
                let present = [allow.is_some(), min.is_some(), max.is_some()];
                let count = present.iter().filter(|present| **present).count();
                self.contradiction(
                    &["min_area_matrix", "max_area_matrix"],
                    ConfigProblem::new(
                        "allow_remapping_by_area_matrix",
                        "this, min_area_matrix and max_area_matrix together",
                        format!("{count} of the three"),
                        "pass the whole class remapper file",
                    ),
                );
                return None;
            }
        };
        let n = (1..=AUTOWARE_LABELS.len()).find(|n| n * n == allow.len());
        let Some(n) = n else {
            self.contradiction(
                &[],
                ConfigProblem::new(
                    "allow_remapping_by_area_matrix",
                    "a square matrix over Autoware's labels, at most 10 x 10",
                    format!("{} entries", allow.len()),
                    "write 8 x 8 or 10 x 10 entries",
                ),
            );
            return None;
        };
        Some(ClassRemapperSpec {
            labels: AUTOWARE_LABELS
                .iter()
                .take(n)
                .map(|label| (*label).into())
                .collect(),
            allow_remapping_by_area_matrix: allow,
            min_area_matrix: min,
            max_area_matrix: max,
        })
    }
}
