//! In words, what is wrong with a frame: for tools and logs, off the frame path.

use super::camera_branch::camera_state;
use super::{BelowMinCameras, CameraPolicy, CameraState};
use crate::camera::CameraPreprocessor;
use crate::config::{CameraSpec, ModelConfig};
use crate::input::Frame;
use crate::lidar::{GatheredPoints, gather_points, point_range};

/// Everything that keeps `frame` from being detected in, a sentence each; empty when nothing does. Cameras
/// are named when too few of them can be used, each with the reason. What only a GPU refuses, for example an
/// image beyond the planned room, is not among it: the states in the report are.
#[must_use]
pub fn explain(config: &ModelConfig, policy: &CameraPolicy, frame: &Frame) -> Vec<String> {
    let mut problems = Vec::new();
    let range = point_range(&config.voxel);
    let gathered = gather_points(&config.points, range, frame, &mut GatheredPoints::default());
    if let Err(error) = gathered {
        problems.push(error.to_string());
    }
    if let Some(camera) = &config.camera {
        let has_lidar = config.lidar_encoder.is_some();
        let runs_anyway = policy.below_min_cameras == BelowMinCameras::LidarOnly && has_lidar;
        if !runs_anyway {
            cameras(camera, policy, frame, &mut problems);
        }
    }
    problems
}

fn cameras(camera: &CameraSpec, policy: &CameraPolicy, frame: &Frame, problems: &mut Vec<String>) {
    let preprocessor = CameraPreprocessor::new(camera);
    let order = &camera.camera_order;
    let mut reasons = Vec::new();
    for name in order {
        let Some(found) = frame.camera(name) else {
            reasons.push(format!("{name} missing"));
            continue;
        };
        let (state, why) = camera_state(&preprocessor, policy, (frame, found));
        if state != CameraState::Fresh {
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            reasons.push(format!("{name} {}{why}", state.name()));
        }
    }
    let (fresh, least) = (
        order.len() - reasons.len(),
        policy.least(order.len()).max(1),
    );
    if fresh < least {
        problems.push(format!(
            "{fresh} of {} cameras can be used, at least {least} are needed: {}",
            order.len(),
            reasons.join(", ")
        ));
    }
}
