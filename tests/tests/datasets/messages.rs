//! A broken dataset is refused with the table or file, the key, and what to do.

use std::fs;
use std::path::Path;

use bevfusion::dataset::{Dataset, Layout, parse_table};
use bevfusion_tests::synthetic::{CAMERAS, LIDAR_DELAY_US, sample_time_us, token};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::drive::{drive, names, points};

/// The refusal after `damage` was done to the drive's folder.
fn refusal(damage: impl FnOnce(&Path)) -> String {
    let (folder, dataset) = drive(Layout::Nuscenes);
    damage(folder.path());
    frame(&dataset)
}

fn frame(dataset: &Dataset) -> String {
    let order = names(&CAMERAS);
    let read = dataset.frame(&token("sample 1"), &points(2), Some(&order));
    read.expect_err("refused").to_string()
}

fn edit(root: &Path, table: &str, from: &str, to: &str) {
    let path = root
        .join("v1.0-synthetic")
        .join(table)
        .with_extension("json");
    let text = fs::read_to_string(&path).expect("a table");
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

fn key_cloud(root: &Path) -> std::path::PathBuf {
    let time_us = sample_time_us(1) + LIDAR_DELAY_US;
    root.join(format!("samples/LIDAR_TOP/{time_us}.pcd.bin"))
}

#[test]
fn a_missing_table_is_named_with_its_path() {
    let message = refusal(|root| {
        fs::remove_file(root.join("v1.0-synthetic/ego_pose.json")).expect("removed");
    });
    assert!(message.contains("table ego_pose is missing"), "{message}");
    assert!(
        message.contains("v1.0-synthetic/ego_pose.json does not exist"),
        "{message}"
    );
}

#[test]
fn a_token_that_leads_nowhere_is_named_with_who_refers_to_it() {
    let gone = token("instance 1");
    let message = refusal(|root| edit(root, "instance", &gone, "feed"));
    assert!(
        message.contains(&format!(
            "table instance has no record with token \"{gone}\""
        )),
        "{message}"
    );
    let referrer = format!(
        "instance_token of sample_annotation {}",
        token("annotation 1 1")
    );
    assert!(message.contains(&referrer), "{message}");
}

#[test]
fn an_image_that_is_not_there_is_named_with_its_record() {
    let message =
        refusal(|root| fs::remove_dir_all(root.join("samples/CAM_BACK")).expect("removed"));
    assert!(message.contains("samples/CAM_BACK/"), "{message}");
    assert!(
        message.contains("does not exist, but filename of sample_data"),
        "{message}"
    );
}

#[test]
fn a_cut_cloud_is_named_with_its_size() {
    let message = refusal(|root| {
        let path = key_cloud(root);
        let bytes = fs::read(&path).expect("a cloud");
        fs::write(path, &bytes[..bytes.len() - 3]).expect("written");
    });
    assert!(
        message.contains(".pcd.bin: 2017 bytes") && message.contains("leave 17 over"),
        "{message}"
    );
}

#[test]
fn an_empty_cloud_and_an_empty_table_are_named() {
    let message = refusal(|root| fs::write(key_cloud(root), []).expect("written"));
    assert!(message.contains("it is empty (0 bytes)"), "{message}");
    let message = refusal(|root| {
        fs::write(root.join("v1.0-synthetic/sensor.json"), []).expect("written");
    });
    assert!(
        message.contains("table sensor") && message.contains("it is empty"),
        "{message}"
    );
}

#[test]
fn a_wrong_column_count_is_told_with_the_remedy() {
    let (_folder, dataset) = drive(Layout::Nuscenes);
    let mut spec = points(0);
    spec.load_dim = 6;
    let read = dataset.frame(&token("sample 0"), &spec, None);
    let message = read.expect_err("101 points of 5 columns").to_string();
    assert!(message.contains("points of 6 float32 columns"), "{message}");
    assert!(message.contains("--point-columns 5"), "{message}");
}

#[test]
fn broken_json_and_a_wrong_type_are_named_by_place() {
    let message = refusal(|root| {
        let path = root.join("v1.0-synthetic/sample.json");
        let text = fs::read_to_string(&path).expect("a table");
        fs::write(path, &text[..text.len() / 2]).expect("written");
    });
    assert!(
        message.contains("table sample (") && message.contains("not valid JSON"),
        "{message}"
    );
    let message = refusal(|root| {
        edit(
            root,
            "calibrated_sensor",
            "\"rotation\":[0.5,",
            "\"rotation\":[\"half\",",
        );
    });
    assert!(message.contains("table calibrated_sensor ("), "{message}");
    assert!(message.contains("record 0, key \"rotation\""), "{message}");
    assert!(message.contains("\"half\", expected f64"), "{message}");
}

#[test]
fn a_pose_without_direction_and_a_camera_without_intrinsics_are_refused() {
    let message = refusal(|root| {
        edit(
            root,
            "calibrated_sensor",
            "[0.5,-0.5,0.5,-0.5]",
            "[0,0,0,0]",
        );
    });
    assert!(
        message.contains("key \"rotation\": expected a quaternion"),
        "{message}"
    );
    let message = refusal(|root| {
        let intrinsics = "[[40.0,0.0,32.0],[0.0,40.0,24.0],[0.0,0.0,1.0]]";
        edit(root, "calibrated_sensor", intrinsics, "[]");
    });
    assert!(
        message.contains("key \"camera_intrinsic\": expected 3 rows of 3 numbers, found 0 rows"),
        "{message}"
    );
}

#[test]
fn an_unknown_sample_and_an_unknown_scene_are_refused_with_what_there_is() {
    let (_folder, dataset) = drive(Layout::Nuscenes);
    let message = dataset.find_sample("zz").expect_err("none").to_string();
    assert!(
        message.contains("starts with \"zz\"") && message.contains("3 samples"),
        "{message}"
    );
    let message = dataset.samples("scene-0002").expect_err("none").to_string();
    assert!(message.contains("there are: scene-0001"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_table_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut text = br#"[{"token":"a","translation":[1,2,3],"rotation":"#.to_vec();
        text.extend(bytes);
        for table in ["ego_pose", "sample_annotation", "scene", "no table"] {
            let read = parse_table(table, &text);
            prop_assert!(read.is_err_and(|error| error.to_string().contains(table)));
        }
    }
}
