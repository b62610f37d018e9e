//! A temporary folder with the weights and datasets that a test of the command asks for.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use bevfusion::config::ModelSpec;
use bevfusion::dataset::Layout;
use bevfusion::geometry::Transform;
use tempfile::TempDir;

use crate::command::{Ended, bevfusion};
use crate::small::{small, small_frame, write_model};
use crate::synthetic::{CAMERA_LEAD_US, CAMERAS, LIDAR_DELAY_US, sample_time_us, write_dataset};

/// What a test needs on disk; gone when dropped.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// An empty folder.
    ///
    /// # Errors
    /// When the system has no place for it.
    pub fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder })
    }

    /// The path of something inside, whether it exists or not.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as an argument.
    #[must_use]
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Weights of the small model in `small_CL` or `small_L`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn weights(&self, with_camera: bool) -> Result<String, Box<dyn Error>> {
        let spec = small(with_camera);
        self.weights_of(&spec)
    }

    /// Weights of a model in a folder of its name.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn weights_of(&self, spec: &ModelSpec) -> Result<String, Box<dyn Error>> {
        write_model(&self.path(&spec.name), spec)?;
        Ok(self.arg(&spec.name))
    }

    /// The made-up drive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn drive(&self, layout: Layout) -> std::io::Result<String> {
        let name = match layout {
            Layout::Nuscenes => "nuscenes",
            Layout::T4 => "t4",
        };
        write_dataset(&self.path(name), layout)?;
        Ok(self.arg(name))
    }

    /// Writes a file and gives its path as an argument.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> std::io::Result<String> {
        fs::write(self.path(name), bytes)?;
        Ok(self.arg(name))
    }

    /// A calibration file of both cameras of the small model.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rig(&self) -> std::io::Result<String> {
        let cameras = small_frame(Transform::IDENTITY).cameras;
        let row = |camera: &bevfusion::input::CameraFrame| {
            let calibration = &camera.calibration;
            format!(
                "[[cameras]]\nname = {:?}\nimage_from_camera = {:?}\ncamera_from_lidar = {:?}\n",
                camera.name,
                calibration.image_from_camera,
                calibration.camera_from_lidar.matrix()
            )
        };
        self.file("rig.toml", cameras.iter().map(row).collect::<String>())
    }

    /// Runs `bevfusion detect` with its output in `out`.
    #[must_use]
    pub fn detect(&self, arguments: &[&str]) -> Ended {
        let out = self.arg("out");
        bevfusion(&[&["detect", "--output", &out], arguments].concat())
    }
}

/// Key cloud of a nuScenes sample inside the drive's folder.
#[must_use]
pub fn key_cloud(sample: i64) -> String {
    let time_us = sample_time_us(sample) + LIDAR_DELAY_US;
    format!("nuscenes/samples/LIDAR_TOP/{time_us}.pcd.bin")
}

/// Image of a nuScenes sample inside the drive's folder, by the camera's place.
#[must_use]
pub fn key_image(sample: i64, camera: usize) -> String {
    let time_us = sample_time_us(sample) - CAMERA_LEAD_US;
    format!("nuscenes/samples/{}/{time_us}.jpg", CAMERAS[camera])
}
