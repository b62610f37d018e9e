//! Recordings, read back with the reader of the `mcap` crate.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{FrameStamp, Recording, RecordingOptions};
use crate::geometry::{CameraCalibration, Transform};
use crate::input::{CameraFrame, Frame, PointCloud, RgbImage};
use crate::output::{Detection, FrameView};

fn frame() -> Frame {
    let calibration = CameraCalibration {
        image_from_camera: [[20.0, 0.0, 16.0], [0.0, 20.0, 12.0], [0.0, 0.0, 1.0]],
        camera_from_lidar: Transform::new(
            [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]],
            [0.0, 0.0, -1.0],
        ),
    };
    let camera = |name: &str, image| CameraFrame {
        name: name.to_owned(),
        image,
        calibration,
        stamp_ns: None,
    };
    let image = RgbImage {
        width: 32,
        height: 24,
        pixels: vec![90; 32 * 24 * 3],
    };
    Frame {
        points: PointCloud {
            values: vec![1.0, 2.0, 3.0, 40.0, 0.0, -1.0, -2.0, -3.0, 50.0, 1.0],
            columns: 5,
        },
        sweeps: Vec::new(),
        cameras: vec![camera("FRONT", Some(image)), camera("BACK", None)],
        stamp_ns: None,
    }
}

fn found(score: f32) -> Detection {
    Detection {
        bottom_center: [10.0, 0.0, -0.5],
        size: [4.0, 2.0, 1.0],
        yaw: 0.0,
        velocity: [0.0, 3.0],
        score,
        label: 0,
    }
}

/// Topic to messages with their schema's name.
type Messages = BTreeMap<String, Vec<(String, Value)>>;

fn record(path: &Path) -> Messages {
    let frame = frame();
    let names = ["car".to_owned()];
    let boxes = [found(0.9), found(0.05)];
    let truth = [found(1.0)];
    let view = FrameView::new(("f0", &frame), ("tiny", &names), &boxes, &truth);
    let mut recording = Recording::create(path, RecordingOptions::default()).expect("create");
    for (second, map_from_lidar) in [(1, Some(Transform::IDENTITY)), (2, None)] {
        let stamp = FrameStamp {
            timestamp_ns: second * 1_000_000_000 + 7,
            map_from_lidar,
        };
        recording.add_frame(&view, &stamp).expect("add");
    }
    assert!(!path.exists());
    recording.finish().expect("finish");

    let bytes = std::fs::read(path).expect("read");
    let mut messages = Messages::new();
    for message in mcap::MessageStream::new(&bytes).expect("open") {
        let message = message.expect("message");
        let schema = message.channel.schema.as_ref().expect("schema");
        assert_eq!(schema.encoding, "jsonschema");
        assert_eq!(message.channel.message_encoding, "json");
        let schema_text: Value = serde_json::from_slice(&schema.data).expect("schema is JSON");
        let value: Value = serde_json::from_slice(&message.data).expect("message is JSON");
        assert_conforms(&value, &schema_text, &message.channel.topic);
        messages
            .entry(message.channel.topic.clone())
            .or_default()
            .push((schema.name.clone(), value));
    }
    messages
}

/// Checks types and required fields, which is all that our schemas ask for.
fn assert_conforms(value: &Value, schema: &Value, place: &str) {
    let fits = match schema["type"].as_str().expect("type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        other => panic!("unknown type {other}"),
    };
    assert!(fits, "{place}: {value} is not {}", schema["type"]);
    if let Some(items) = value.as_array() {
        for item in items {
            assert_conforms(item, &schema["items"], place);
        }
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    {
        let names: Vec<_> = object.keys().collect();
        assert_eq!(names, properties.keys().collect::<Vec<_>>(), "{place}");
        for (name, inner) in properties {
            assert_conforms(&object[name], inner, &format!("{place}.{name}"));
        }
    }
}

#[test]
fn a_recording_reads_back_with_every_topic_and_valid_messages() {
    let folder = tempfile::tempdir().expect("folder");
    let messages = record(&folder.path().join("drive.mcap"));
    let kinds: Vec<_> = messages
        .iter()
        .map(|(topic, list)| (topic.as_str(), list.len(), list[0].0.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("/camera/FRONT/boxes", 2, "foxglove.ImageAnnotations"),
            ("/camera/FRONT/calibration", 2, "foxglove.CameraCalibration"),
            ("/camera/FRONT/image", 2, "foxglove.CompressedImage"),
            ("/detections", 2, "foxglove.SceneUpdate"),
            ("/ground_truth", 2, "foxglove.SceneUpdate"),
            ("/lidar/points", 2, "foxglove.PointCloud"),
            ("/tf", 2, "foxglove.FrameTransforms"),
        ]
    );
    let cloud = &messages["/lidar/points"][0].1;
    assert_eq!(cloud["timestamp"], serde_json::json!({"sec": 1, "nsec": 7}));
    assert_eq!(cloud["point_stride"], 16);
    // 1.0, 2.0, 3.0, 40.0 as little-endian float32 begin so.
    assert!(
        cloud["data"]
            .as_str()
            .expect("text")
            .starts_with("AACAPwAAAEAAAEBAAAAgQg")
    );
}

#[test]
fn boxes_below_the_score_are_left_out_and_arrows_point_along_the_velocity() {
    let folder = tempfile::tempdir().expect("folder");
    let messages = record(&folder.path().join("drive.mcap"));
    let entities = messages["/detections"][0].1["entities"]
        .as_array()
        .expect("list");
    assert_eq!(entities.len(), 1);
    assert_eq!(entities[0]["metadata"][1]["value"], "0.900");
    assert_eq!(entities[0]["cubes"][0]["pose"]["position"]["z"], 0.0);
    let arrow = &entities[0]["arrows"][0];
    let z = arrow["pose"]["orientation"]["z"].as_f64().expect("z");
    assert!(
        (z - std::f64::consts::FRAC_1_SQRT_2).abs() < 1e-6,
        "a quarter turn: {z}"
    );
    let truth = messages["/ground_truth"][0].1["entities"]
        .as_array()
        .expect("list");
    assert_eq!(truth[0]["cubes"], serde_json::json!([]));
    assert_eq!(
        truth[0]["lines"][0]["points"]
            .as_array()
            .expect("list")
            .len(),
        24
    );
}

#[test]
fn the_map_frame_is_there_only_when_the_pose_is_known() {
    let folder = tempfile::tempdir().expect("folder");
    let messages = record(&folder.path().join("drive.mcap"));
    let parents = |index: usize| -> Vec<_> {
        let transforms = messages["/tf"][index].1["transforms"]
            .as_array()
            .expect("list");
        transforms
            .iter()
            .map(|t| (t["parent_frame_id"].clone(), t["child_frame_id"].clone()))
            .collect()
    };
    assert_eq!(parents(0).len(), 3);
    assert_eq!(parents(0)[0], ("map".into(), "lidar".into()));
    assert_eq!(parents(1), parents(0)[1..]);
    // The camera stands 1 m ahead of the cloud's origin.
    let camera = &messages["/tf"][1].1["transforms"][0]["translation"];
    assert!(
        (camera["x"].as_f64().expect("x") - 1.0).abs() < 1e-12,
        "{camera}"
    );
}

#[test]
fn the_same_frames_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let paths = ["a.mcap", "b.mcap"].map(|name| folder.path().join(name));
    let [a, b] = paths.map(|path| {
        record(&path);
        std::fs::read(path).expect("read")
    });
    assert!(a == b);
}
