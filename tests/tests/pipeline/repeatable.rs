//! Same bytes in, same boxes out: over time, threads and pipelines.

use bevfusion::config::{ModelConfig, SweepAlignment};
use bevfusion::engine::CpuEngine;
use bevfusion::exec::{FrameOutcome, PipelineBuilder, StageId};
use bevfusion::geometry::Transform;
use bevfusion::input::Frame;
use bevfusion::output::Detection;
use bevfusion_tests::small::{small, small_frame, weights_of};

use super::rig::{boxes, frame, fusion, lidar, pipeline};

/// Every float of every box, bit by bit.
fn bits(boxes: &[Detection]) -> Vec<[u32; 11]> {
    boxes
        .iter()
        .map(|found| {
            let ([x, y, z], [l, w, h]) = (found.bottom_center, found.size);
            let [vx, vy] = found.velocity;
            let floats = [x, y, z, l, w, h, found.yaw, vx, vy, found.score].map(f32::to_bits);
            std::array::from_fn(|at| floats.get(at).copied().unwrap_or(found.label))
        })
        .collect()
}

#[test]
fn a_frame_gives_the_same_bits_again_whatever_came_between() {
    let mut pipeline = fusion();
    let first = bits(&boxes(&mut pipeline, &frame()));
    let mut other = frame();
    other.points.values.truncate(50 * other.points.columns);
    other.cameras.reverse();
    other.cameras[0].calibration.camera_from_lidar = Transform::IDENTITY;
    assert_ne!(bits(&boxes(&mut pipeline, &other)), first);
    pipeline.run(&Frame::default());
    assert_eq!(bits(&boxes(&mut pipeline, &frame())), first);
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let with = |threads| bits(&boxes(&mut pipeline(true, None, Some(threads)), &frame()));
    assert_eq!(with(1), with(2));
}

#[test]
fn a_second_pipeline_of_the_same_weights_gives_the_same_bits() {
    assert_eq!(
        bits(&boxes(&mut fusion(), &frame())),
        bits(&boxes(&mut fusion(), &frame()))
    );
}

#[test]
fn the_order_of_the_cameras_in_the_frame_is_of_no_matter() {
    let mut swapped = frame();
    swapped.cameras.reverse();
    let mut pipeline = fusion();
    assert_eq!(
        boxes(&mut pipeline, &frame()),
        boxes(&mut pipeline, &swapped)
    );
}

#[test]
fn the_counts_of_a_frame_follow_from_its_points() {
    for with_camera in [false, true] {
        let mut pipeline = pipeline(with_camera, None, None);
        let report = *pipeline.run(&frame());
        let counts = report.counts;
        assert_eq!(report.outcome, FrameOutcome::Complete);
        assert_eq!(counts.points_in, 900);
        assert!(
            counts.points_in_range > 800 && counts.points_in_range <= 900,
            "{counts:?}"
        );
        assert!(
            counts.voxels > 400 && counts.voxels <= counts.points_in_range,
            "{counts:?}"
        );
        let proposals = pipeline.config().head.num_proposals as u64;
        assert!(counts.decoded <= proposals && counts.detections <= counts.decoded);
        assert_eq!(counts.detections, pipeline.detections().len() as u64);
        let ran = |stage: StageId| !report.stage_times[stage as usize].is_zero();
        assert!(ran(StageId::SparseEncoder) && ran(StageId::Head));
        assert_eq!(ran(StageId::CameraBackbone), with_camera);
        assert_eq!(report.total_time(), report.stage_times.iter().sum());
    }
}

#[test]
fn sweep_alignments_differ_only_where_the_vehicle_turned() {
    let aligned = |alignment, key_from_sweep| {
        let mut spec = small(false);
        spec.points.sweep_alignment = alignment;
        let weights = weights_of(&spec);
        let config = ModelConfig::new(spec).expect("a model");
        let builder = PipelineBuilder::new(config, &weights);
        let mut pipeline = builder.build(&CpuEngine::default()).expect("a pipeline");
        bits(&boxes(&mut pipeline, &small_frame(key_from_sweep)))
    };
    let half_yaw = 0.15_f64;
    let straight = Transform::new(Transform::IDENTITY.linear(), [-3.0, 0.5, 0.0]);
    let turned =
        Transform::from_quaternion([half_yaw.cos(), 0.0, 0.0, half_yaw.sin()], [-3.0, 0.5, 0.0]);
    for (motion, are_equal) in [(straight, true), (turned, false)] {
        let rigid = aligned(SweepAlignment::Rigid, motion);
        let original = aligned(SweepAlignment::Mmdet3d, motion);
        assert_eq!(rigid == original, are_equal, "{motion:?}");
    }
}

#[test]
fn a_sweep_changes_the_result_and_one_too_many_does_not() {
    let mut pipeline = lidar();
    let with_one = bits(&boxes(&mut pipeline, &frame()));
    let mut without = frame();
    without.sweeps.clear();
    assert_ne!(bits(&boxes(&mut pipeline, &without)), with_one);
    let mut many = frame();
    let limit = pipeline.config().points.sweeps_num;
    many.sweeps = vec![many.sweeps[0].clone(); limit];
    let at_limit = bits(&boxes(&mut pipeline, &many));
    many.sweeps.push(many.sweeps[0].clone());
    assert_eq!(bits(&boxes(&mut pipeline, &many)), at_limit);
}
