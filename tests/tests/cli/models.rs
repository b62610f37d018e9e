//! `import`, `export`, `inspect`, `models` and `autoware`.

use std::fs;

use bevfusion::config::{ModelConfig, PRESETS};
use bevfusion::dataset::Layout;
use bevfusion::exec::StageId;
use bevfusion::graph::read::{OnnxSummary, TensorSummary, summarise};
use bevfusion_tests::command::{bevfusion, says};
use bevfusion_tests::home::Home;
use bevfusion_tests::small::{small, small_config, weights_of};
use bevfusion_tests::torch_file::write_checkpoint;

use super::results::{lines, success};

#[test]
fn an_imported_checkpoint_detects_as_its_weights_do() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(true).expect("weights"),
        home.drive(Layout::Nuscenes).expect("a drive"),
    );
    let checkpoint = home.path("epoch_20.pth");
    write_checkpoint(&checkpoint, &weights_of(&small(true))).expect("a checkpoint");
    let (checkpoint, imported) = (checkpoint.display().to_string(), home.arg("imported"));
    let toml = format!("{weights}/model.toml");
    let ended = success(bevfusion(&[
        "import",
        &checkpoint,
        "--model",
        &toml,
        "-o",
        &imported,
    ]));
    assert!(
        ended.out.contains("(state_dict) fits small_CL"),
        "{}",
        ended.out
    );
    assert!(
        ended.out.ends_with(&format!("weights in {imported}\n")),
        "{}",
        ended.out
    );
    let detect = |weights: &str| {
        lines(
            &success(home.detect(&[
                "-w",
                weights,
                "--dataroot",
                &root,
                "--json",
                "--no-pictures",
                "--no-mcap",
            ]))
            .out,
        )
    };
    let found = detect(&imported);
    assert_eq!(found.len(), 2);
    assert_eq!(found, detect(&weights));
}

#[test]
fn the_report_of_an_import_can_be_had_as_json() {
    let home = Home::new().expect("a folder");
    let toml = format!("{}/model.toml", home.weights(false).expect("weights"));
    let checkpoint = home.path("a.pth");
    write_checkpoint(&checkpoint, &weights_of(&small(false))).expect("a checkpoint");
    let ended = success(bevfusion(&[
        "import",
        &checkpoint.display().to_string(),
        "-m",
        &toml,
        "-o",
        &home.arg("w"),
        "--json",
    ]));
    let report: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(report["model"], "small_L");
    assert_eq!(report["loaded"], weights_of(&small(false)).tensors.len());
}

fn names(ports: &[TensorSummary]) -> Vec<&str> {
    ports.iter().map(|port| port.name.as_str()).collect()
}

/// What the documentation of each network says that goes in and comes out.
const PORTS: [(&str, &[&str], &[&str]); 5] = [
    ("camera_backbone", &["images"], &["image_feats"]),
    (
        "depth_net",
        &["depth_image", "image_feats"],
        &["depth_prob", "context"],
    ),
    ("bev_downsample", &["camera_bev_pooled"], &["camera_bev"]),
    (
        "bev_decoder",
        &["camera_bev", "lidar_bev"],
        &["bev_features"],
    ),
    (
        "head",
        &["bev_features"],
        &["bbox_pred", "score", "label_pred"],
    ),
];

/// The networks of the small model as ONNX files, and what `export` printed.
fn exported() -> (Home, String) {
    let home = Home::new().expect("a folder");
    let weights = home.weights(true).expect("weights");
    let ended = success(bevfusion(&[
        "export",
        "--weights",
        &weights,
        "-o",
        &home.arg("onnx"),
    ]));
    (home, ended.out)
}

fn network(home: &Home, name: &str) -> OnnxSummary {
    let bytes = fs::read(home.path(&format!("onnx/{name}.onnx"))).expect(name);
    summarise(&bytes).expect(name)
}

#[test]
fn exported_networks_have_the_documented_inputs_and_outputs() {
    let (home, told) = exported();
    for (name, inputs, outputs) in PORTS {
        let summary = network(&home, name);
        assert_eq!(names(&summary.inputs), inputs, "{name}");
        assert_eq!(names(&summary.outputs), outputs, "{name}");
        let ports = [inputs, outputs].concat();
        says(&summary.description, &ports);
        says(&told, &ports);
        let shown = success(bevfusion(&[
            "inspect",
            &home.arg(&format!("onnx/{name}.onnx")),
        ]));
        says(&shown.out, &[&format!("{name}.onnx: {name} (ir ")]);
    }
}

