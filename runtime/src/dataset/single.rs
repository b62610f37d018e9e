//! One frame of single files: a cloud, images, and a calibration file.

use std::path::{Path, PathBuf};

use super::calibration::{NamedCalibration, read_calibration};
use super::error::DatasetError;
use super::files::{named_image, read_points};
use crate::config::PointsSpec;
use crate::input::{CameraFrame, Frame, with_columns};

/// The files of one frame.
#[derive(Clone, Copy, Debug)]
pub struct SingleFiles<'a> {
    /// `.bin`, `.pcd.bin` or `.pcd`.
    pub points: &'a Path,
    /// float32 columns of a `.bin` file.
    pub point_columns: usize,
    /// `PATH` or `CAMERA=PATH`. Without names, images belong to the cameras in the order of the
    /// calibration file, one each.
    pub images: &'a [String],
    /// Needed when there are images.
    pub calibration: Option<&'a Path>,
}

/// Reads the files as one frame without sweeps. A cloud with fewer columns than the model's
/// `load_dim` gets zeros for the missing ones.
///
/// # Errors
/// When a file is absent or broken, or images and calibrated cameras do not match.
pub fn read_single(files: &SingleFiles<'_>, points: &PointsSpec) -> Result<Frame, DatasetError> {
    let cloud = read_points(files.points, files.point_columns)?;
    Ok(Frame {
        points: with_columns(cloud, points.load_dim),
        sweeps: Vec::new(),
        cameras: cameras(files)?,
        stamp_ns: None,
    })
}

fn cameras(files: &SingleFiles<'_>) -> Result<Vec<CameraFrame>, DatasetError> {
    let calibrated = match (files.calibration, files.images) {
        (_, []) => return Ok(Vec::new()),
        (Some(path), _) => read_calibration(path)?,
        (None, _) => {
            return Err(mismatch(
                "images were given without a calibration file; add --calib FILE (docs/calibration.md)",
            ));
        }
    };
    let paths = pair(files.images, &calibrated)?;
    let frame = |(camera, path): (NamedCalibration, Option<PathBuf>)| {
        let image = path
            .map(|path| named_image(&path, || "--images".into()))
            .transpose()?;
        Ok(CameraFrame {
            name: camera.name,
            image,
            calibration: camera.calibration,
            stamp_ns: None,
        })
    };
    calibrated.into_iter().zip(paths).map(frame).collect()
}

/// The image of each calibrated camera.
fn pair(
    images: &[String],
    calibrated: &[NamedCalibration],
) -> Result<Vec<Option<PathBuf>>, DatasetError> {
    let names: Vec<&str> = calibrated
        .iter()
        .map(|camera| camera.name.as_str())
        .collect();
    let position = |image: &String| {
        let (name, path) = image.split_once('=')?;
        let index = names.iter().position(|n| *n == name)?;
        Some((index, PathBuf::from(path)))
    };
    let named: Vec<(usize, PathBuf)> = images.iter().filter_map(position).collect();
    if named.is_empty() && images.len() == names.len() {
        return Ok(images.iter().map(|image| Some(image.into())).collect());
    }
    let all = names.join(", ");
    if named.is_empty() {
        return Err(mismatch(format!(
            "{} images for {} cameras ({all}); give one each in this order, or CAMERA=PATH",
            images.len(),
            names.len()
        )));
    }
    if let Some(odd) = images.iter().find(|image| position(image).is_none()) {
        return Err(mismatch(format!(
            "{odd:?} names no camera while others do; the cameras are {all}"
        )));
    }
    let mut paths = vec![None; names.len()];
    for (index, path) in named {
        if paths[index].replace(path).is_some() {
            return Err(mismatch(format!("two images for camera {}", names[index])));
        }
    }
    Ok(paths)
}

fn mismatch(problem: impl Into<String>) -> DatasetError {
    DatasetError::Pairing {
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{NamedCalibration, pair};
    use crate::geometry::{CameraCalibration, Transform};

    fn rig(names: &[&str]) -> Vec<NamedCalibration> {
        let camera = |name: &&str| NamedCalibration {
            name: (*name).into(),
            calibration: CameraCalibration {
                image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                camera_from_lidar: Transform::IDENTITY,
            },
        };
        names.iter().map(camera).collect()
    }

    fn paired(images: &[&str]) -> Result<Vec<Option<String>>, String> {
        let images: Vec<String> = images.iter().map(|image| (*image).into()).collect();
        let paths = pair(&images, &rig(&["A", "B"])).map_err(|error| error.to_string())?;
        Ok(paths
            .into_iter()
            .map(|p| p.map(|p| p.display().to_string()))
            .collect())
    }

    #[test]
    fn images_go_to_cameras_by_order_or_by_name() {
        let both = |a: &str, b: &str| Ok(vec![Some(a.into()), Some(b.into())]);
        assert_eq!(paired(&["1.jpg", "x=2.jpg"]), both("1.jpg", "x=2.jpg"));
        assert_eq!(paired(&["B=2.jpg", "A=1.jpg"]), both("1.jpg", "2.jpg"));
        assert_eq!(paired(&["B=2.jpg"]), Ok(vec![None, Some("2.jpg".into())]));
    }

    #[test]
    fn a_mismatch_names_the_cameras() {
        let problem = |images| paired(images).expect_err("refused");
        assert!(problem(&["1.jpg"]).contains("1 images for 2 cameras (A, B)"));
        assert!(problem(&["A=1.jpg", "2.jpg"]).contains("\"2.jpg\" names no camera"));
        assert!(problem(&["A=1.jpg", "A=2.jpg"]).contains("two images for camera A"));
    }
}
