//! Which cameras of a frame count: each one gone in turn, all of them, late, early, broken. A camera that is
//! not used is named in the report and changes nothing but its own part of the map.

use std::time::Duration;

use bevfusion::exec::{
    BelowMinCameras, CameraPolicy, CameraState, FaultCode, FrameOutcome, Pipeline, StageId,
};
use bevfusion::geometry::Transform;
use bevfusion::input::{Frame, RgbImage};
use bevfusion::output::Detection;
use bevfusion_tests::small::picture;

use super::rig::{boxes, frame, lost, with_policy};

const CLOUD_NS: i64 = 1_600_000_000_000_000_000;
const MS: i64 = 1_000_000;

/// What may happen to a camera.
type Harm = fn(&mut Frame, usize);

const HARMS: [(&str, Harm, CameraState); 8] = [
    ("no entry", no_entry, CameraState::Missing),
    ("no image", no_image, CameraState::Missing),
    ("late", late, CameraState::Stale),
    ("early", early, CameraState::Stale),
    ("short buffer", short_buffer, CameraState::Rejected),
    ("no rows", no_rows, CameraState::Rejected),
    ("singular", singular, CameraState::Uncalibrated),
    ("not finite", not_finite, CameraState::Uncalibrated),
];

fn no_entry(frame: &mut Frame, camera: usize) {
    frame.cameras.remove(camera);
}

fn no_image(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].image = None;
}

fn late(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].stamp_ns = Some(CLOUD_NS - 121 * MS);
}

fn early(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].stamp_ns = Some(CLOUD_NS + 121 * MS);
}

fn short_buffer(frame: &mut Frame, camera: usize) {
    let image = frame.cameras[camera].image.as_mut();
    image.expect("an image").pixels.pop();
}

fn no_rows(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].image = Some(RgbImage {
        width: 64,
        height: 0,
        pixels: Vec::new(),
    });
}

fn singular(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].calibration.image_from_camera[1][1] = 0.0;
}

fn not_finite(frame: &mut Frame, camera: usize) {
    frame.cameras[camera].calibration.image_from_camera[0][2] = f64::NAN;
}

/// A frame whose images are as old as may be.
fn stamped() -> Frame {
    let mut frame = frame();
    frame.stamp_ns = Some(CLOUD_NS);
    frame.cameras[0].stamp_ns = Some(CLOUD_NS - 120 * MS);
    frame.cameras[1].stamp_ns = Some(CLOUD_NS + 120 * MS);
    frame
}

fn policy(min_cameras: Option<usize>, below_min_cameras: BelowMinCameras) -> CameraPolicy {
    CameraPolicy {
        min_cameras,
        below_min_cameras,
        ..CameraPolicy::default()
    }
}

/// The camera so far away that its frustum is outside the map, whatever it shows.
fn looking_elsewhere(camera: usize) -> Frame {
    let mut frame = stamped();
    let camera = &mut frame.cameras[camera];
    camera.image = Some(picture(17));
    let away = camera.calibration.camera_from_lidar;
    camera.calibration.camera_from_lidar = Transform::new(away.linear(), [0.0, 0.0, 1e4]);
    frame
}

#[test]
fn each_camera_may_fail_in_each_way_and_the_other_goes_on() {
    let mut pipeline = with_policy(policy(Some(1), BelowMinCameras::Drop));
    let full = boxes(&mut pipeline, &stamped());
    assert_eq!(pipeline.run(&stamped()).outcome, FrameOutcome::Complete);
    for camera in 0..2 {
        let alone = boxes(&mut pipeline, &looking_elsewhere(camera));
        assert_ne!(alone, full);
        for (name, harm, state) in HARMS {
            let mut bad = stamped();
            harm(&mut bad, camera);
            let report = *pipeline.run(&bad);
            let mut want = [CameraState::Fresh; 2];
            want[camera] = state;
            assert_eq!(report.cameras.as_slice(), want, "{name}");
            let lost = lost(&report);
            assert_eq!(
                (lost.missing_cameras, lost.lidar_only),
                (1, false),
                "{name}"
            );
            assert_eq!(pipeline.detections(), alone, "{name} of camera {camera}");
            // The pipeline goes on with the next good frame.
            assert_eq!(boxes(&mut pipeline, &stamped()), full, "after {name}");
        }
    }
}

