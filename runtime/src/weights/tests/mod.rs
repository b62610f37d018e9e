//! Checkpoint files written byte by byte, and what reading them must give.

mod files;
mod hostile;
mod importing;
mod native;
mod writer;

use super::{Tensor, TensorData, expected_tensors};
use super::{TensorKind, Weights};
use crate::config::{
    BevDecoderSpec, FourierSpec, HeadSpec, HeatmapBorder, LidarEncoderSpec, ModelSpec, PointsSpec,
    PostprocessSpec, SweepAlignment, VoxelSpec,
};

/// A LiDAR-only model of a few thousand weights.
fn small_spec() -> ModelSpec {
    ModelSpec {
        name: "small_L".into(),
        class_names: ["car", "pedestrian"].map(String::from).to_vec(),
        points: PointsSpec {
            load_dim: 5,
            use_dim: vec![0, 1, 2, 4],
            time_column: 4,
            sweeps_num: 1,
            remove_close: 1.0,
            sweep_alignment: SweepAlignment::Rigid,
        },
        voxel: VoxelSpec {
            point_cloud_range: [0.0, 0.0, 0.0, 8.0, 8.0, 4.0],
            voxel_size: [0.5, 0.5, 0.5],
            max_points_per_voxel: 4,
            max_voxels: 100,
        },
        lidar_encoder: Some(LidarEncoderSpec {
            sparse_shape: [16, 16, 9],
            base_channels: 2,
            encoder_channels: vec![vec![2, 2, 4], vec![4, 4]],
            encoder_paddings: vec![[1, 1, 1]],
            output_channels: 6,
            voxel_features: Some(FourierSpec {
                num_frequencies: 2,
                min: vec![0.0, 0.0, 0.0, 0.0],
                max: vec![8.0, 8.0, 4.0, 0.2],
            }),
        }),
        camera: None,
        fuser: None,
        bev_decoder: Some(BevDecoderSpec {
            out_channels: vec![4, 6],
            layer_nums: vec![1, 1],
            layer_strides: vec![1, 2],
            fpn_channels: vec![4, 4],
            upsample_strides: vec![1, 2],
        }),
        head: HeadSpec {
            num_proposals: 4,
            hidden_channels: 8,
            num_heads: 2,
            ffn_channels: 8,
            num_decoder_layers: 1,
            prediction_channels: 4,
            out_size_factor: 2,
            nms_kernel_size: 3,
            dense_heatmap_pooling_classes: vec!["car".into()],
            heatmap_border: HeatmapBorder::Suppress,
        },
        postprocess: PostprocessSpec {
            post_center_range: [-10.0, -10.0, -10.0, 10.0, 10.0, 10.0],
            distance_bin_upper_limits: vec![],
            min_confidence_scores: vec![],
            yaw_norm_thresholds: vec![],
            nms: vec![],
            class_remapper: None,
        },
    }
}

/// Positive values that differ from place to place and are exact in half precision.
fn values(count: usize, salt: usize) -> Vec<f32> {
    let value = |at: usize| ((at * 7 + salt) % 251 + 1) as f32 / 64.0;
    (0..count).map(value).collect()
}

/// All parameters and buffers of a model.
fn small_weights(spec: &ModelSpec) -> Weights {
    let mut weights = Weights::default();
    let needed = expected_tensors(spec).into_iter().enumerate();
    for (salt, expected) in needed {
        if expected.kind == TensorKind::Constant {
            continue;
        }
        let data = TensorData::F32(values(expected.shape.iter().product(), salt));
        let shape = expected.shape;
        weights
            .tensors
            .insert(expected.name, Tensor { shape, data });
    }
    weights
}
