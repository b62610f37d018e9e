//! `bench`: what it measures, prints and writes. No test asserts a time.

use bevfusion::dataset::Layout;
use bevfusion_tests::command::{Ended, bevfusion, says};
use bevfusion_tests::home::{Home, key_cloud};

use super::results::{json, png, success};

/// Runs `bevfusion bench` on the small model for as short as it goes.
fn bench(weights: &str, arguments: &[&str]) -> Ended {
    let common = ["bench", "-w", weights, "--duration", "0", "--warmup", "0"];
    bevfusion(&[&common[..], arguments].concat())
}

#[test]
fn samples_summary_and_plot_are_written() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let (times, svg) = (home.arg("times.json"), home.arg("latency.svg"));
    let wanted = [
        "--engine",
        "cpu",
        "--iterations",
        "7",
        "--frames",
        "2",
        "--export-times",
        &times,
        "--plot",
        &svg,
    ];
    let ended = success(bench(&weights, &wanted));
    says(
        &ended.out,
        &["p99.9", "sparse_encoder", "frame ", "frames/s"],
    );
    assert!(!ended.out.contains("depth_net"), "no camera: {}", ended.out);
    let file = json(&home.path("times.json"));
    assert_eq!(file["schema"], "bevfusion.bench.v1");
    assert_eq!(file["engine"], "cpu");
    assert_eq!(file["measured"]["frames"], 7);
    let command = file["command_line"].as_str().expect("a command line");
    says(command, &["bevfusion bench -w", "--iterations 7"]);
    assert_eq!(file["frames"].as_array().map(Vec::len), Some(2));
    let inputs = &file["samples"]["input"];
    assert_eq!(*inputs, serde_json::json!([0, 1, 0, 1, 0, 1, 0]));
    let frames = file["samples"]["frame_ms"].as_array().expect("samples");
    let frames: Vec<f64> = frames.iter().filter_map(|time| time.as_f64()).collect();
    let slowest = frames.iter().copied().fold(0.0, f64::max);
    let summary = &file["summary_ms"]["frame"];
    assert_eq!(summary["max"].as_f64(), Some(slowest));
    assert_eq!(summary["p99.9"], summary["max"], "of seven samples");
    let stages = file["samples"]["stages_ms"].as_object().expect("stages");
    assert!(
        stages
            .values()
            .all(|times| times.as_array().map(Vec::len) == Some(7))
    );
    assert!(file["median_frame_us"].is_null(), "the CPU engine has none");
    let drawn = std::fs::read_to_string(home.path("latency.svg")).expect("a plot");
    says(&drawn, &["<svg", "p99.9"]);
}

#[test]
fn a_dataset_a_file_and_a_folder_of_files_are_inputs() {
    let home = Home::new().expect("a folder");
    let cameras = home.weights(true).expect("weights");
    let lidar = home.weights(false).expect("weights");
    let drive = home.drive(Layout::Nuscenes).expect("a drive");
    let plot = home.arg("latency.png");
    let few = ["--iterations", "2", "--threads", "1"];
    let of = |weights: &str, more: &[&str]| success(bench(weights, &[&few[..], more].concat())).out;
    let text = of(
        &cameras,
        &["--input", &drive, "--frames", "2", "--plot", &plot],
    );
    says(&text, &["2 frames of", "depth_net", "threads: 1"]);
    png(&home.path("latency.png"));
    let cloud = home.arg(&key_cloud(0));
    says(&of(&lidar, &["--input", &cloud]), &["1 frame of"]);
    let folder = home.arg("nuscenes/samples/LIDAR_TOP");
    says(
        &of(&lidar, &["-i", &folder, "--frames", "2"]),
        &["2 frames of"],
    );
}

#[test]
fn a_frame_that_would_be_dropped_is_not_timed() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(true).expect("weights");
    home.drive(Layout::Nuscenes).expect("a drive");
    let ended = bench(&weights, &["--input", &home.arg(&key_cloud(0))]);
    assert_eq!(ended.code, 1, "{}", ended.out);
    says(&ended.err, &["is dropped, not timed", "camera"]);
}

#[test]
fn bad_arguments_are_told_before_anything_runs() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let refused = |arguments: &[&str], code: u8, part: &str| {
        let ended = bench(&weights, arguments);
        assert_eq!(ended.code, code, "{}", ended.err);
        says(&ended.err, &[part]);
    };
    refused(&["--iterations", "0"], 2, "at least 1");
    refused(&["--frames", "0"], 2, "at least 1");
    refused(&["--engine", "abacus"], 2, "cpu");
    refused(&["--plot", "latency.pdf"], 1, ".svg or a .png");
    refused(&["--timeline", "timeline.pdf"], 1, ".svg or a .png");
    let on_cpu = ["--engine", "cpu", "--timeline", "timeline.svg"];
    refused(&on_cpu, 1, "--timeline is for the CUDA engine");
    refused(&["--input", "/no/such/cloud.bin"], 1, "/no/such/cloud.bin");
    let negative = bevfusion(&["bench", "-w", &weights, "--duration=-1"]);
    assert_eq!(negative.code, 2, "{}", negative.err);
}
