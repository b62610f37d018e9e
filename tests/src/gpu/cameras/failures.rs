//! Each camera fails in each way: states, outcome and boxes under the three rules.

use std::error::Error;

use bevfusion::exec::{BelowMinCameras, CameraPolicy, CameraState, FaultCode};
use half::f16;

use super::pooled::pooled;
use super::rig::{HARMS, Rig, all_but, boxes, fate, numbers, policy, same_boxes};
use crate::gpu::steady::equal_bits;
use crate::report::Report;

/// One camera is enough: the frame goes on without the failed one, as if it had not been there.
pub(super) fn one_by_one(
    rig: &Rig,
    quick: bool,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let mut pipeline = rig.pipeline(policy(Some(1), BelowMinCameras::Drop))?;
    let full = boxes(&mut pipeline, &rig.frame)?;
    let found = [i64::from(!full.is_empty())];
    report.integers(rig.stage("boxes to compare"), &found, &[1]);
    let cameras = if quick { 1 } else { rig.cameras() };
    for camera in 0..cameras {
        let without = boxes(&mut pipeline, &rig.harmed(HARMS[0].1, camera))?;
        let same = [i64::from(equal_bits(&without, &full))];
        let stage = |what: &str| rig.stage(&format!("camera {camera} {what}"));
        report.integers(stage("leaves a trace in the boxes"), &same, &[0]);
        for (name, harm, state) in HARMS {
            let result = *pipeline.run(&rig.harmed(harm, camera));
            let stage = |what: &str| stage(&format!("{name}: {what}"));
            let want = all_but(rig.cameras(), camera, state);
            let found = numbers(result.cameras.as_slice());
            report.integers(stage("states"), &found, &want);
            report.integers(stage("outcome"), &fate(&result), &[0, 0, 1, 0]);
            same_boxes(report, stage("boxes"), &pipeline, &without);
            let after = *pipeline.run(&rig.frame);
            report.integers(stage("outcome after it"), &fate(&after), &[0; 4]);
            same_boxes(report, stage("boxes after it"), &pipeline, &full);
        }
    }
    Ok(())
}

/// Every camera is needed: the frame is dropped, the next one is not.
pub(super) fn all_needed(
    rig: &Rig,
    quick: bool,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let mut pipeline = rig.pipeline(CameraPolicy::default())?;
    let full = boxes(&mut pipeline, &rig.frame)?;
    let last = rig.cameras() - 1;
    let cameras = if quick { last..last + 1 } else { 0..last + 1 };
    for camera in cameras {
        for (name, harm, state) in HARMS {
            let stage = |what: &str| rig.stage(&format!("camera {camera} {name}, dropped: {what}"));
            let result = *pipeline.run(&rig.harmed(harm, camera));
            let (code, detail) = match state {
                CameraState::Rejected => (FaultCode::ImageSize, camera),
                CameraState::Uncalibrated => (FaultCode::Calibration, camera),
                _ => (FaultCode::MissingCameras, last),
            };
            let want = [code as i64, detail as i64, 0, 0];
            report.integers(stage("outcome"), &fate(&result), &want);
            let want = all_but(rig.cameras(), camera, state);
            let found = numbers(result.cameras.as_slice());
            report.integers(stage("states"), &found, &want);
            let left = [pipeline.detections().len() as i64];
            report.integers(stage("boxes"), &left, &[0]);
        }
        // Frames that were dropped one after the other leave images behind that nobody used.
        let after = *pipeline.run(&rig.frame);
        let stage = |what: &str| rig.stage(&format!("after camera {camera}: {what}"));
        report.integers(stage("outcome"), &fate(&after), &[0; 4]);
        same_boxes(report, stage("boxes"), &pipeline, &full);
    }
    let mut none = rig.frame.clone();
    none.cameras.clear();
    let fault = FaultCode::MissingCameras as i64;
    let found = fate(pipeline.run(&none));
    report.integers(rig.stage("no camera, dropped"), &found, &[fault, 0, 0, 0]);
    Ok(())
}

/// Every camera is needed, and without one the frame is run on the LiDAR alone.
pub(super) fn lidar_only(
    rig: &Rig,
    _quick: bool,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let mut pipeline = rig.pipeline(policy(None, BelowMinCameras::LidarOnly))?;
    let full = boxes(&mut pipeline, &rig.frame)?;
    let mut none = rig.frame.clone();
    none.cameras.clear();
    let cameras = rig.cameras() as i64;
    let result = *pipeline.run(&none);
    let stage = |what: &str| rig.stage(&format!("LiDAR only, {what}"));
    report.integers(
        stage("no camera: outcome"),
        &fate(&result),
        &[0, 0, cameras, 1],
    );
    let empty = pipeline.detections().to_vec();
    let found = [
        i64::from(empty.is_empty()),
        i64::from(equal_bits(&empty, &full)),
    ];
    report.integers(stage("boxes, and other ones"), &found, &[0, 0]);
    let filled = pooled(&pipeline)?;
    let filled = filled
        .iter()
        .filter(|half| f16::from_bits(**half) != f16::ZERO);
    report.integers(
        stage("cells of the pooled map"),
        &[filled.count() as i64],
        &[0],
    );
    for camera in 0..rig.cameras() {
        for (name, harm, _) in HARMS {
            let stage = |what: &str| stage(&format!("camera {camera} {name}: {what}"));
            let result = *pipeline.run(&rig.harmed(harm, camera));
            report.integers(stage("outcome"), &fate(&result), &[0, 0, 1, 1]);
            same_boxes(report, stage("boxes"), &pipeline, &empty);
        }
    }
    let after = *pipeline.run(&rig.frame);
    report.integers(stage("cameras again: outcome"), &fate(&after), &[0; 4]);
    same_boxes(report, stage("cameras again: boxes"), &pipeline, &full);
    Ok(())
}
