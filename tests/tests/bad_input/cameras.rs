//! Cameras: missing, broken, singular.

use std::fs;

use bevfusion::dataset::Layout;
use bevfusion_tests::command::{Ended, says};
use bevfusion_tests::home::{Home, key_cloud, key_image};
use bevfusion_tests::synthetic::{CAMERAS, token};
use serde_json::Value;

use super::refusals::{refused, unreadable};

struct Drive {
    home: Home,
    weights: String,
    root: String,
}

impl Drive {
    fn new() -> Self {
        let home = Home::new().expect("a folder");
        let weights = home.weights(true).expect("weights");
        let root = home.drive(Layout::Nuscenes).expect("a drive");
        Self {
            home,
            weights,
            root,
        }
    }

    /// Rewrites the records of a table.
    fn edit(&self, table: &str, change: impl Fn(&mut Vec<Value>)) {
        let path = self
            .home
            .path(&format!("nuscenes/v1.0-synthetic/{table}.json"));
        let mut rows = serde_json::from_slice(&fs::read(&path).expect("a table")).expect("rows");
        change(&mut rows);
        fs::write(path, Value::Array(rows).to_string()).expect("written");
    }

    fn detect(&self, more: &[&str]) -> Ended {
        let common = [
            "-w",
            &self.weights,
            "--dataroot",
            &self.root,
            "--no-pictures",
        ];
        self.home.detect(&[&common, more].concat())
    }
}

/// The second sample has lost its back camera.
fn one_eyed() -> Drive {
    let drive = Drive::new();
    let (sample, camera) = (
        token("sample 1"),
        token(&format!("calibrated {}", CAMERAS[1])),
    );
    drive.edit("sample_data", |rows| {
        rows.retain(|row| {
            row["sample_token"] != sample.as_str()
                || row["calibrated_sensor_token"] != camera.as_str()
        });
    });
    drive
}

