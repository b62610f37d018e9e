//! The frame's cameras in the order in which the network was trained.

use super::CameraError;
use crate::geometry::CameraCalibration;
use crate::input::{CameraFrame, RgbImage};

/// A camera that has all the network needs.
#[derive(Clone, Copy, Debug)]
pub struct ReadyCamera<'a> {
    /// Name in `camera_order`.
    pub name: &'a str,
    /// The raw image.
    pub image: &'a RgbImage,
    /// Intrinsics and pose.
    pub calibration: &'a CameraCalibration,
}

/// The cameras named by `camera_order`, in that order; others are left out.
///
/// # Errors
/// Names the first camera that is missing or has no image.
pub fn arrange<'a>(
    camera_order: &[String],
    cameras: &'a [CameraFrame],
) -> Result<Vec<ReadyCamera<'a>>, CameraError> {
    let find = |name: &String| {
        let Some(camera) = cameras.iter().find(|camera| camera.name == *name) else {
            return Err(CameraError::Missing {
                camera: name.clone(),
                found: cameras.iter().map(|camera| camera.name.clone()).collect(),
            });
        };
        let Some(image) = &camera.image else {
            return Err(CameraError::NoImage {
                camera: name.clone(),
            });
        };
        Ok(ReadyCamera {
            name: &camera.name,
            image,
            calibration: &camera.calibration,
        })
    };
    camera_order.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::arrange;
    use crate::camera::CameraError;
    use crate::geometry::{CameraCalibration, Transform};
    use crate::input::{CameraFrame, RgbImage};

    fn camera(name: &str) -> CameraFrame {
        CameraFrame {
            name: name.into(),
            image: Some(RgbImage {
                width: 1,
                height: 1,
                pixels: vec![0; 3],
            }),
            calibration: CameraCalibration {
                image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
                camera_from_lidar: Transform::IDENTITY,
            },
        }
    }

    #[test]
    fn cameras_come_in_the_networks_order_and_others_are_left_out() {
        let order = ["FRONT".to_owned(), "BACK".to_owned()];
        let frame = [camera("BACK"), camera("TOP"), camera("FRONT")];
        let ready = arrange(&order, &frame).expect("complete");
        let names: Vec<&str> = ready.iter().map(|camera| camera.name).collect();
        assert_eq!(names, ["FRONT", "BACK"]);
    }

    #[test]
    fn a_missing_camera_or_image_is_named() {
        let order = ["FRONT".to_owned(), "BACK".to_owned()];
        let mut back = camera("BACK");
        back.image = None;
        let error = arrange(&order, &[back.clone(), camera("FRONT")]).expect_err("no image");
        assert_eq!(
            error,
            CameraError::NoImage {
                camera: "BACK".into()
            }
        );
        let error = arrange(&order, &[back]).expect_err("no camera");
        assert!(error.to_string().contains("\"FRONT\"") && error.to_string().contains("BACK"));
    }
}
