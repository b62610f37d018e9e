//! A model that a debug build runs in a fraction of a second, its made-up weights, and frames for it.
//!
//! 48 m × 48 m in voxels of 0.3 m, two cameras of the made-up drive, channels of the tiny golden models.

use std::path::Path;

use bevfusion::config::{ConfigErrors, ModelConfig, ModelSpec};
use bevfusion::geometry::{CameraCalibration, Transform};
use bevfusion::input::{CameraFrame, Frame, PointCloud, RgbImage, Sweep};
use bevfusion::weights::{Weights, expected_tensors, save};

use crate::formula::{GainProfile, formula_weights, unit};
use crate::specs::tiny;
use crate::synthetic::{CAMERAS, IMAGE_FROM_CAMERA, IMAGE_SIZE};

const EDGE_M: f64 = 24.0;
const COLUMNS: usize = 5;

/// The description; `small_CL` or `small_L`.
#[must_use]
pub fn small(with_camera: bool) -> ModelSpec {
    let mut spec = tiny(with_camera);
    spec.name = if with_camera { "small_CL" } else { "small_L" }.into();
    spec.voxel.point_cloud_range = [-EDGE_M, -EDGE_M, -5.0, EDGE_M, EDGE_M, 3.0];
    spec.voxel.voxel_size = [0.3, 0.3, 0.2];
    spec.voxel.max_voxels = 4000;
    spec.head.num_proposals = 24;
    if let Some(encoder) = &mut spec.lidar_encoder {
        encoder.sparse_shape = [160, 160, 41];
    }
    if let Some(camera) = &mut spec.camera {
        camera.camera_order = CAMERAS.map(String::from).to_vec();
        camera.resize = 2.75;
        let view = &mut camera.view_transform;
        (view.x_bound, view.y_bound) = ([-EDGE_M, EDGE_M, 1.2], [-EDGE_M, EDGE_M, 1.2]);
        view.d_bound = [1.0, 25.0, 1.0];
    }
    spec
}

/// The description, checked.
///
/// # Errors
/// Never, as long as [`small`] describes a model.
pub fn small_config(with_camera: bool) -> Result<ModelConfig, ConfigErrors> {
    ModelConfig::new(small(with_camera))
}

/// Made-up weights of a model.
#[must_use]
pub fn weights_of(spec: &ModelSpec) -> Weights {
    formula_weights(&expected_tensors(spec), "", GainProfile::Tiny)
}

/// Writes a weights folder for a model.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_model(folder: &Path, spec: &ModelSpec) -> Result<(), Box<dyn std::error::Error>> {
    let toml = ModelConfig::new(spec.clone())?.to_toml()?;
    Ok(save(folder, &weights_of(spec), &toml)?)
}

/// A key cloud, one sweep of a vehicle that drove `key_from_sweep`, and both cameras.
#[must_use]
pub fn small_frame(key_from_sweep: Transform) -> Frame {
    let sweep = Sweep {
        cloud: cloud(2, 300),
        key_from_sweep,
        time_lag: 0.05,
    };
    Frame {
        points: cloud(1, 600),
        sweeps: vec![sweep],
        cameras: vec![camera(0), camera(1)],
        stamp_ns: None,
    }
}

/// Points everywhere in the range; intensity 0..255, time 0.
fn cloud(seed: u64, points: u64) -> PointCloud {
    let row = |point: u64| {
        let random = |column: u64| unit(seed, point * COLUMNS as u64 + column);
        let across = |column: u64| 1.8 * EDGE_M * (random(column) - 0.5);
        let row = [
            across(0),
            across(1),
            4.0 * random(2) - 3.0,
            255.0 * random(3),
            0.0,
        ];
        row.map(|value| value as f32)
    };
    PointCloud {
        values: (0..points).flat_map(row).collect(),
        columns: COLUMNS,
    }
}

/// The camera that looks ahead (0) or back (1).
fn camera(index: usize) -> CameraFrame {
    let side = if index == 0 { 1.0 } else { -1.0 };
    CameraFrame {
        name: CAMERAS[index].into(),
        image: Some(picture(index as u64)),
        calibration: CameraCalibration {
            image_from_camera: IMAGE_FROM_CAMERA,
            camera_from_lidar: Transform::new(
                [[0.0, -side, 0.0], [0.0, 0.0, -1.0], [side, 0.0, 0.0]],
                [0.0, -0.3, -0.5],
            ),
        },
        stamp_ns: None,
    }
}

/// Noise of the drive's image size; another seed gives another picture.
#[must_use]
pub fn picture(seed: u64) -> RgbImage {
    let [width, height] = IMAGE_SIZE;
    let levels = 0..(3 * width * height) as u64;
    RgbImage {
        width,
        height,
        pixels: levels.map(|at| (256.0 * unit(seed, at)) as u8).collect(),
    }
}
