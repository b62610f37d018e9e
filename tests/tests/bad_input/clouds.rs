//! Point files: cut, empty, not finite, far away, too many.

use bevfusion::dataset::Layout;
use bevfusion_tests::command::{Ended, says};
use bevfusion_tests::home::{Home, key_cloud};
use bevfusion_tests::small::small;

use super::refusals::{refused, unreadable};

/// Twenty points in a row, then `more`.
fn cloud(more: &[[f32; 5]]) -> Vec<u8> {
    let row = |i: u16| [f32::from(i), 2.0, -1.0, 50.0, 0.0];
    let rows = (0..20).map(row).chain(more.iter().copied());
    rows.flatten().flat_map(f32::to_le_bytes).collect()
}

/// `detect` with the LiDAR model on one file.
fn detect(name: &str, bytes: &[u8]) -> Ended {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let points = home.file(name, bytes).expect("written");
    home.detect(&["-w", &weights, "--points", &points])
}

#[test]
fn a_truncated_file_is_named_with_its_bytes_and_the_columns_to_try() {
    let bytes = cloud(&[]);
    let ended = detect("cut.bin", &bytes[..bytes.len() - 3]);
    refused(
        &ended,
        &[
            "cut.bin",
            "397 bytes",
            "5 float32 columns",
            "leave 17 over",
            "truncated",
            "--point-columns 4",
        ],
    );
    let ended = detect("cut.pcd", b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\nHEIGHT 1\nPOINTS 2\nDATA binary\nabcdefgh");
    refused(
        &ended,
        &[
            "cut.pcd",
            "promises 2 points",
            "24 bytes",
            "holds 8",
            "truncated",
        ],
    );
}

#[test]
fn an_empty_file_a_missing_one_and_another_kind_are_named() {
    refused(
        &detect("none.bin", &[]),
        &["none.bin", "it is empty (0 bytes)", "fetch the file again"],
    );
    refused(
        &detect("cloud.las", b"LASF"),
        &["cloud.las", "unknown extension \"las\"", ".bin or .pcd.bin"],
    );
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let absent = home.arg("absent.bin");
    refused(
        &home.detect(&["-w", &weights, "--points", &absent]),
        &["absent.bin does not exist"],
    );
}

#[test]
fn a_truncated_cloud_of_a_dataset_is_named_and_the_run_goes_on() {
    let home = Home::new().expect("a folder");
    let (weights, root) = (
        home.weights(false).expect("weights"),
        home.drive(Layout::Nuscenes).expect("a drive"),
    );
    let name = key_cloud(0);
    home.file(&name, &cloud(&[])[..399]).expect("written");
    unreadable(
        &home.detect(&["-w", &weights, "--dataroot", &root]),
        &[&name, "399 bytes", "leave 19 over"],
    );
    home.file(&name, []).expect("written");
    unreadable(
        &home.detect(&["-w", &weights, "--dataroot", &root]),
        &[&name, "it is empty"],
    );
    let results = std::fs::read(home.path("out/results_nusc.json")).expect("a results file");
    serde_json::from_slice::<serde_json::Value>(&results).expect("a whole results file");
}

fn degraded(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 0, "{}", ended.err);
    says(&ended.err, parts);
    says(&ended.out, &["frames: 1 detected (1 of them degraded)"]);
}

#[test]
fn broken_points_degrade_the_frame_and_are_counted() {
    let bad = [
        [f32::NAN, 0.0, 0.0, 0.0, 0.0],
        [1.0, f32::INFINITY, 0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, f32::NAN, 0.0],
    ];
    let ended = detect("broken.bin", &cloud(&bad));
    degraded(&ended, &["degraded broken: NaN or infinite points: 3"]);
    says(&ended.out, &["broken: 20 points, 20 voxels, "]);
}

#[test]
fn a_cloud_out_of_range_degrades_the_frame() {
    let away: Vec<u8> = [[500.0_f32, 500.0, 0.0, 1.0, 0.0]; 30]
        .concat()
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    let ended = detect("away.bin", &away);
    degraded(&ended, &["degraded away: no point inside the range"]);
    says(&ended.out, &["away: 0 points, 0 voxels, "]);
}

#[test]
fn voxels_beyond_the_cap_degrade_the_frame_and_are_counted() {
    let home = Home::new().expect("a folder");
    let mut spec = small(false);
    spec.voxel.max_voxels = 8;
    let weights = home.weights_of(&spec).expect("weights");
    let points = home.file("many.bin", cloud(&[])).expect("written");
    let ended = home.detect(&["-w", &weights, "--points", &points]);
    degraded(&ended, &["degraded many: cells beyond max_voxels: 12"]);
    says(&ended.out, &["many: 20 points, 8 voxels, "]);
}

#[test]
fn a_binary_file_with_too_few_columns_is_refused() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let points = home.file("a.bin", cloud(&[])).expect("written");
    let ended = home.detect(&["-w", &weights, "--points", &points, "--point-columns", "2"]);
    refused(&ended, &["a.bin", "2 columns per point", "at least 3"]);
}
