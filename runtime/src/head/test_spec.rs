//! A small model and boxes for the unit tests.

use crate::config::{
    HeadSpec, HeatmapBorder, ModelSpec, PointsSpec, PostprocessSpec, SweepAlignment, VoxelSpec,
};
use crate::output::Detection;

/// Cars and pedestrians on a 180×180 grid of 0.6 m cells, no filter but the range.
pub(super) fn test_spec() -> ModelSpec {
    ModelSpec {
        name: "test".into(),
        class_names: vec!["car".into(), "pedestrian".into()],
        points: PointsSpec {
            load_dim: 5,
            use_dim: vec![0, 1, 2, 3, 4],
            time_column: 4,
            sweeps_num: 9,
            remove_close: 1.0,
            sweep_alignment: SweepAlignment::Rigid,
        },
        voxel: VoxelSpec {
            point_cloud_range: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0],
            voxel_size: [0.075, 0.075, 0.2],
            max_points_per_voxel: 10,
            max_voxels: 160_000,
        },
        lidar_encoder: None,
        camera: None,
        fuser: None,
        bev_decoder: None,
        head: HeadSpec {
            num_proposals: 200,
            hidden_channels: 128,
            num_heads: 8,
            ffn_channels: 256,
            num_decoder_layers: 1,
            prediction_channels: 64,
            out_size_factor: 8,
            nms_kernel_size: 3,
            dense_heatmap_pooling_classes: vec!["car".into()],
            heatmap_border: HeatmapBorder::Suppress,
        },
        postprocess: PostprocessSpec {
            post_center_range: [-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
            distance_bin_upper_limits: Vec::new(),
            min_confidence_scores: Vec::new(),
            yaw_norm_thresholds: Vec::new(),
            nms: Vec::new(),
            class_remapper: None,
        },
    }
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
