//! The keys of a model file: [`ModelSpec`](super::ModelSpec) as a [`Form`].

use super::form::{Field, Form, optional, required};

const COUNTS: Form = Form::List(&Form::Count);
const NUMBERS: Form = Form::List(&Form::Number);
const NAMES: Form = Form::List(&Form::Text);
const BOUND: Form = Form::Array(3, &Form::Number);

/// Every key of a model file.
pub(super) const MODEL: &[Field] = &[
    required("name", Form::Text),
    required("class_names", NAMES),
    required("points", Form::Table(POINTS)),
    required("voxel", Form::Table(VOXEL)),
    optional("lidar_encoder", Form::Table(LIDAR_ENCODER)),
    optional("camera", Form::Table(CAMERA)),
    optional("fuser", Form::Table(FUSER)),
    optional("bev_decoder", Form::Table(BEV_DECODER)),
    required("head", Form::Table(HEAD)),
    required("postprocess", Form::Table(POSTPROCESS)),
];

const POINTS: &[Field] = &[
    required("load_dim", Form::Count),
    required("use_dim", COUNTS),
    required("time_column", Form::Count),
    required("sweeps_num", Form::Count),
    required("remove_close", Form::Number),
    required("sweep_alignment", Form::Choice(&["rigid", "mmdet3d"])),
];

const VOXEL: &[Field] = &[
    required("point_cloud_range", Form::Array(6, &Form::Number)),
    required("voxel_size", Form::Array(3, &Form::Number)),
    required("max_points_per_voxel", Form::Count),
    required("max_voxels", Form::Count),
];

const LIDAR_ENCODER: &[Field] = &[
    required("sparse_shape", Form::Array(3, &Form::Count)),
    required("base_channels", Form::Count),
    required("encoder_channels", Form::List(&COUNTS)),
    required(
        "encoder_paddings",
        Form::List(&Form::Array(3, &Form::Count)),
    ),
    required("output_channels", Form::Count),
    optional("voxel_features", Form::Table(FOURIER)),
];

const FOURIER: &[Field] = &[
    required("num_frequencies", Form::Count),
    required("min", NUMBERS),
    required("max", NUMBERS),
];

const CAMERA: &[Field] = &[
    required("camera_order", NAMES),
    required("image_size", Form::Array(2, &Form::Count)),
    required("resize", Form::Number),
    required("bottom_crop", Form::Number),
    required("mean", Form::Array(3, &Form::Number)),
    required("std", Form::Array(3, &Form::Number)),
    required("backbone", Form::Table(SWIN)),
    required("neck_channels", Form::Count),
    required("view_transform", Form::Table(VIEW_TRANSFORM)),
];

const SWIN: &[Field] = &[
    required("embed_dims", Form::Count),
    required("depths", COUNTS),
    required("num_heads", COUNTS),
    required("window_size", Form::Count),
    required("mlp_ratio", Form::Count),
];

const VIEW_TRANSFORM: &[Field] = &[
    required("form", Form::Choice(&["mmdet3d", "awml"])),
    required("out_channels", Form::Count),
    required("feature_size", Form::Array(2, &Form::Count)),
    required("x_bound", BOUND),
    required("y_bound", BOUND),
    required("z_bound", BOUND),
    required("d_bound", BOUND),
    required("downsample", Form::Count),
    required("cell_rounding", Form::Choice(&["truncate", "floor"])),
    required("drop_behind_camera", Form::Flag),
    optional("depth_winner", Form::Choice(&["last", "nearest"])),
];

const FUSER: &[Field] = &[
    required("out_channels", Form::Count),
    required("kernel_size", Form::Count),
];

const BEV_DECODER: &[Field] = &[
    required("out_channels", COUNTS),
    required("layer_nums", COUNTS),
    required("layer_strides", COUNTS),
    required("fpn_channels", COUNTS),
    required("upsample_strides", COUNTS),
];

const HEAD: &[Field] = &[
    required("num_proposals", Form::Count),
    required("hidden_channels", Form::Count),
    required("num_heads", Form::Count),
    required("ffn_channels", Form::Count),
    required("num_decoder_layers", Form::Count),
    required("prediction_channels", Form::Count),
    required("out_size_factor", Form::Count),
    required("nms_kernel_size", Form::Count),
    required("dense_heatmap_pooling_classes", NAMES),
    required("heatmap_border", Form::Choice(&["suppress", "keep"])),
];

const POSTPROCESS: &[Field] = &[
    required("post_center_range", Form::Array(6, &Form::Number)),
    required("distance_bin_upper_limits", NUMBERS),
    required("min_confidence_scores", Form::List(&NUMBERS)),
    required("yaw_norm_thresholds", NUMBERS),
    required("nms", Form::List(&Form::Tagged(NMS))),
    optional("class_remapper", Form::Table(CLASS_REMAPPER)),
];

const NMS: &[(&str, &[Field])] = &[
    (
        "circle_squared",
        &[
            required("groups", Form::List(&NAMES)),
            required("threshold", Form::Number),
            required("post_max_size", Form::Count),
        ],
    ),
    (
        "rotated",
        &[
            required("groups", Form::List(&NAMES)),
            required("threshold", Form::Number),
            optional("pre_max_size", Form::Count),
            optional("post_max_size", Form::Count),
        ],
    ),
    (
        "circle_distance",
        &[required("circle_nms_dist_threshold", Form::Number)],
    ),
    (
        "iou_bev",
        &[
            required("iou_nms_search_distance_2d", Form::Number),
            required("iou_nms_threshold", Form::Number),
        ],
    ),
];

const CLASS_REMAPPER: &[Field] = &[
    required("labels", NAMES),
    required("allow_remapping_by_area_matrix", Form::List(&Form::Integer)),
    required("min_area_matrix", NUMBERS),
    required("max_area_matrix", NUMBERS),
];