#[test]
fn a_frame_is_dropped_where_every_camera_is_needed() {
    let mut pipeline = with_policy(CameraPolicy::default());
    for camera in 0..2 {
        for (name, harm, state) in HARMS {
            boxes(&mut pipeline, &stamped());
            let mut bad = stamped();
            harm(&mut bad, camera);
            let report = *pipeline.run(&bad);
            let FrameOutcome::Dropped(fault) = report.outcome else {
                panic!("{name}: expected a dropped frame, found {report:?}");
            };
            let want = match state {
                CameraState::Rejected => (FaultCode::ImageSize, camera),
                CameraState::Uncalibrated => (FaultCode::Calibration, camera),
                _ => (FaultCode::MissingCameras, 1),
            };
            assert_eq!(
                (fault.code, fault.detail),
                (want.0, want.1 as u64),
                "{name}"
            );
            assert_eq!(fault.stage, StageId::Preprocess);
            assert_eq!(report.cameras.as_slice()[camera], state, "{name}");
            assert!(
                pipeline.detections().is_empty(),
                "boxes of the frame before"
            );
        }
    }
}

/// Boxes of a frame that is run without cameras.
fn lidar_only(pipeline: &mut Pipeline, bad: &Frame) -> Vec<Detection> {
    let report = *pipeline.run(bad);
    assert!(lost(&report).lidar_only, "{report:?}");
    let ran = |stage: StageId| !report.stage_times[stage as usize].is_zero();
    assert!(!ran(StageId::CameraBackbone) && !ran(StageId::DepthNet));
    assert!(ran(StageId::SparseEncoder) && ran(StageId::BevDownsample));
    pipeline.detections().to_vec()
}

#[test]
fn too_few_cameras_leave_the_lidar_where_that_is_asked_for() {
    let mut pipeline = with_policy(policy(None, BelowMinCameras::LidarOnly));
    let full = boxes(&mut pipeline, &stamped());
    let mut none = stamped();
    none.cameras.clear();
    let empty = lidar_only(&mut pipeline, &none);
    assert_eq!(
        pipeline.run(&none).cameras.as_slice(),
        [CameraState::Missing; 2]
    );
    let text = lost(pipeline.run(&none)).to_string();
    assert_eq!(text, "cameras not used: 2, LiDAR only: too few cameras");
    assert_ne!(empty, full);
    // The camera that is left is not used either: what is run does not depend on what it shows.
    for (name, harm, _) in HARMS {
        let mut bad = stamped();
        harm(&mut bad, 1);
        assert_eq!(lidar_only(&mut pipeline, &bad), empty, "{name}");
    }
    // The same as cameras that see nothing of the map.
    let mut elsewhere = looking_elsewhere(0);
    elsewhere.cameras[1] = looking_elsewhere(1).cameras[1].clone();
    assert_eq!(boxes(&mut pipeline, &elsewhere), empty);
    assert_eq!(boxes(&mut pipeline, &stamped()), full);
}

#[test]
fn limits_hold_for_each_side_and_stamps_only_where_both_are_known() {
    let mut pipeline = with_policy(CameraPolicy {
        max_delay: Duration::from_millis(200),
        max_lead: Duration::ZERO,
        ..CameraPolicy::default()
    });
    let mut outcome = |cloud: Option<i64>, image: Option<i64>| {
        let mut frame = frame();
        frame.stamp_ns = cloud;
        frame.cameras[0].stamp_ns = image;
        pipeline.run(&frame).cameras.as_slice()[0]
    };
    let at = |image| (Some(CLOUD_NS), Some(CLOUD_NS + image));
    for (stamps, want) in [
        (at(0), CameraState::Fresh),
        (at(-200 * MS), CameraState::Fresh),
        (at(-200 * MS - 1), CameraState::Stale),
        (at(1), CameraState::Stale),
        ((Some(CLOUD_NS), None), CameraState::Fresh),
        ((None, Some(CLOUD_NS)), CameraState::Fresh),
    ] {
        assert_eq!(outcome(stamps.0, stamps.1), want, "{stamps:?}");
    }
}

#[test]
fn a_new_calibration_holds_from_its_frame_on() {
    let mut turned = stamped();
    let camera = &mut turned.cameras[0].calibration;
    camera.image_from_camera[0][2] += 9.0;
    let mut fresh = with_policy(CameraPolicy::default());
    let want = boxes(&mut fresh, &turned);
    let mut pipeline = with_policy(CameraPolicy::default());
    let before = boxes(&mut pipeline, &stamped());
    assert_ne!(before, want);
    assert_eq!(boxes(&mut pipeline, &turned), want);
    assert_eq!(boxes(&mut pipeline, &stamped()), before);
}
