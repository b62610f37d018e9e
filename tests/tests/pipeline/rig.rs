//! Pipelines of the small model and what the tests ask of them.

use bevfusion::engine::{CpuEngine, EngineOptions};
use bevfusion::exec::{
    CameraPolicy, Degradation, FrameOutcome, FrameReport, Pipeline, PipelineBuilder,
};
use bevfusion::geometry::Transform;
use bevfusion::input::Frame;
use bevfusion::output::Detection;
use bevfusion_tests::small::{small, small_config, small_frame, weights_of};

/// Camera and LiDAR; every camera is needed.
pub(crate) fn fusion() -> Pipeline {
    pipeline(true, None, None)
}

/// LiDAR alone.
pub(crate) fn lidar() -> Pipeline {
    pipeline(false, None, None)
}

/// Camera and LiDAR with rules for the cameras.
pub(crate) fn with_policy(policy: CameraPolicy) -> Pipeline {
    let config = small_config(true).expect("a model");
    let weights = weights_of(&small(true));
    let builder = PipelineBuilder::new(config, &weights).camera_policy(policy);
    builder.build(&CpuEngine::default()).expect("a pipeline")
}

pub(crate) fn pipeline(
    with_camera: bool,
    min_cameras: Option<usize>,
    threads: Option<usize>,
) -> Pipeline {
    let config = small_config(with_camera).expect("a model");
    let weights = weights_of(&small(with_camera));
    let mut builder = PipelineBuilder::new(config, &weights);
    if let Some(least) = min_cameras {
        builder = builder.min_cameras(least);
    }
    let engine = CpuEngine::new(EngineOptions { threads });
    builder.build(&engine).expect("a pipeline")
}

/// A vehicle that drove 0.4 m and turned a little.
pub(crate) fn frame() -> Frame {
    let yaw = 0.02_f64;
    small_frame(Transform::from_quaternion(
        [(0.5 * yaw).cos(), 0.0, 0.0, (0.5 * yaw).sin()],
        [-0.4, 0.05, 0.0],
    ))
}

/// Boxes of a frame that is not dropped.
pub(crate) fn boxes(pipeline: &mut Pipeline, frame: &Frame) -> Vec<Detection> {
    let outcome = pipeline.run(frame).outcome;
    assert!(!matches!(outcome, FrameOutcome::Dropped(_)), "{outcome:?}");
    assert!(!pipeline.detections().is_empty(), "nothing to compare");
    pipeline.detections().to_vec()
}

/// What a frame lost that is neither complete nor dropped.
pub(crate) fn lost(report: &FrameReport) -> Degradation {
    match report.outcome {
        FrameOutcome::Degraded(lost) => lost,
        other => panic!("expected a degraded frame, found {other:?}"),
    }
}
