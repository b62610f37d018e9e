//! Which boxes are scored at all.
//!
//! In: boxes of both sides and bicycle racks by sample. Out: the same without boxes that are at or beyond
//! the range of their class, hold no points, or, for bicycles and motorcycles, have their centre in a
//! rack. Source: the nuScenes devkit's `filter_eval_boxes`.

use std::collections::BTreeMap;

use super::boxes::{EvalBox, EvalBoxes};
use super::config::EvalConfig;

/// A region of parked cycles in the global frame.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
pub struct BicycleRack {
    /// Centre (m).
    pub translation: [f64; 3],
    /// Width, length, height (m).
    pub size: [f64; 3],
    /// Orientation: w, x, y, z.
    pub rotation: [f64; 4],
}

impl BicycleRack {
    /// Whether `point` (global, m) lies inside or on the border.
    #[must_use]
    pub fn contains(&self, point: [f64; 3]) -> bool {
        let [w, x, y, z] = self.rotation;
        let norm = w * w + x * x + y * y + z * z;
        let axes = [
            [
                w * w + x * x - y * y - z * z,
                2.0 * (x * y + w * z),
                2.0 * (x * z - w * y),
            ],
            [
                2.0 * (x * y - w * z),
                w * w - x * x + y * y - z * z,
                2.0 * (y * z + w * x),
            ],
            [
                2.0 * (x * z + w * y),
                2.0 * (y * z - w * x),
                w * w - x * x - y * y + z * z,
            ],
        ];
        let [width, length, height] = self.size;
        let offset: [f64; 3] = std::array::from_fn(|i| point[i] - self.translation[i]);
        axes.iter()
            .zip([length, width, height])
            .all(|(axis, extent)| {
                let along: f64 = axis.iter().zip(offset).map(|(a, o)| a * o).sum();
                along.abs() <= 0.5 * extent * norm
            })
    }
}

/// Removes the boxes that are not scored; `racks` by sample token.
#[must_use]
pub fn filter_boxes(
    mut boxes: EvalBoxes,
    racks: &BTreeMap<String, Vec<BicycleRack>>,
    config: &EvalConfig,
) -> EvalBoxes {
    for (token, list) in &mut boxes.samples {
        let racks = racks.get(token).map_or(&[][..], Vec::as_slice);
        list.retain(|b| is_scored(b, racks, config));
    }
    boxes
}

fn is_scored(b: &EvalBox, racks: &[BicycleRack], config: &EvalConfig) -> bool {
    // An unknown class stays: the evaluation refuses it by name.
    let Some(class) = config.classes.get(b.class) else {
        return true;
    };
    let racked = || class.filtered_by_racks && racks.iter().any(|r| r.contains(b.translation));
    b.ego_distance() < class.range && b.num_pts != 0 && !racked()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{BicycleRack, filter_boxes};
    use crate::eval::boxes::{EvalBox, EvalBoxes};
    use crate::eval::config::EvalConfig;

    fn at(config: &EvalConfig, class: &str, x: f64, num_pts: i64) -> EvalBox {
        EvalBox {
            class: config.class_index(class).unwrap(),
            translation: [x, 0.0, 0.0],
            size: [1.0, 2.0, 1.0],
            rotation: [1.0, 0.0, 0.0, 0.0],
            velocity: [0.0, 0.0],
            ego_translation: [x, 0.0, 0.0],
            num_pts,
            score: 0.5,
            attribute: None,
        }
    }

    #[test]
    fn range_points_and_racks_remove_boxes() {
        let config = EvalConfig::nuscenes();
        let list = vec![
            at(&config, "car", 49.9, -1),
            at(&config, "car", 50.0, 5),
            at(&config, "barrier", 29.0, 0),
            at(&config, "bicycle", 10.5, 4),
            at(&config, "bicycle", 14.0, 4),
            at(&config, "pedestrian", 10.5, 4),
        ];
        let boxes = EvalBoxes {
            samples: vec![("a".into(), list)],
        };
        let turned = std::f64::consts::FRAC_1_SQRT_2;
        let rack = BicycleRack {
            translation: [10.0, 1.0, 0.0],
            size: [4.0, 2.0, 2.0],
            rotation: [turned, 0.0, 0.0, turned],
        };
        let racks = BTreeMap::from([("a".to_owned(), vec![rack])]);
        let kept = filter_boxes(boxes, &racks, &config);
        let kept: Vec<f64> = kept.samples[0].1.iter().map(|b| b.translation[0]).collect();
        assert_eq!(kept, [49.9, 14.0, 10.5]);
    }

    #[test]
    fn a_rack_turns_with_its_rotation() {
        let rack = BicycleRack {
            translation: [0.0; 3],
            size: [1.0, 10.0, 1.0],
            rotation: [0.9, 0.0, 0.0, 0.9],
        };
        assert!(rack.contains([0.0, 4.9, 0.0]));
        assert!(!rack.contains([4.9, 0.0, 0.0]));
    }
}
