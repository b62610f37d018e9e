//! Each contradiction, and the key that it is reported under.

use super::super::tests::{edited, only};

/// Preset, its text, what to write instead, the key of the only problem.
const CONTRADICTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "nuscenes_L",
        "[1440, 1440, 41]",
        "[1440, 1440, 40]",
        "lidar_encoder.sparse_shape",
    ),
    (
        "nuscenes_L",
        "[16, 16, 32]",
        "[16, 32, 32]",
        "lidar_encoder.encoder_channels[0]",
    ),
    (
        "nuscenes_L",
        "[[1, 1, 1], [1,",
        "[[3, 1, 1], [1,",
        "lidar_encoder.encoder_paddings",
    ),
    (
        "nuscenes_L",
        "[1, 1, 0]]",
        "[1, 1, 0], [1, 1, 1]]",
        "lidar_encoder.encoder_paddings",
    ),
    (
        "nuscenes_L",
        "use_dim = [0, 1, 2, 3, 4]",
        "use_dim = [0, 1, 2, 5]",
        "points.use_dim[3]",
    ),
    (
        "nuscenes_L",
        "use_dim = [0, 1, 2, 3, 4]",
        "use_dim = [1, 0, 2]",
        "points.use_dim",
    ),
    (
        "nuscenes_L",
        "num_proposals = 200",
        "num_proposals = 400000",
        "head.num_proposals",
    ),
    (
        "nuscenes_L",
        "nms_kernel_size = 3",
        "nms_kernel_size = 2",
        "head.nms_kernel_size",
    ),
    (
        "nuscenes_L",
        "upsample_strides = [1, 2]",
        "upsample_strides = [1, 4]",
        "bev_decoder.upsample_strides[1]",
    ),
    (
        "nuscenes_L",
        "layer_nums = [5, 5]",
        "layer_nums = [5]",
        "bev_decoder.layer_nums",
    ),
    (
        "nuscenes_L",
        "\"traffic_cone\"]",
        "\"traffic_cone\", \"car\"]",
        "class_names[10]",
    ),
    (
        "t4_L",
        "122.4, 5.0, 0.2]",
        "122.4, 5.0]",
        "lidar_encoder.voxel_features.max",
    ),
    (
        "t4_L",
        "122.4, 5.0, 0.2]",
        "122.4, 5.0, 0.0]",
        "lidar_encoder.voxel_features.max[3]",
    ),
    (
        "t4_L",
        "[50.0, 90.0,",
        "[90.0, 50.0,",
        "postprocess.distance_bin_upper_limits[1]",
    ),
    (
        "t4_L",
        "    [0.1, 0.1, 0.1, 0.1],\n",
        "",
        "postprocess.min_confidence_scores",
    ),
    (
        "t4_L",
        "    [0.1, 0.1, 0.1, 0.1],\n",
        "[0.1, 0.1, 0.1, 1.0],",
        "postprocess.min_confidence_scores[0][3]",
    ),
    (
        "t4_L",
        "[0.3, 0.3, 0.3, 0.3, 0.0]",
        "[0.3]",
        "postprocess.yaw_norm_thresholds",
    ),
    (
        "t4_L",
        "iou_nms_threshold = 0.1",
        "iou_nms_threshold = 1.5",
        "postprocess.nms[1].iou_nms_threshold",
    ),
    (
        "t4_L",
        "type = \"iou_bev\"",
        "type = \"iou\"",
        "postprocess.nms[1].type",
    ),
    (
        "nuscenes_CL",
        "feature_size = [32, 88]",
        "feature_size = [32, 80]",
        "camera.view_transform.feature_size",
    ),
    (
        "nuscenes_CL",
        "num_heads = [3, 6, 12, 24]",
        "num_heads = [3, 6, 12, 25]",
        "camera.backbone.num_heads[3]",
    ),
    (
        "nuscenes_CL",
        "d_bound = [1.0, 60.0, 0.5]",
        "d_bound = [60.0, 1.0, 0.5]",
        "camera.view_transform.d_bound",
    ),
    (
        "nuscenes_CL",
        "d_bound = [1.0, 60.0, 0.5]",
        "d_bound = [1.0, 60.0, 1e-30]",
        "camera.view_transform.d_bound",
    ),
    (
        "nuscenes_CL",
        "depths = [2, 2, 6, 2]",
        "depths = [2, 2, 16777216, 2]",
        "camera.backbone.depths",
    ),
    (
        "nuscenes_L",
        "layer_nums = [5, 5]",
        "layer_nums = [500, 501]",
        "bev_decoder.layer_nums",
    ),
    (
        "nuscenes_L",
        "num_decoder_layers = 1",
        "num_decoder_layers = 16777216",
        "head.num_decoder_layers",
    ),
    (
        "nuscenes_CL",
        "x_bound = [-54.0, 54.0, 0.3]",
        "x_bound = [-55.0, 53.0, 0.3]",
        "camera.view_transform.x_bound",
    ),
    (
        "nuscenes_CL",
        "\"CAM_BACK\"",
        "\"CAM_FRONT\"",
        "camera.camera_order[3]",
    ),
    (
        "nuscenes_CL",
        "[fuser]\nout_channels = 256\nkernel_size = 3\n",
        "",
        "fuser",
    ),
    (
        "nuscenes_L",
        "nms = []",
        "nms = [{ type = \"rotated\", groups = [[\"car\", \"van\"]], threshold = 0.5 }]",
        "postprocess.nms[0].groups[0][1]",
    ),
    (
        "nuscenes_L",
        "nms = []",
        "nms = [{ type = \"circle_squared\", groups = [[\"car\"], [\"car\"]], threshold = 0.175, post_max_size = 83 }]",
        "postprocess.nms[0].groups[1]",
    ),
    (
        "nuscenes_L",
        "nms = []",
        "nms = []\n[postprocess.class_remapper]\nlabels = [\"CAR\", \"LORRY\"]\nallow_remapping_by_area_matrix = [1, 1, 1, 1]\nmin_area_matrix = [0, 0, 0, 0]\nmax_area_matrix = [1, 1, 1, 1]",
        "postprocess.class_remapper.labels[1]",
    ),
];

#[test]
fn every_contradiction_is_one_problem_under_its_key() {
    for (name, from, to, key) in CONTRADICTIONS {
        let problem = only(&edited(name, &[(*from, *to)]));
        assert_eq!(problem.key, *key, "{problem}");
    }
}