#[test]
fn a_frame_without_a_camera_is_dropped_with_its_name() {
    let drive = one_eyed();
    let ended = drive.detect(&[]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let sample = token("sample 1");
    let why = "1 of 2 cameras can be used, at least 2 are needed: CAM_BACK missing";
    says(&ended.err, &[&format!("dropped {sample}: {why}")]);
    says(
        &ended.out,
        &["frames: 1 detected (0 of them degraded), 1 skipped, 1 dropped"],
    );
    assert!(!drive.home.path(&format!("out/{sample}.json")).exists());
    let results: Value = serde_json::from_slice(
        &fs::read(drive.home.path("out/results_nusc.json")).expect("a file"),
    )
    .expect("JSON");
    assert_eq!(results["results"][&sample], Value::Array(Vec::new()));
}

#[test]
fn a_frame_may_lack_a_camera_where_the_user_says_so() {
    let drive = one_eyed();
    let ended = drive.detect(&["--min-cameras", "1"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    says(
        &ended.err,
        &[&format!(
            "degraded {}: cameras not used: 1 (CAM_BACK missing)",
            token("sample 1")
        )],
    );
    says(
        &ended.out,
        &["frames: 2 detected (1 of them degraded), 1 skipped, 0 dropped"],
    );
    let too_many = drive.detect(&["--min-cameras", "3"]);
    refused(
        &too_many,
        &["min_cameras is 3, but the model has 2 cameras", "at most 2"],
    );
}

#[test]
fn a_frame_without_a_camera_may_run_on_the_lidar_alone() {
    let drive = one_eyed();
    let ended = drive.detect(&["--below-min-cameras", "lidar-only"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let sample = token("sample 1");
    let text = "cameras not used: 1, LiDAR only: too few cameras (CAM_BACK missing)";
    says(&ended.err, &[&format!("degraded {sample}: {text}")]);
    let guess = drive.detect(&["--below-min-cameras", "guess"]);
    assert_eq!(guess.code, 2, "{}", guess.err);
    says(&guess.err, &["drop", "lidar-only"]);
}

#[test]
fn images_beyond_the_delay_are_stale() {
    // The images of the made-up drive are 32 ms older than its clouds.
    let drive = Drive::new();
    let ended = drive.detect(&["--max-camera-lidar-delay", "0.032"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    says(&ended.out, &["2 detected (0 of them degraded)"]);
    let ended = drive.detect(&["--max-camera-lidar-delay", "0.031"]);
    assert_eq!(ended.code, 1);
    says(
        &ended.err,
        &[
            "0 of 2 cameras can be used, at least 2 are needed",
            "CAM_FRONT stale (the image is 0.032 s older than the cloud)",
        ],
    );
    for wrong in ["-1", "soon", "inf"] {
        let argument = format!("--max-camera-lidar-delay={wrong}");
        let ended = drive.detect(&[&argument]);
        assert_eq!(ended.code, 2, "{}", ended.err);
        says(&ended.err, &["expected seconds"]);
    }
}

#[test]
fn when_every_frame_is_dropped_the_command_fails() {
    let drive = one_eyed();
    let ended = drive.detect(&["--sample", &token("sample 1")]);
    assert_eq!(ended.code, 1);
    says(
        &ended.err,
        &["CAM_BACK missing", "error: no frame could be detected in"],
    );
}

#[test]
fn a_singular_calibration_names_the_camera() {
    let drive = Drive::new();
    let camera = token(&format!("calibrated {}", CAMERAS[1]));
    drive.edit("calibrated_sensor", |rows| {
        let row = rows
            .iter_mut()
            .find(|row| row["token"] == camera.as_str())
            .expect("a camera");
        row["camera_intrinsic"][1] = serde_json::json!([0.0, 0.0, 0.0]);
    });
    let ended = drive.detect(&[]);
    assert_eq!(ended.code, 1);
    says(
        &ended.err,
        &[
            "dropped ",
            "camera \"CAM_BACK\": image_from_camera is singular",
            "check the camera's calibration",
        ],
    );
    assert!(!ended.err.contains("CAM_FRONT"), "{}", ended.err);
}

#[test]
fn a_broken_image_is_named() {
    let drive = Drive::new();
    let name = key_image(0, 1);
    let bytes = fs::read(drive.home.path(&name)).expect("an image");
    drive
        .home
        .file(&name, &bytes[..bytes.len() / 3])
        .expect("written");
    unreadable(&drive.detect(&[]), &[&name, "JPEG image cannot be decoded"]);
    drive
        .home
        .file(&name, "version https://git-lfs")
        .expect("written");
    unreadable(&drive.detect(&[]), &[&name, "expected a JPEG or PNG image"]);
    fs::remove_file(drive.home.path(&name)).expect("removed");
    unreadable(
        &drive.detect(&[]),
        &[&name, "does not exist, but filename of sample_data"],
    );
}

#[test]
fn calibration_files_and_images_that_do_not_match_are_refused_by_key() {
    let drive = Drive::new();
    let (home, weights) = (&drive.home, &drive.weights);
    let rig = home.rig().expect("a rig");
    let (points, image) = (home.arg(&key_cloud(0)), home.arg(&key_image(0, 0)));
    let detect = |rig: &str, images: &[&str]| {
        let common = [
            "-w", weights, "--points", &points, "--calib", rig, "--images",
        ];
        home.detect(&[&common, images].concat())
    };
    refused(
        &detect(&rig, &[&image]),
        &[
            "1 images for 2 cameras (CAM_FRONT, CAM_BACK)",
            "CAMERA=PATH",
        ],
    );
    let text = fs::read_to_string(&rig).expect("a rig");
    let flat = home
        .file("flat.toml", text.replacen("40.0", "0.0", 1))
        .expect("written");
    refused(
        &detect(&flat, &[&image, &image]),
        &[
            "flat.toml",
            "cameras[0].image_from_camera",
            "expected focal lengths above 0",
            "docs/calibration.md",
        ],
    );
    let typo = home
        .file(
            "typo.toml",
            text.replacen("camera_from_lidar", "camera_from_lidra", 1),
        )
        .expect("written");
    refused(
        &detect(&typo, &[&image, &image]),
        &[
            "typo.toml, cameras[0]: unknown key \"camera_from_lidra\"",
            "camera_from_lidar",
        ],
    );
    let other = home
        .file("other.toml", text.replace("CAM_BACK", "CAM_REAR"))
        .expect("written");
    let ended = detect(&other, &[&image, &image]);
    assert_eq!(ended.code, 1);
    says(
        &ended.err,
        &["CAM_BACK missing", "error: no frame could be detected in"],
    );
}
