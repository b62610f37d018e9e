//! Descriptions that tests run on: the shipped models, and the tiny golden models made from them.

use bevfusion::config::{BevDecoderSpec, DepthNetForm, FuserSpec, ModelConfig, ModelSpec};

/// A shipped model.
#[must_use]
#[expect(
    clippy::panic,
    reason = "a test ends where a shipped model cannot be read"
)]
pub fn preset(name: &str) -> ModelSpec {
    match ModelConfig::preset(name) {
        Ok(config) => (*config).clone(),
        Err(error) => panic!("{error}"),
    }
}

/// The tiny golden models.
#[must_use]
pub fn tiny(with_camera: bool) -> ModelSpec {
    let mut spec = preset(if with_camera {
        "nuscenes_CL"
    } else {
        "nuscenes_L"
    });
    spec.name = "tiny".into();
    let rows = if with_camera { 320 } else { 256 };
    let half_width = 0.15 * rows as f64;
    spec.voxel.point_cloud_range = [-48.0, -half_width, -5.0, 48.0, half_width, 3.0];
    spec.voxel.voxel_size = [0.3, 0.3, 0.2];
    if let Some(encoder) = &mut spec.lidar_encoder {
        encoder.sparse_shape = [320, rows, 41];
        encoder.base_channels = 8;
        encoder.output_channels = 16;
        encoder.encoder_channels = vec![
            vec![8, 8, 12],
            vec![12, 12, 16],
            vec![16, 16, 24],
            vec![24, 24],
        ];
    }
    spec.bev_decoder = Some(BevDecoderSpec {
        out_channels: vec![16, 32],
        layer_nums: vec![1, 2],
        layer_strides: vec![1, 2],
        fpn_channels: vec![24, 24],
        upsample_strides: vec![1, 2],
    });
    spec.head.hidden_channels = 32;
    spec.head.num_heads = 4;
    spec.head.ffn_channels = 48;
    if let Some(camera) = &mut spec.camera {
        spec.fuser = Some(FuserSpec {
            out_channels: 32,
            kernel_size: 3,
        });
        camera.image_size = [64, 176];
        camera.backbone.embed_dims = 24;
        camera.backbone.depths = vec![2, 2, 2, 2];
        camera.backbone.num_heads = vec![2, 4, 4, 8];
        camera.neck_channels = 32;
        let view = &mut camera.view_transform;
        (view.out_channels, view.feature_size) = (12, [8, 22]);
        (view.x_bound, view.y_bound) = ([-48.0, 48.0, 1.2], [-48.0, 48.0, 1.2]);
        view.d_bound = [1.0, 49.0, 1.0];
    }
    spec
}

/// [`tiny`] with cameras in the form of AWML's models: depth network without biases, 5×5 fuser.
#[must_use]
pub fn tiny_awml() -> ModelSpec {
    let mut spec = tiny(true);
    spec.fuser = Some(FuserSpec {
        out_channels: 32,
        kernel_size: 5,
    });
    if let Some(camera) = &mut spec.camera {
        camera.view_transform.form = DepthNetForm::Awml;
    }
    spec
}