#[test]
fn exported_networks_have_the_shapes_of_the_model() {
    let (home, _) = exported();
    let shapes = |ports: &[TensorSummary]| -> Vec<String> {
        ports.iter().map(|port| port.shape.join("x")).collect()
    };
    assert_eq!(
        shapes(&network(&home, "camera_backbone").inputs),
        ["2x3x64x176"]
    );
    assert_eq!(
        shapes(&network(&home, "bev_decoder").outputs),
        ["1x48x20x20"]
    );
    assert_eq!(
        shapes(&network(&home, "head").outputs),
        ["10x24", "24", "24"]
    );
}

#[test]
fn every_stage_that_computes_is_inspected() {
    // Sweeps, images, pooling and the filters have no weights and no fixed shape.
    let without_row = [
        StageId::Sweeps,
        StageId::Preprocess,
        StageId::BevPool,
        StageId::Postprocess,
    ];
    let stages = StageId::ALL
        .into_iter()
        .filter(|stage| !without_row.contains(stage));
    let table = success(bevfusion(&["inspect", "--model", "nuscenes_CL"])).out;
    for stage in stages.clone() {
        let row = format!("\n{} ", stage.name());
        assert!(table.contains(&row), "{}: {table}", stage.name());
    }
    assert!(table.contains("total: "), "{table}");
    let json = success(bevfusion(&["inspect", "--model", "nuscenes_CL", "--json"])).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rows = json["stages"].as_array().expect("rows");
    for stage in stages {
        assert!(
            rows.iter().any(|row| row["stage"] == stage.name()),
            "{}",
            stage.name()
        );
    }
}

#[test]
fn every_shipped_model_is_listed() {
    let list = success(bevfusion(&["models"])).out;
    assert_eq!(list.lines().count(), PRESETS.len());
    for (line, name) in list.lines().zip(PRESETS) {
        assert!(line.starts_with(name) && line.contains("classes"), "{line}");
    }
}

#[test]
fn autowares_parameter_files_become_a_description_that_loads() {
    let samples = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../runtime/src/config/autoware/samples"
    );
    let file = |name: &str| format!("{samples}/{name}.param.yaml");
    let (lidar, camera) = (
        file("ml_package_bevfusion_lidar"),
        file("ml_package_bevfusion_camera_lidar"),
    );
    let node = file("bevfusion_camera_lidar");
    for (files, has_camera) in [(vec![&lidar], false), (vec![&node, &camera], true)] {
        let mut arguments = vec!["autoware"];
        arguments.extend(files.iter().map(|file| file.as_str()));
        let ended = success(bevfusion(&arguments));
        assert!(
            ended.err.contains("taken from the shipped model: "),
            "{}",
            ended.err
        );
        let config = ModelConfig::from_toml_str(&ended.out, "model.toml")
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (config.has_camera(), config.class_names[0].as_str()),
            (has_camera, "CAR")
        );
        assert_eq!(config.to_toml().expect("TOML").trim(), ended.out.trim());
    }
}

#[test]
fn a_weights_folder_describes_its_model_itself() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let toml = format!("{weights}/model.toml");
    assert_eq!(
        ModelConfig::load(&toml).expect("a model"),
        small_config(false).expect("a model")
    );
    let ended = success(bevfusion(&["inspect", "--model", &toml]));
    assert!(ended.out.starts_with("small_L\n"), "{}", ended.out);
}

#[test]
fn help_and_version_succeed_and_nonsense_is_a_usage_error() {
    let help = success(bevfusion(&["detect", "--help"]));
    assert!(
        help.out.contains("Examples:") && help.err.is_empty(),
        "{help:?}"
    );
    assert!(
        success(bevfusion(&["--version"]))
            .out
            .starts_with("bevfusion ")
    );
    let typo = bevfusion(&["detekt"]);
    assert_eq!(typo.code, 2);
    assert!(
        typo.err.contains("'detect'") && typo.out.is_empty(),
        "{typo:?}"
    );
}
