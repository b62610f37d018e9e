//! Autoware's parameter files as the node ships them, and what happens to broken ones.

use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

use super::super::{ConfigErrors, ConfigProblem, NmsSpec};
use super::{AutowareFile, AutowareModel};

const LIDAR_PACKAGE: &str = include_str!("samples/ml_package_bevfusion_lidar.param.yaml");
const CAMERA_PACKAGE: &str = include_str!("samples/ml_package_bevfusion_camera_lidar.param.yaml");
const CAMERA_NODE: &str = include_str!("samples/bevfusion_camera_lidar.param.yaml");

fn file<'a>(origin: &'a str, text: &'a str) -> AutowareFile<'a> {
    AutowareFile { origin, text }
}

fn read(texts: &[&str]) -> Result<AutowareModel, ConfigErrors> {
    const NAMES: [&str; 3] = ["package.yaml", "node.yaml", "remapper.yaml"];
    let files: Vec<_> = NAMES.iter().zip(texts).map(|(n, t)| file(n, t)).collect();
    AutowareModel::read(&files)
}

fn accepted(texts: &[&str]) -> AutowareModel {
    read(texts).unwrap_or_else(|errors| panic!("{errors}"))
}

fn only(texts: &[&str]) -> ConfigProblem {
    let errors = read(texts).unwrap_err();
    assert_eq!(errors.problems.len(), 1, "{errors}");
    errors.problems.into_iter().next().unwrap()
}

#[test]
fn the_lidar_package_alone_gives_the_t4_network_without_intensity() {
    let model = accepted(&[LIDAR_PACKAGE]);
    let config = &model.config;
    assert_eq!(config.class_names[0], "CAR");
    assert_eq!(config.points.use_dim, [0, 1, 2, 4]);
    assert_eq!(config.voxel.max_voxels, 256_000);
    assert_eq!(config.encoder_in_channels(), 32);
    assert_eq!(config.bev_shape(), [180, 180]);
    assert!(!config.has_camera());
    assert_eq!(
        config.head.dense_heatmap_pooling_classes,
        ["CAR", "TRUCK", "BUS", "BICYCLE"]
    );
    assert_eq!(
        config.postprocess.yaw_norm_thresholds,
        [0.3, 0.3, 0.3, 0.3, 0.0]
    );
    let assumed = model.assumed.join("\n");
    assert!(
        assumed.contains("circle_nms_dist_threshold: 0.5 (preset)"),
        "{assumed}"
    );
    assert!(
        assumed.contains("voxel_features: 4 frequencies"),
        "{assumed}"
    );
    assert!(model.unknown.is_empty() && model.ignored.is_empty());
}

#[test]
fn package_and_node_files_together_give_the_camera_network() {
    let model = accepted(&[CAMERA_PACKAGE, CAMERA_NODE]);
    let config = &model.config;
    let camera = config.camera.as_ref().unwrap();
    assert_eq!(camera.image_size, [384, 576]);
    assert_eq!(camera.camera_order.len(), 6);
    assert_eq!(config.depth_bins(), 95);
    assert_eq!(config.pooled_shape(), [360, 360]);
    assert_eq!(config.encoder_in_channels(), 4);
    let post = &config.postprocess;
    assert_eq!(post.min_confidence_scores[0], [0.1, 0.2, 0.3, 0.4]);
    assert!(matches!(
        post.nms[..],
        [NmsSpec::CircleDistance { .. }, NmsSpec::IouBev { .. }]
    ));
    assert_eq!(model.runtime.voxels_num, [1, 128_000, 256_000]);
    assert_eq!(model.runtime.cloud_capacity, Some(2_000_000));
    assert_eq!(
        model.runtime.densification_world_frame_id.as_deref(),
        Some("map")
    );
    assert_eq!(model.runtime.run_image_undistortion, Some(true));
    assert_eq!(model.runtime.max_allowed_processing_time_ms, Some(200.0));
    assert_eq!(
        model.ignored,
        [
            "engine_path",
            "image_backbone_engine_path",
            "image_backbone_trt_precision",
            "onnx_path",
            "plugins_path",
            "trt_precision",
        ]
    );
}

#[test]
fn intensity_chooses_the_network_with_five_frequencies() {
    let text = LIDAR_PACKAGE.replace("use_intensity: false", "use_intensity: true");
    assert_eq!(accepted(&[&text]).config.encoder_in_channels(), 50);
}

