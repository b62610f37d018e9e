//! `detect` over whole datasets, in parts, and `merge` of the parts.

use std::fs;

use bevfusion::dataset::Layout;
use bevfusion_tests::command::{Ended, bevfusion, says};
use bevfusion_tests::home::Home;
use bevfusion_tests::small::small;
use bevfusion_tests::synthetic::token;

use super::results::{json, lines, png, success, topics};

/// A run of the fusion model over the whole nuScenes drive, with everything that it writes.
fn whole_drive() -> (Home, Ended) {
    let home = Home::new().expect("a folder");
    let weights = home.weights(true).expect("weights");
    let root = home.drive(Layout::Nuscenes).expect("a drive");
    let ended = success(home.detect(&["--weights", &weights, "--dataroot", &root]));
    (home, ended)
}

#[test]
fn a_drive_is_told_frame_by_frame_with_a_table_each() {
    let (home, ended) = whole_drive();
    let [first, second, without_cloud] = ["sample 0", "sample 1", "sample 2"].map(token);
    says(
        &ended.err,
        &[&format!(
            "skipped {without_cloud}: sample {without_cloud} has no LiDAR cloud"
        )],
    );
    let summary = "frames: 2 detected (0 of them degraded), 1 skipped, 0 dropped";
    says(
        &ended.out,
        &[
            summary,
            "yaw deg",
            &format!("{first}: "),
            &format!("{second}: "),
        ],
    );
    assert!(!home.path(&format!("out/{without_cloud}.json")).exists());
}

#[test]
fn a_drive_leaves_pictures_a_recording_and_results() {
    let (home, _) = whole_drive();
    for sample in ["sample 0", "sample 1"].map(token) {
        let file = |end: &str| home.path(&format!("out/{sample}{end}"));
        assert_eq!(json(&file(".json"))["model"], "small_CL");
        let bev = png(&file("_bev.png"));
        assert_eq!(bev.width, bev.height);
        let sheet = png(&file("_cameras.png"));
        assert!(
            sheet.width > 600 && sheet.height > 200,
            "{} {}",
            sheet.width,
            sheet.height
        );
    }
    let topics = topics(&home.path("out/detections.mcap"));
    for topic in [
        "/tf",
        "/lidar/points",
        "/detections",
        "/ground_truth",
        "/camera/CAM_BACK/image",
    ] {
        assert_eq!(topics.get(topic), Some(&2), "{topic}: {topics:?}");
    }
    let results = json(&home.path("out/results_nusc.json"));
    let meta = &results["meta"];
    assert!(meta["use_camera"] == true && meta["use_lidar"] == true && meta["use_map"] == false);
    let samples = results["results"].as_object().expect("samples");
    assert_eq!(samples.len(), 2);
    for (sample, boxes) in samples {
        let boxes = boxes.as_array().expect("boxes");
        assert!(
            !boxes.is_empty()
                && boxes
                    .iter()
                    .all(|one| one["sample_token"] == sample.as_str())
        );
    }
}

#[test]
fn the_merged_shards_are_the_unsharded_result_file() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(false).expect("weights"),
        home.drive(Layout::Nuscenes).expect("a drive"),
    );
    let part = |out: &str, shard: &[&str]| {
        let output = home.arg(out);
        let plain = [
            "detect",
            "-w",
            &weights,
            "--dataroot",
            &root,
            "-o",
            &output,
            "--no-pictures",
            "--no-mcap",
        ];
        let ended = bevfusion(&[&plain, shard].concat());
        (ended, format!("{output}/results_nusc.json"))
    };
    let (ended, whole) = part("whole", &[]);
    success(ended);
    // The third sample has no cloud: its shard detects nothing and says so, but leaves a file to merge.
    for shards in [2, 3] {
        let parts: Vec<_> = (0..shards)
            .map(|index| {
                part(
                    &format!("{index}"),
                    &["--shard", &format!("{index}/{shards}")],
                )
            })
            .collect();
        let codes: Vec<u8> = parts.iter().map(|(ended, _)| ended.code).collect();
        assert_eq!(codes.iter().sum::<u8>(), 1, "{parts:?}");
        assert_eq!(codes.last(), Some(&1));
        let merged = home.arg("merged.json");
        let mut arguments = vec!["merge", "-o", &merged];
        arguments.extend(parts.iter().map(|(_, file)| file.as_str()));
        let ended = success(bevfusion(&arguments));
        assert!(ended.out.starts_with("2 samples, "), "{}", ended.out);
        assert!(
            fs::read(&merged).expect("merged") == fs::read(&whole).expect("whole"),
            "{shards} shards"
        );
    }
}

