//! The parameters of the Autoware node: those that describe the model, those that the caller needs
//! at run time, and those that only the original implementation needs.

use serde::Deserialize;

use super::super::form::{Field, Form, optional, required};

const NUMBERS: Form = Form::List(&Form::Number);
const BOUND: Form = Form::Array(3, &Form::Number);

/// Upper limits of the distance bins of the score thresholds.
pub(super) const BINS: &str = "detection_score_thresholds.distance_bin_upper_limits";

/// Prefix of the score thresholds, one key per class.
pub(super) const SCORES: &str = "detection_score_thresholds.min_confidence_scores.";

/// Parameters that are read.
pub(super) const READ: &[Field] = &[
    required("class_names", Form::List(&Form::Text)),
    required("voxels_num", Form::Array(3, &Form::Count)),
    required("point_cloud_range", Form::Array(6, &Form::Number)),
    required("voxel_size", Form::Array(3, &Form::Number)),
    required("num_proposals", Form::Count),
    required("out_size_factor", Form::Count),
    required("max_points_per_voxel", Form::Count),
    required("use_intensity", Form::Flag),
    optional("num_cameras", Form::Count),
    optional("d_bound", BOUND),
    optional("x_bound", BOUND),
    optional("y_bound", BOUND),
    optional("z_bound", BOUND),
    optional("raw_image_height", Form::Count),
    optional("raw_image_width", Form::Count),
    optional("img_aug_scale_x", Form::Number),
    optional("img_aug_scale_y", Form::Number),
    optional("roi_height", Form::Count),
    optional("roi_width", Form::Count),
    optional("features_height", Form::Count),
    optional("features_width", Form::Count),
    optional("num_depth_features", Form::Count),
    optional("image_feature_channel", Form::Count),
    optional("densification_num_past_frames", Form::Count),
    optional("circle_nms_dist_threshold", Form::Number),
    optional("iou_nms_search_distance_2d", Form::Number),
    optional("iou_nms_threshold", Form::Number),
    optional("yaw_norm_thresholds", NUMBERS),
    optional(BINS, NUMBERS),
    optional("score_threshold", Form::Number),
    optional("allow_remapping_by_area_matrix", Form::List(&Form::Integer)),
    optional("min_area_matrix", NUMBERS),
    optional("max_area_matrix", NUMBERS),
    optional("image_backbone_onnx_path", Form::Path),
    optional("cloud_capacity", Form::Count),
    optional("densification_world_frame_id", Form::Text),
    optional("max_camera_lidar_delay", Form::Number),
    optional("run_image_undistortion", Form::Flag),
    optional("use_compressed_images", Form::Flag),
    optional("diagnostics.max_allowed_processing_time_ms", Form::Number),
    optional(
        "diagnostics.max_acceptable_consecutive_delay_ms",
        Form::Number,
    ),
    optional("diagnostics.validation_callback_interval_ms", Form::Number),
];

/// Parameters of the original implementation that mean nothing here.
pub(super) const IGNORED: [&str; 9] = [
    "plugins_path",
    "onnx_path",
    "engine_path",
    "trt_precision",
    "image_backbone_engine_path",
    "image_backbone_trt_precision",
    "build_only",
    "model_path",
    "model_name",
];

/// The parameters that describe the model, as typed values.
#[derive(Debug, Deserialize)]
pub(super) struct ModelKeys {
    pub(super) class_names: Vec<String>,
    pub(super) voxels_num: [usize; 3],
    pub(super) point_cloud_range: [f64; 6],
    pub(super) voxel_size: [f64; 3],
    pub(super) num_proposals: usize,
    pub(super) out_size_factor: usize,
    pub(super) max_points_per_voxel: usize,
    pub(super) use_intensity: bool,
    #[serde(default)]
    pub(super) num_cameras: usize,
    pub(super) d_bound: Option<[f64; 3]>,
    pub(super) x_bound: Option<[f64; 3]>,
    pub(super) y_bound: Option<[f64; 3]>,
    pub(super) z_bound: Option<[f64; 3]>,
    pub(super) img_aug_scale_x: Option<f64>,
    pub(super) img_aug_scale_y: Option<f64>,
    pub(super) roi_height: Option<usize>,
    pub(super) roi_width: Option<usize>,
    pub(super) features_height: Option<usize>,
    pub(super) features_width: Option<usize>,
    pub(super) num_depth_features: Option<usize>,
    pub(super) image_feature_channel: Option<usize>,
    pub(super) densification_num_past_frames: Option<usize>,
    pub(super) image_backbone_onnx_path: Option<String>,
}

/// The parameters that filter and suppress boxes.
#[derive(Debug, Deserialize)]
pub(super) struct PostKeys {
    pub(super) circle_nms_dist_threshold: Option<f64>,
    pub(super) iou_nms_search_distance_2d: Option<f64>,
    pub(super) iou_nms_threshold: Option<f64>,
    pub(super) yaw_norm_thresholds: Option<Vec<f32>>,
    #[serde(rename = "detection_score_thresholds.distance_bin_upper_limits")]
    pub(super) distance_bins: Option<Vec<f32>>,
    pub(super) score_threshold: Option<f32>,
    pub(super) allow_remapping_by_area_matrix: Option<Vec<i64>>,
    pub(super) min_area_matrix: Option<Vec<f64>>,
    pub(super) max_area_matrix: Option<Vec<f64>>,
}

/// Parameters that the node shell needs and the network does not; absent where no file has them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct AutowareRuntime {
    /// Fewest, usual and most voxels of the exported network.
    pub voxels_num: [usize; 3],
    /// Most points over all sweeps.
    pub cloud_capacity: Option<usize>,
    /// Fixed frame in which the vehicle's motion between sweeps is known.
    pub densification_world_frame_id: Option<String>,
    /// Oldest usable image against the cloud (s).
    pub max_camera_lidar_delay: Option<f64>,
    /// Whether images are rectified before they are resized.
    pub run_image_undistortion: Option<bool>,
    /// Transport of the images.
    pub use_compressed_images: Option<bool>,
    /// Height of the camera's image (px), one for all cameras.
    pub raw_image_height: Option<usize>,
    /// Width of the camera's image (px).
    pub raw_image_width: Option<usize>,
    /// Watchdog: longest processing time (ms).
    #[serde(rename = "diagnostics.max_allowed_processing_time_ms")]
    pub max_allowed_processing_time_ms: Option<f64>,
    /// Watchdog: longest time of uninterrupted delay (ms).
    #[serde(rename = "diagnostics.max_acceptable_consecutive_delay_ms")]
    pub max_acceptable_consecutive_delay_ms: Option<f64>,
    /// Watchdog: period (ms).
    #[serde(rename = "diagnostics.validation_callback_interval_ms")]
    pub validation_callback_interval_ms: Option<f64>,
}
