//! `detect` on files that belong to no dataset.

use bevfusion::dataset::Layout;
use bevfusion_tests::home::{Home, key_cloud, key_image};

use super::results::{json, lines, png, success, topics};

#[test]
fn a_cloud_with_images_and_a_calibration_is_a_frame() {
    let home = Home::new().expect("a folder");
    let (weights, rig) = (
        home.weights(true).expect("weights"),
        home.rig().expect("a rig"),
    );
    home.drive(Layout::Nuscenes).expect("a drive");
    let cloud = home.arg(&key_cloud(0));
    let images = [0, 1].map(|camera| home.arg(&key_image(0, camera)));
    let common = [
        "-w", &weights, "--points", &cloud, "--calib", &rig, "--json",
    ];
    let by_order =
        success(home.detect(&[&common[..], &["--images", &images[0], &images[1]]].concat()));
    let frames = lines(&by_order.out);
    assert_eq!(frames.len(), 1);
    let id = frames[0]["frame_id"].as_str().expect("an id");
    assert!(cloud.contains(id), "{id}");
    assert_eq!(
        json(&home.path(&format!("out/{id}.json")))["detections"],
        frames[0]["detections"]
    );
    png(&home.path(&format!("out/{id}_bev.png")));
    png(&home.path(&format!("out/{id}_cameras.png")));
    let topics = topics(&home.path("out/detections.mcap"));
    assert_eq!(
        topics.get("/camera/CAM_FRONT/calibration"),
        Some(&1),
        "{topics:?}"
    );
    assert!(!home.path("out/results_nusc.json").exists());

    let named = [
        format!("CAM_BACK={}", images[1]),
        format!("CAM_FRONT={}", images[0]),
    ];
    let by_name =
        success(home.detect(&[&common[..], &["--images", &named[0], &named[1]]].concat()));
    assert_eq!(lines(&by_name.out), frames);

    let one = home.detect(&[&common[..], &["--min-cameras", "1", "--images", &named[0]]].concat());
    let degraded = format!("degraded {id}: cameras not used: 1");
    assert!(one.code == 0 && one.err.contains(&degraded), "{}", one.err);
    assert_ne!(lines(&one.out), frames);
}

#[test]
fn a_cloud_alone_serves_a_lidar_model_whatever_its_columns() {
    let home = Home::new().expect("a folder");
    let weights = home.weights(false).expect("weights");
    let rows: Vec<[f32; 4]> = (0..200_u16)
        .map(|i| [0.1 * f32::from(i), 3.0, -1.0, 9.0])
        .collect();
    let four: Vec<u8> = rows
        .iter()
        .flatten()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let five: Vec<u8> = rows
        .iter()
        .flat_map(|r| [r[0], r[1], r[2], r[3], 0.0])
        .flat_map(f32::to_le_bytes)
        .collect();
    let header = "VERSION .7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 200\n\
                  HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 200\nDATA binary\n";
    let pcd = [header.as_bytes(), &four].concat();
    let detections = |file: &str, bytes: &[u8], more: &[&str]| {
        let points = home.file(file, bytes).expect("written");
        let ended = success(
            home.detect(&[&["-w", &weights, "--points", &points, "--json"], more].concat()),
        );
        lines(&ended.out)[0]["detections"].clone()
    };
    let expected = detections("five.bin", &five, &[]);
    assert!(expected.as_array().is_some_and(|boxes| !boxes.is_empty()));
    assert_eq!(
        detections("four.bin", &four, &["--point-columns", "4"]),
        expected
    );
    assert_eq!(detections("cloud.pcd", &pcd, &[]), expected);
}
