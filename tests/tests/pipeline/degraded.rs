//! Frames that lack something: the rest is used, and the report says what was given up.

use bevfusion::config::ModelConfig;
use bevfusion::engine::CpuEngine;
use bevfusion::exec::{FrameOutcome, PipelineBuilder};
use bevfusion::geometry::Transform;
use bevfusion::input::{Frame, PointCloud};
use bevfusion_tests::small::{picture, small, weights_of};
use bevfusion_tests::synthetic::CAMERAS;

use super::rig::{boxes, frame, fusion, lidar, lost, pipeline};

#[test]
fn broken_points_are_left_out_and_counted() {
    let mut pipeline = lidar();
    let clean = boxes(&mut pipeline, &frame());
    let mut broken = frame();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        broken.points.values.extend([1.0, value, 0.0, 10.0, 0.0]);
    }
    broken.sweeps[0]
        .cloud
        .values
        .extend([0.5, 2.0, f32::NAN, 10.0, 0.0]);
    let report = *pipeline.run(&broken);
    let lost = lost(&report);
    assert_eq!(lost.non_finite_points, 4);
    assert_eq!(lost.to_string(), "NaN or infinite points: 4");
    assert_eq!(report.counts.points_in, 904);
    assert_eq!(pipeline.detections(), clean);
}

#[test]
fn a_broken_intensity_is_a_broken_point() {
    let mut pipeline = lidar();
    let clean = boxes(&mut pipeline, &frame());
    let mut broken = frame();
    broken.points.values.extend([1.0, 2.0, 0.0, f32::NAN, 0.0]);
    assert_eq!(lost(pipeline.run(&broken)).non_finite_points, 1);
    assert_eq!(pipeline.detections(), clean);
}

#[test]
fn a_cloud_out_of_range_and_an_empty_one_are_flagged_and_run() {
    for with_camera in [false, true] {
        let mut pipeline = pipeline(with_camera, None, None);
        let mut away = frame();
        away.sweeps.clear();
        for point in away.points.values.chunks_exact_mut(away.points.columns) {
            point[0] += 1000.0;
        }
        let mut empty = away.clone();
        empty.points = PointCloud::default();
        for (frame, points_in) in [(away, 600), (empty, 0)] {
            let report = *pipeline.run(&frame);
            let lost = lost(&report);
            assert!(lost.empty_cloud);
            assert_eq!(lost.to_string(), "no point inside the range");
            let counts = report.counts;
            assert_eq!(
                (counts.points_in, counts.points_in_range, counts.voxels),
                (points_in, 0, 0)
            );
            let finite = |v: &f32| v.is_finite();
            assert!(
                pipeline
                    .detections()
                    .iter()
                    .all(|found| found.bottom_center.iter().all(finite))
            );
        }
    }
}

#[test]
fn voxels_beyond_the_cap_are_counted() {
    let mut spec = small(false);
    let all = lidar().run(&frame()).counts.voxels;
    spec.voxel.max_voxels = 100;
    let weights = weights_of(&spec);
    let builder = PipelineBuilder::new(ModelConfig::new(spec).expect("a model"), &weights);
    let mut pipeline = builder.build(&CpuEngine::default()).expect("a pipeline");
    let report = *pipeline.run(&frame());
    assert_eq!(report.counts.voxels, 100);
    let lost = lost(&report);
    assert_eq!(lost.dropped_voxels, all - 100);
    assert_eq!(
        lost.to_string(),
        format!("cells beyond max_voxels: {}", all - 100)
    );
}

/// The back camera gone: its entry, or only its image.
fn without_back(drop_entry: bool) -> Frame {
    let mut frame = frame();
    if drop_entry {
        frame.cameras.truncate(1);
    } else {
        frame.cameras[1].image = None;
    }
    frame
}

/// The back camera so far away that its frustum is outside the map, whatever it shows.
fn with_back_elsewhere(seed: u64) -> Frame {
    let mut frame = frame();
    let camera = &mut frame.cameras[1];
    camera.image = Some(picture(seed));
    let away = camera.calibration.camera_from_lidar;
    camera.calibration.camera_from_lidar = Transform::new(away.linear(), [0.0, 0.0, 1e4]);
    frame
}

#[test]
fn a_missing_camera_is_masked_and_not_seen_as_some_picture() {
    let mut pipeline = pipeline(true, Some(1), None);
    let full = boxes(&mut pipeline, &frame());
    let report = *pipeline.run(&without_back(true));
    assert_eq!(lost(&report).missing_cameras, 1);
    assert_eq!(lost(&report).to_string(), "cameras not used: 1");
    let masked = pipeline.detections().to_vec();
    assert_ne!(masked, full);
    // What the buffers held before is of no matter, nor is a calibration without image.
    for seed in [7, 8] {
        let mut before = frame();
        before.cameras[1].image = Some(picture(seed));
        assert_ne!(boxes(&mut pipeline, &before), full);
        assert_eq!(boxes(&mut pipeline, &without_back(false)), masked);
    }
    // The same as a camera that sees nothing of the map, with any picture.
    for seed in [7, 8] {
        let elsewhere = with_back_elsewhere(seed);
        assert_eq!(boxes(&mut pipeline, &elsewhere), masked);
        assert_eq!(pipeline.run(&elsewhere).outcome, FrameOutcome::Complete);
    }
    assert_eq!(boxes(&mut pipeline, &frame()), full);
}

#[test]
fn cameras_that_the_model_does_not_know_are_ignored() {
    let mut pipeline = fusion();
    let expected = boxes(&mut pipeline, &frame());
    let mut more = frame();
    let mut stranger = more.cameras[0].clone();
    stranger.name = "CAM_ROOF".into();
    stranger.image = Some(picture(9));
    more.cameras.insert(0, stranger);
    assert_eq!(boxes(&mut pipeline, &more), expected);
    assert_eq!(more.cameras[1].name, CAMERAS[0]);
}

#[test]
fn an_image_of_another_size_is_resized() {
    let mut pipeline = fusion();
    let full = boxes(&mut pipeline, &frame());
    let mut larger = frame();
    let camera = &mut larger.cameras[0];
    camera.image = Some(bevfusion::input::RgbImage {
        width: 100,
        height: 70,
        pixels: vec![90; 3 * 100 * 70],
    });
    assert_ne!(boxes(&mut pipeline, &larger), full);
    assert_eq!(pipeline.run(&larger).outcome, FrameOutcome::Complete);
    assert_eq!(boxes(&mut pipeline, &frame()), full);
}
