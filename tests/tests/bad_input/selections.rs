//! Scenes, samples, versions and shards that are not there, and datasets without clouds.

use std::fs;

use bevfusion::dataset::Layout;
use bevfusion_tests::command::{Ended, says};
use bevfusion_tests::home::Home;
use bevfusion_tests::synthetic::token;

use super::refusals::refused;

struct Drive {
    home: Home,
    weights: String,
    root: String,
}

impl Drive {
    fn new() -> Self {
        let home = Home::new().expect("a folder");
        let weights = home.weights(false).expect("weights");
        let root = home.drive(Layout::Nuscenes).expect("a drive");
        Self {
            home,
            weights,
            root,
        }
    }

    fn detect(&self, more: &[&str]) -> Ended {
        let common = ["-w", &self.weights, "--dataroot", &self.root];
        self.home.detect(&[&common, more].concat())
    }
}

#[test]
fn what_is_not_in_the_dataset_is_refused_with_what_is() {
    let drive = Drive::new();
    refused(
        &drive.detect(&["--scene", "scene-0002"]),
        &["no scene is called \"scene-0002\"", "there are: scene-0001"],
    );
    refused(
        &drive.detect(&["--sample", "zz"]),
        &["starts with \"zz\"", "nuscenes", "3 samples"],
    );
    refused(
        &drive.detect(&["--version", "v1.0-mini"]),
        &[
            "nuscenes is not a dataset",
            "no folder v1.0-mini",
            "--version can be: v1.0-synthetic",
        ],
    );
    let elsewhere = drive.home.arg("nowhere");
    refused(
        &drive
            .home
            .detect(&["-w", &drive.weights, "--dataroot", &elsewhere]),
        &["cannot read", "nowhere"],
    );
    fs::create_dir(&elsewhere).expect("a folder");
    let ended = drive
        .home
        .detect(&["-w", &drive.weights, "--dataroot", &elsewhere]);
    refused(
        &ended,
        &[
            "nowhere is not a dataset",
            "expected a folder v1.0-* (nuScenes)",
            "found no folder at all",
        ],
    );
}

#[test]
fn two_versions_ask_for_a_choice() {
    let drive = Drive::new();
    fs::create_dir(drive.home.path("nuscenes/v1.0-mini")).expect("a folder");
    refused(
        &drive.detect(&[]),
        &["several versions, choose one with --version: v1.0-mini, v1.0-synthetic"],
    );
}

#[test]
fn shards_that_are_none_are_refused_with_an_example() {
    let drive = Drive::new();
    for shard in ["2/2", "0/0", "-1/2", "1", "a/b", "1/2/3"] {
        let argument = format!("--shard={shard}");
        refused(
            &drive.detect(&[&argument]),
            &[
                &format!("shard {shard:?}"),
                "expected I/N",
                "for example 0/4",
            ],
        );
    }
}

#[test]
fn a_shard_without_frames_is_told() {
    let ended = Drive::new().detect(&["--shard", "7/8"]);
    refused(&ended, &["no frame to detect in", "the selection is empty"]);
}

#[test]
fn a_dataset_without_clouds_is_skipped_sample_by_sample_and_fails() {
    let drive = Drive::new();
    fs::remove_dir_all(drive.home.path("nuscenes/samples/LIDAR_TOP")).expect("removed");
    let ended = drive.detect(&[]);
    assert_eq!(ended.code, 1);
    for sample in ["sample 0", "sample 1", "sample 2"].map(token) {
        says(
            &ended.err,
            &[&format!(
                "skipped {sample}: sample {sample} has no LiDAR cloud"
            )],
        );
    }
    says(
        &ended.err,
        &["LIDAR_TOP", "error: no frame could be detected in"],
    );
    says(
        &ended.out,
        &["frames: 0 detected (0 of them degraded), 3 skipped, 0 dropped"],
    );
}

#[test]
fn options_that_exclude_each_other_are_a_usage_error() {
    let drive = Drive::new();
    for more in [
        ["--points", "a.bin"],
        ["--calib", "rig.toml"],
        ["--point-columns", "5"],
        ["--min-score", "high"],
    ] {
        let ended = drive.detect(&more);
        assert_eq!(ended.code, 2, "{ended:?}");
        says(&ended.err, &[more[0]]);
    }
    for option in ["--version", "--scene", "--sample", "--shard"] {
        let ended =
            (drive.home).detect(&["-w", &drive.weights, "--points", "a.bin", option, "0/2"]);
        assert_eq!(ended.code, 2, "{ended:?}");
        says(&ended.err, &[option, "--points"]);
    }
    let neither = drive.home.detect(&["-w", &drive.weights]);
    assert_eq!(neither.code, 2);
    says(&neither.err, &["--dataroot"]);
}
