//! In words, what is wrong with a frame: for tools and logs, off the frame path.

use crate::camera::{CameraMatrices, CameraPreprocessor, ImageAug};
use crate::config::ModelConfig;
use crate::input::{CameraFrame, Frame};
use crate::lidar::{GatheredPoints, gather_points, point_range};

/// Everything that keeps `frame` from being detected in, a sentence each; empty when nothing does.
#[must_use]
pub fn explain(config: &ModelConfig, min_cameras: usize, frame: &Frame) -> Vec<String> {
    let mut problems = Vec::new();
    let range = point_range(&config.voxel);
    let gathered = gather_points(&config.points, range, frame, &mut GatheredPoints::default());
    if let Err(error) = gathered {
        problems.push(error.to_string());
    }
    let Some(camera) = &config.camera else {
        return problems;
    };
    let mut preprocessor = CameraPreprocessor::new(camera);
    let mut image = vec![0.0; preprocessor.output_len()];
    let mut without = Vec::new();
    for name in &camera.camera_order {
        match frame.cameras.iter().find(|camera| camera.name == *name) {
            Some(CameraFrame {
                image: Some(raw),
                calibration,
                ..
            }) => {
                if let Err(error) = preprocessor.run(raw, &mut image) {
                    problems.push(format!("camera {name:?}: {error}"));
                }
                let aug = ImageAug::for_test(camera, raw.width, raw.height);
                let matrices = CameraMatrices::new(calibration, aug.matrix());
                if let Err(error) = matrices.check(name) {
                    problems.push(error.to_string());
                }
            }
            _ => without.push(name.as_str()),
        }
    }
    let available = camera.camera_order.len() - without.len();
    if available < min_cameras.max(1) {
        problems.push(format!(
            "{available} of {} cameras have an image, at least {} are needed; missing: {}",
            camera.camera_order.len(),
            min_cameras.max(1),
            without.join(", ")
        ));
    }
    problems
}