#[test]
fn dotted_keys_and_a_named_node_mean_the_same_as_nested_ones() {
    let dotted = "/perception/bevfusion:
  ros__parameters:
    detection_score_thresholds.distance_bin_upper_limits: [50, 200]
    detection_score_thresholds.min_confidence_scores.CAR: [0.1, 0.2]
    detection_score_thresholds.min_confidence_scores.TRUCK: [0.1, 0.2]
    detection_score_thresholds.min_confidence_scores.BUS: [0.1, 0.2]
    detection_score_thresholds.min_confidence_scores.BICYCLE: [0.1, 0.2]
    detection_score_thresholds.min_confidence_scores.PEDESTRIAN: [0, 0.2]
";
    let model = accepted(&[LIDAR_PACKAGE, dotted]);
    let post = &model.config.postprocess;
    assert_eq!(post.distance_bin_upper_limits, [50.0, 200.0]);
    assert_eq!(post.min_confidence_scores[4], [0.0, 0.2]);
}

#[test]
fn a_later_file_overrides_an_earlier_one() {
    let later = "/**: {ros__parameters: {num_proposals: 300}}";
    assert_eq!(
        accepted(&[LIDAR_PACKAGE, later]).config.head.num_proposals,
        300
    );
}

#[test]
fn the_single_score_threshold_of_old_nodes_holds_at_every_distance() {
    let old = "/**:\n  ros__parameters:\n    score_threshold: 0.35\n";
    let post = &accepted(&[LIDAR_PACKAGE, old]).config.postprocess;
    assert_eq!(post.min_confidence_scores, vec![vec![0.35]; 5]);
    assert!(post.distance_bin_upper_limits[0] > 1e5);
}

#[test]
fn the_class_remapper_takes_autowares_label_order() {
    let zeros = vec!["0"; 64].join(", ");
    let text = format!(
        "/**:\n  ros__parameters:\n    allow_remapping_by_area_matrix: [{zeros}]\n    \
         min_area_matrix: [{zeros}]\n    max_area_matrix: [{zeros}]\n"
    );
    let model = accepted(&[LIDAR_PACKAGE, CAMERA_NODE_WITHOUT_BACKBONE, &text]);
    let remapper = model.config.postprocess.class_remapper.as_ref().unwrap();
    assert_eq!(remapper.labels.len(), 8);
    assert_eq!(remapper.labels[1], "CAR");

    let short = text.replacen("[0, ", "[", 1);
    let problem = only(&[LIDAR_PACKAGE, CAMERA_NODE_WITHOUT_BACKBONE, &short]);
    assert_eq!(problem.key, "allow_remapping_by_area_matrix");
    assert_eq!(problem.file.as_deref(), Some("remapper.yaml"));
    assert_eq!(problem.found, "63 entries");
}
const CAMERA_NODE_WITHOUT_BACKBONE: &str =
    "/**:\n  ros__parameters:\n    image_backbone_onnx_path: \"\"\n";

#[test]
fn unknown_parameters_are_listed_and_slips_of_known_ones_are_errors() {
    let extra = "/**: {ros__parameters: {publish_debug_markers: true}}";
    let model = accepted(&[LIDAR_PACKAGE, extra]);
    assert_eq!(model.unknown, ["publish_debug_markers"]);

    let slip = LIDAR_PACKAGE.replace("num_proposals", "num_proposal");
    let problem = only(&[&slip]);
    assert_eq!(problem.key, "num_proposal");
    assert_eq!(problem.remedy, "did you mean `num_proposals`?");
    assert_eq!(problem.line, Some(7));
    assert_eq!(problem.file.as_deref(), Some("package.yaml"));
}

#[test]
fn contradictions_name_the_parameter_its_file_and_line() {
    let cases = [
        (
            "num_depth_features: 95",
            "num_depth_features: 118",
            "num_depth_features",
        ),
        ("roi_width: 576", "roi_width: 704", "features_height"),
        (
            "0.4\n    img_aug_scale_y: 0.4",
            "0.4\n    img_aug_scale_y: 0.5",
            "img_aug_scale_y",
        ),
        (
            "x_bound: [-122.4, 122.4, 0.68]",
            "x_bound: [-122.4, 122.4, 1.36]",
            "x_bound",
        ),
        (
            "raw_image_height: 1080",
            "raw_image_height: 720",
            "raw_image_height",
        ),
        (
            "voxels_num: [1, 128000,",
            "voxels_num: [1, 512000,",
            "voxels_num",
        ),
        ("    features_width: 72\n", "", "features_width"),
        ("num_cameras: 6", "num_cameras: six", "num_cameras"),
        (
            "voxel_size: [0.17, 0.17, 0.2]",
            "voxel_size: [0.17, 0.2]",
            "voxel_size",
        ),
    ];
    for (from, to, key) in cases {
        assert!(CAMERA_PACKAGE.contains(from), "{from}");
        let text = CAMERA_PACKAGE.replace(from, to);
        let errors = read(&[&text, CAMERA_NODE]).unwrap_err();
        let problem = errors.problems.iter().find(|p| p.key == key);
        let problem = problem.unwrap_or_else(|| panic!("{key}: {errors}"));
        if !to.is_empty() {
            assert_eq!(problem.file.as_deref(), Some("package.yaml"), "{errors}");
            assert!(problem.line.is_some(), "{errors}");
        }
    }
}

