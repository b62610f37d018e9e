//! A small model and boxes for the unit tests.

use crate::config::{ModelConfig, ModelSpec};
use crate::output::Detection;

/// Cars and pedestrians on the nuScenes grid of 180×180 cells of 0.6 m, no filter but the range.
pub(super) fn test_spec() -> ModelSpec {
    let mut spec = (*ModelConfig::preset("nuscenes_L").expect("shipped")).clone();
    spec.class_names = vec!["car".into(), "pedestrian".into()];
    spec.head.dense_heatmap_pooling_classes = vec!["car".into()];
    spec
}

/// A 4×2×1.5 m box, heading along x.
pub(super) fn detection(bottom_center: [f32; 3], score: f32, label: u32) -> Detection {
    Detection {
        bottom_center,
        size: [4.0, 2.0, 1.5],
        yaw: 0.0,
        velocity: [0.0; 2],
        score,
        label,
    }
}
