//! Descriptions of the published variants and of the tiny golden models, written by hand: what the tests
//! of weights compare state dicts with.

use bevfusion::config::{
    BevDecoderSpec, CameraSpec, CellRounding, DepthNetForm, FourierSpec, FuserSpec, HeadSpec,
    HeatmapBorder, LidarEncoderSpec, ModelSpec, PointsSpec, PostprocessSpec, SweepAlignment,
    SwinSpec, ViewTransformSpec, VoxelSpec,
};

/// Variants trained on Tier IV's data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum T4 {
    /// LiDAR without intensity, Fourier features.
    LidarBase,
    /// LiDAR with intensity, Fourier features.
    LidarIntensity,
    /// LiDAR, fine voxels.
    LidarOffline,
    /// Camera and LiDAR.
    Fusion,
    /// Camera on a LiDAR depth image.
    Camera,
}

/// nuScenes, with the camera branch or without.
#[must_use]
pub fn nuscenes(with_camera: bool) -> ModelSpec {
    let classes = "car truck construction_vehicle bus trailer barrier motorcycle bicycle pedestrian \
                   traffic_cone";
    let mut spec = lidar_only(
        "nuscenes_L",
        classes,
        [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0],
        0.075,
    );
    if with_camera {
        spec.name = "nuscenes_CL".into();
        spec.fuser = Some(fuser(256, 3));
        spec.camera = Some(camera(
            [256, 704],
            96,
            256,
            ViewTransformSpec {
                form: DepthNetForm::Mmdet3d,
                out_channels: 80,
                feature_size: [32, 88],
                x_bound: [-54.0, 54.0, 0.3],
                y_bound: [-54.0, 54.0, 0.3],
                z_bound: [-10.0, 10.0, 20.0],
                d_bound: [1.0, 60.0, 0.5],
                downsample: 2,
                cell_rounding: CellRounding::Truncate,
                drop_behind_camera: false,
            },
        ));
    }
    spec
}

/// Tier IV's variants.
#[must_use]
pub fn t4(variant: T4) -> ModelSpec {
    let range = [-122.4, -122.4, -3.0, 122.4, 122.4, 5.0];
    let classes = "car truck bus bicycle pedestrian";
    let voxel = if variant == T4::LidarOffline {
        0.075
    } else {
        0.17
    };
    let mut spec = lidar_only("t4", classes, range, voxel);
    let fourier = |frequencies, max_rest: &[f32]| FourierSpec {
        num_frequencies: frequencies,
        min: [&[-122.4, -122.4, -3.0], &[0.0, 0.0][..max_rest.len()]].concat(),
        max: [&[122.4, 122.4, 5.0], max_rest].concat(),
    };
    if let Some(encoder) = &mut spec.lidar_encoder {
        encoder.voxel_features = match variant {
            T4::LidarBase => Some(fourier(4, &[0.2])),
            T4::LidarIntensity => Some(fourier(5, &[255.0, 0.2])),
            T4::LidarOffline | T4::Fusion | T4::Camera => None,
        };
    }
    if variant == T4::LidarBase {
        spec.points.use_dim = vec![0, 1, 2, 4];
    }
    if matches!(variant, T4::Fusion | T4::Camera) {
        spec.fuser = Some(fuser(256, 5));
        spec.camera = Some(t4_camera());
    }
    if variant == T4::Camera {
        (spec.lidar_encoder, spec.fuser, spec.bev_decoder) = (None, None, None);
    }
    spec
}

fn t4_camera() -> CameraSpec {
    camera(
        [384, 768],
        96,
        256,
        ViewTransformSpec {
            form: DepthNetForm::Awml,
            out_channels: 80,
            feature_size: [48, 96],
            x_bound: [-122.4, 122.4, 0.68],
            y_bound: [-122.4, 122.4, 0.68],
            z_bound: [-10.0, 10.0, 20.0],
            d_bound: [1.0, 130.0, 1.0],
            downsample: 2,
            cell_rounding: CellRounding::Truncate,
            drop_behind_camera: true,
        },
    )
}

/// The tiny golden models.
#[must_use]
pub fn tiny(with_camera: bool) -> ModelSpec {
    let mut spec = nuscenes(with_camera);
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
        spec.fuser = Some(fuser(32, 3));
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
    spec.fuser = Some(fuser(32, 5));
    if let Some(camera) = &mut spec.camera {
        camera.view_transform.form = DepthNetForm::Awml;
    }
    spec
}

fn lidar_only(name: &str, classes: &str, range: [f64; 6], voxel: f64) -> ModelSpec {
    let cells = ((range[3] - range[0]) / voxel).round() as usize;
    ModelSpec {
        name: name.into(),
        class_names: classes.split_whitespace().map(str::to_owned).collect(),
        points: PointsSpec {
            load_dim: 5,
            use_dim: vec![0, 1, 2, 3, 4],
            time_column: 4,
            sweeps_num: 9,
            remove_close: 1.0,
            sweep_alignment: SweepAlignment::Mmdet3d,
        },
        voxel: VoxelSpec {
            point_cloud_range: range,
            voxel_size: [voxel, voxel, 0.2],
            max_points_per_voxel: 10,
            max_voxels: 160_000,
        },
        lidar_encoder: Some(LidarEncoderSpec {
            sparse_shape: [cells, cells, 41],
            base_channels: 16,
            encoder_channels: vec![
                vec![16, 16, 32],
                vec![32, 32, 64],
                vec![64, 64, 128],
                vec![128, 128],
            ],
            encoder_paddings: vec![[1, 1, 1], [1, 1, 1], [1, 1, 0]],
            output_channels: 128,
            voxel_features: None,
        }),
        camera: None,
        fuser: None,
        bev_decoder: Some(BevDecoderSpec {
            out_channels: vec![128, 256],
            layer_nums: vec![5, 5],
            layer_strides: vec![1, 2],
            fpn_channels: vec![256, 256],
            upsample_strides: vec![1, 2],
        }),
        head: head(),
        postprocess: PostprocessSpec {
            post_center_range: [-200.0, -200.0, -10.0, 200.0, 200.0, 10.0],
            distance_bin_upper_limits: vec![],
            min_confidence_scores: vec![],
            yaw_norm_thresholds: vec![],
            nms: vec![],
            class_remapper: None,
        },
    }
}

fn head() -> HeadSpec {
    HeadSpec {
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
    }
}

fn fuser(out_channels: usize, kernel_size: usize) -> FuserSpec {
    FuserSpec {
        out_channels,
        kernel_size,
    }
}

fn camera(
    image_size: [usize; 2],
    embed_dims: usize,
    neck_channels: usize,
    view_transform: ViewTransformSpec,
) -> CameraSpec {
    CameraSpec {
        camera_order: vec!["CAM_FRONT".into()],
        image_size,
        resize: 0.48,
        bottom_crop: 0.0,
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
        backbone: SwinSpec {
            embed_dims,
            depths: vec![2, 2, 6, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4,
        },
        neck_channels,
        view_transform,
    }
}