#[test]
fn a_node_has_no_millions_of_cameras() {
    let text = CAMERA_PACKAGE.replace("num_cameras: 6", "num_cameras: 16777216");
    let problem = only(&[&text, CAMERA_NODE]);
    assert_eq!(problem.key, "num_cameras");
    assert_eq!(problem.expected, "at most 12");
}

#[test]
fn the_bins_of_d_bound_are_compared_in_words() {
    let text = CAMERA_PACKAGE.replace("num_depth_features: 95", "num_depth_features: 118");
    assert_eq!(
        only(&[&text, CAMERA_NODE]).to_string(),
        "package.yaml: line 24: num_depth_features: expected the 95 bins of d_bound = \
         [1.0, 134.0, 1.4], found 118; take both from the exported model's package"
    );
}

#[test]
fn a_node_file_of_another_model_is_noticed() {
    let problem = only(&[LIDAR_PACKAGE, CAMERA_NODE]);
    assert_eq!(problem.key, "image_backbone_onnx_path");
    assert_eq!(problem.file.as_deref(), Some("node.yaml"));
}

#[test]
fn scores_must_fit_classes_and_bins() {
    let node = CAMERA_NODE.replace("        BUS: [0.1, 0.1, 0.1, 0.1]\n", "");
    let problem = only(&[CAMERA_PACKAGE, &node]);
    assert_eq!(
        problem.key,
        "detection_score_thresholds.min_confidence_scores.BUS"
    );

    let node = CAMERA_NODE.replace("CAR: [0.1, 0.2, 0.3, 0.4]", "CAR: [0.1, 1.2, 0.3]");
    let errors = read(&[CAMERA_PACKAGE, &node]).unwrap_err();
    let text = errors.to_string();
    let key = "detection_score_thresholds.min_confidence_scores.CAR";
    assert!(
        text.contains(&format!("{key}: expected 4 entries")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{key}[1]: expected 0 to below 1")),
        "{text}"
    );

    let node = CAMERA_NODE.replace("        BUS:", "        VAN: [0.1]\n        BUS:");
    let problem = only(&[CAMERA_PACKAGE, &node]);
    assert!(problem.key.ends_with(".VAN"), "{problem}");
}

#[test]
fn missing_parameters_are_reported_together() {
    let errors = read(&["/**:\n  ros__parameters:\n    num_proposals: 500\n"]).unwrap_err();
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "class_names",
            "voxels_num",
            "point_cloud_range",
            "voxel_size",
            "out_size_factor",
            "max_points_per_voxel",
            "use_intensity",
        ],
        "{errors}"
    );
}

#[test]
fn other_yaml_and_hostile_yaml_are_refused() {
    let cases = [
        ("num_proposals: 500\n", "no `ros__parameters`"),
        ("", "no `ros__parameters`"),
        ("/**: [", ""),
        ("/**: &a {x: *a}\n", ""),
        ("a: 1\na: 2\n", ""),
    ];
    for (text, found) in cases {
        let problem = only(&[text]);
        assert_eq!(problem.key, "(file)", "{problem}");
        assert!(problem.found.contains(found), "{problem}");
    }
    let deep = "[".repeat(100_000);
    let long = "a".repeat(2 << 20);
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, inner) in ('b'..='z').zip('a'..) {
        bomb += &format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{inner}"); 9].join(", ")
        );
    }
    for text in [deep, long, bomb] {
        assert_eq!(only(&[&text]).key, "(file)");
    }
}

fn mangled() -> impl Strategy<Value = (String, String)> {
    let pieces = prop::sample::select(vec![
        "",
        "-1",
        "0",
        "1e308",
        ".nan",
        ".inf",
        "99999999999999999999",
        "\"",
        "[",
        "]",
        "{",
        ":",
        "&a",
        "*a",
        "<<: *a",
        "!!int",
        "- ",
        "\n",
        "\t",
        "---\n",
        "~",
        "é",
        "16777217",
        "|",
    ]);
    let edit = (any::<usize>(), 0_usize..12, pieces);
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut texts = [CAMERA_PACKAGE, CAMERA_NODE].map(|t| t.chars().collect::<Vec<_>>());
        for (at, length, piece) in edits {
            let text = &mut texts[at % 2];
            let at = (at / 2) % text.len();
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.chars());
        }
        let [package, node] = texts.map(|text| text.into_iter().collect());
        (package, node)
    })
}

proptest! {
    #[test]
    fn mangled_yaml_never_panics((package, node) in mangled()) {
        if let Err(errors) = read(&[&package, &node]) {
            prop_assert!(!errors.problems.is_empty());
        }
    }
}