#[test]
fn a_t4_drive_is_detected_in() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(true).expect("weights"),
        home.drive(Layout::T4).expect("a drive"),
    );
    let ended = success(home.detect(&["--weights", &weights, "--dataroot", &root, "--json"]));
    let frames = lines(&ended.out);
    let ids: Vec<_> = frames
        .iter()
        .map(|frame| frame["frame_id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, ["sample 0", "sample 1"].map(token));
    assert!(ended.err.contains("frames: 2 detected"), "{}", ended.err);
    for id in ids {
        png(&home.path(&format!("out/{id}_bev.png")));
        assert_eq!(json(&home.path(&format!("out/{id}.json")))["frame_id"], id);
    }
    assert_eq!(
        topics(&home.path("out/detections.mcap")).get("/detections"),
        Some(&2)
    );
    assert_eq!(
        json(&home.path("out/results_nusc.json"))["results"]
            .as_object()
            .map(|r| r.len()),
        Some(2)
    );
}

#[test]
fn json_lines_are_the_same_for_any_number_of_threads() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(true).expect("weights"),
        home.drive(Layout::Nuscenes).expect("a drive"),
    );
    let with = |threads: &str| {
        let ended = success(home.detect(&[
            "-w",
            &weights,
            "--dataroot",
            &root,
            "--scene",
            "scene-0001",
            "--threads",
            threads,
            "--json",
            "--no-pictures",
            "--no-mcap",
        ]));
        lines(&ended.out)
    };
    let one = with("1");
    assert_eq!(one.len(), 2);
    assert!(
        one[0]["detections"]
            .as_array()
            .is_some_and(|boxes| !boxes.is_empty())
    );
    assert_eq!(one, with("2"));
    let mut left: Vec<_> = fs::read_dir(home.path("out"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn one_sample_is_chosen_by_the_beginning_of_its_token() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(false).expect("weights"),
        home.drive(Layout::Nuscenes).expect("a drive"),
    );
    let wanted = token("sample 1");
    let ended = success(home.detect(&[
        "-w",
        &weights,
        "--dataroot",
        &root,
        "--sample",
        &wanted[..10],
        "--json",
        "--no-mcap",
    ]));
    let frames = lines(&ended.out);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["frame_id"], wanted.as_str());
    // A LiDAR model reads no camera.
    assert!(!home.path(&format!("out/{wanted}_cameras.png")).exists());
}

#[test]
fn classes_that_nuscenes_does_not_know_cost_the_result_file_only() {
    let home = Home::new().expect("a folder");
    let root = home.drive(Layout::Nuscenes).expect("a drive");
    let mut spec = small(false);
    spec.class_names[0] = "CAR".into();
    spec.head.dense_heatmap_pooling_classes = vec!["CAR".into()];
    let weights = home.weights_of(&spec).expect("weights");
    let ended = success(home.detect(&[
        "-w",
        &weights,
        "--dataroot",
        &root,
        "--json",
        "--no-pictures",
    ]));
    assert_eq!(lines(&ended.out).len(), 2);
    assert!(
        ended
            .err
            .contains("class `CAR` is no nuScenes detection class"),
        "{}",
        ended.err
    );
    assert!(!home.path("out/results_nusc.json").exists());
    assert!(home.path("out/detections.mcap").is_file());
}
