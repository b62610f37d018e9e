//! A new calibration between frames: its tables are built beside the running frame, hold from its own frame on
//! and cost no frame.

use std::collections::VecDeque;
use std::error::Error;

use bevfusion::cuda::CudaPipeline;
use bevfusion::exec::{CameraPolicy, FrameOutcome, SubmitError, Ticket};
use bevfusion::geometry::Transform;
use bevfusion::input::Frame;
use bevfusion::output::Detection;

use super::rig::{Rig, boxes, fate, same_boxes};
use crate::gpu::steady::equal_bits;
use crate::report::Report;

/// Camera 0 looks a little to the side, and all cameras stand 0.3 m further.
fn moved(frame: &Frame) -> Frame {
    let mut frame = frame.clone();
    for (index, camera) in frame.cameras.iter_mut().enumerate() {
        let calibration = &mut camera.calibration;
        let pose = calibration.camera_from_lidar.matrix();
        let [x, y, z] = [pose[0][3], pose[1][3], pose[2][3]];
        let linear = calibration.camera_from_lidar.linear();
        calibration.camera_from_lidar = Transform::new(linear, [x + 0.3, y, z]);
        if index == 0 {
            calibration.image_from_camera[0][2] += 9.0;
        }
    }
    frame
}

/// Compares frames behind a change with those of a pipeline that never had another calibration.
pub(super) fn run(rig: &Rig, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let other = moved(&rig.frame);
    let want = boxes(&mut rig.pipeline(CameraPolicy::default())?, &other)?;
    let mut pipeline = rig.pipeline(CameraPolicy::default())?;
    let first = boxes(&mut pipeline, &rig.frame)?;
    let stage = |what: &str| rig.stage(&format!("new calibration: {what}"));
    let same = i64::from(equal_bits(&first, &want));
    report.integers(stage("other boxes"), &[same], &[0]);
    for round in 0..2 {
        let changed = *pipeline.run(&other);
        report.integers(stage("outcome"), &fate(&changed), &[0; 4]);
        let name = stage(&format!("boxes, round {round}"));
        same_boxes(report, name, &pipeline, &want);
        let back = *pipeline.run(&rig.frame);
        report.integers(stage("outcome of the one before"), &fate(&back), &[0; 4]);
        let name = stage(&format!("boxes of the one before, round {round}"));
        same_boxes(report, name, &pipeline, &first);
    }
    // One that cannot be used leaves the one before.
    let mut singular = rig.frame.cameras[0].calibration;
    singular.image_from_camera[0][0] = 0.0;
    let refused = i64::from(pipeline.set_calibration(0, singular).is_err());
    report.integers(stage("a singular one is refused"), &[refused], &[1]);

    let frames = if quick { 8 } else { 60 };
    for period in [1, 2, 5] {
        let sources = [(&rig.frame, first.as_slice()), (&other, want.as_slice())];
        let stage = stage(&format!(
            "{frames} frames, one every {period}: dropped, other boxes"
        ));
        let counts = continuous(&mut pipeline, &sources, (frames, period))?;
        report.integers(stage, &counts, &[0, 0]);
    }
    Ok(())
}

/// Frames that were submitted and not fetched, each with what it was made from.
type UnderWay = VecDeque<(Ticket, usize)>;

/// Submits without waiting for boxes; the calibration changes every `period` frames. How many frames were
/// dropped, and how many had other boxes.
fn continuous(
    pipeline: &mut CudaPipeline,
    sources: &[(&Frame, &[Detection]); 2],
    (frames, period): (usize, usize),
) -> Result<[i64; 2], Box<dyn Error>> {
    let mut under_way = UnderWay::new();
    let mut counts = [0, 0];
    for index in 0..frames {
        let which = index / period % 2;
        let ticket = loop {
            match pipeline.submit(sources[which].0) {
                Ok(ticket) => break Some(ticket),
                Err(SubmitError::Full) => fetch(pipeline, sources, &mut under_way, &mut counts)?,
                Err(SubmitError::Frame(_)) => break None,
            }
        };
        match ticket {
            Some(ticket) => under_way.push_back((ticket, which)),
            None => counts[0] += 1,
        }
    }
    while !under_way.is_empty() {
        fetch(pipeline, sources, &mut under_way, &mut counts)?;
    }
    Ok(counts)
}

/// Fetches the oldest frame, if there is one.
fn fetch(
    pipeline: &mut CudaPipeline,
    sources: &[(&Frame, &[Detection]); 2],
    under_way: &mut UnderWay,
    counts: &mut [i64; 2],
) -> Result<(), Box<dyn Error>> {
    let Some((ticket, which)) = under_way.pop_front() else {
        std::hint::spin_loop();
        return Ok(());
    };
    let report = pipeline
        .wait(ticket)
        .ok_or("the oldest frame is the next")?;
    let is_dropped = matches!(report.outcome, FrameOutcome::Dropped(_));
    counts[0] += i64::from(is_dropped);
    counts[1] += i64::from(!equal_bits(pipeline.detections(), sources[which].1));
    Ok(())
}
