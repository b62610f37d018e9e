//! Frames that no boxes can be found in: dropped with a code, a stage and a sentence that names the cause.

use bevfusion::engine::CpuEngine;
use bevfusion::exec::{
    FaultCode, FrameFault, FrameOutcome, Pipeline, PipelineBuilder, StageId, explain,
};
use bevfusion::input::Frame;
use bevfusion_tests::small::{small, small_config, weights_of};

use super::rig::{boxes, frame, fusion, pipeline};

/// The fault of a frame that follows a good one, and what is said about it.
fn dropped(pipeline: &mut Pipeline, bad: &Frame) -> (FrameFault, String) {
    boxes(pipeline, &frame());
    let report = *pipeline.run(bad);
    let FrameOutcome::Dropped(fault) = report.outcome else {
        panic!("expected a dropped frame, found {report:?}");
    };
    assert!(
        pipeline.detections().is_empty(),
        "boxes of the frame before"
    );
    assert_eq!((report.counts.decoded, report.counts.detections), (0, 0));
    let why = explain(pipeline.config(), pipeline.camera_policy(), bad);
    assert_eq!(why.len(), 1, "{why:?}");
    (fault, why.concat())
}

#[test]
fn missing_cameras_are_named() {
    let mut bad = frame();
    bad.cameras[1].image = None;
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!(
        (fault.code, fault.stage),
        (FaultCode::MissingCameras, StageId::Preprocess)
    );
    assert_eq!(fault.detail, 1);
    assert_eq!(
        why,
        "1 of 2 cameras can be used, at least 2 are needed: CAM_BACK missing"
    );
    bad.cameras.clear();
    let (fault, why) = dropped(&mut pipeline(true, Some(0), None), &bad);
    assert_eq!((fault.code, fault.detail), (FaultCode::MissingCameras, 0));
    assert!(
        why.ends_with("at least 1 are needed: CAM_FRONT missing, CAM_BACK missing"),
        "{why}"
    );
}

#[test]
fn an_image_that_does_not_fill_its_size_is_named_with_both_lengths() {
    let mut bad = frame();
    let image = bad.cameras[1].image.as_mut().expect("an image");
    image.pixels.pop();
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!((fault.code, fault.detail), (FaultCode::ImageSize, 1));
    for part in ["CAM_BACK rejected", "64x48", "9216", "9215"] {
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn a_singular_calibration_is_named_with_its_camera_and_matrix() {
    for (index, name) in [(0, "CAM_FRONT"), (1, "CAM_BACK")] {
        let mut bad = frame();
        bad.cameras[index].calibration.image_from_camera[1][1] = 0.0;
        let mut pipeline = fusion();
        let (fault, why) = dropped(&mut pipeline, &bad);
        assert_eq!(
            (fault.code, fault.detail),
            (FaultCode::Calibration, index as u64)
        );
        assert!(
            why.contains(&format!("camera {name:?}: image_from_camera is singular")),
            "{why}"
        );
        assert!(why.contains("check the camera's calibration"), "{why}");
        // The pipeline goes on with the next good frame.
        boxes(&mut pipeline, &frame());
    }
}

#[test]
fn a_late_image_is_named_with_its_delay() {
    let mut bad = frame();
    bad.stamp_ns = Some(5_000_000_000);
    bad.cameras[1].stamp_ns = Some(4_500_000_000);
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!((fault.code, fault.detail), (FaultCode::MissingCameras, 1));
    assert!(
        why.ends_with("CAM_BACK stale (the image is 0.500 s older than the cloud)"),
        "{why}"
    );
}

#[test]
fn a_calibration_that_is_not_finite_is_refused() {
    let mut bad = frame();
    bad.cameras[0].calibration.image_from_camera[0][2] = f64::NAN;
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!(fault.code, FaultCode::Calibration);
    assert!(why.contains("singular or not finite"), "{why}");
}

#[test]
fn clouds_of_other_columns_are_named_with_both_counts() {
    let mut bad = frame();
    bad.points.columns = 4;
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!(
        (fault.code, fault.stage),
        (FaultCode::PointColumns, StageId::Sweeps)
    );
    assert_eq!(fault.detail, 4);
    assert!(
        why.starts_with("the key cloud has 4 columns, the model's points.load_dim is 5"),
        "{why}"
    );

    let mut bad = frame();
    bad.sweeps[0].cloud.columns = 6;
    let (fault, why) = dropped(&mut fusion(), &bad);
    assert_eq!(fault.detail, 6);
    assert!(why.starts_with("sweep 0 has 6 columns"), "{why}");

    let mut bad = frame();
    bad.points.values.pop();
    let (_, why) = dropped(&mut fusion(), &bad);
    assert!(
        why.contains("the key cloud holds 2999 values, which is no multiple of its 5"),
        "{why}"
    );
}

#[test]
fn more_cameras_than_the_model_has_cannot_be_asked_for() {
    let weights = weights_of(&small(true));
    let builder = PipelineBuilder::new(small_config(true).expect("a model"), &weights);
    let refused = builder.min_cameras(3).build(&CpuEngine::default());
    let message = refused.err().expect("refused").to_string();
    assert_eq!(
        message,
        "min_cameras is 3, but the model has 2 cameras: ask for at most 2"
    );
}
