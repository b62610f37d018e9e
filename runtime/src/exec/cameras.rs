//! Which cameras of a frame count, and what happens when too few do.
//!
//! A camera is used when it is fresh: its image and the cloud are no further apart in time than the policy
//! allows, earlier or later, it has a calibration, and the image was taken. A camera that is not used adds
//! nothing to the pooling; the others' contribution keeps its bits.

use std::time::Duration;

use serde::Serialize;

use super::{FaultCode, FrameFault, StageId};
pub use crate::config::MAX_CAMERAS;

/// What a camera was in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Its image was used.
    Fresh,
    /// Its newest image is too old, or from the future.
    Stale,
    /// There was never an image.
    #[default]
    Missing,
    /// Its newest image has a size or encoding that is not taken, or a buffer of another length.
    Rejected,
    /// There is an image but no calibration, or one that cannot be inverted.
    Uncalibrated,
}

impl CameraState {
    /// The name in reports and diagnostics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Rejected => "rejected",
            Self::Uncalibrated => "uncalibrated",
        }
    }
}

/// States of a frame's cameras in the order of the model; empty for a model without cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraStates {
    states: [CameraState; MAX_CAMERAS],
    count: usize,
}

impl CameraStates {
    /// All missing; cameras beyond [`MAX_CAMERAS`] are not kept.
    #[must_use]
    pub const fn missing(cameras: usize) -> Self {
        Self {
            states: [CameraState::Missing; MAX_CAMERAS],
            count: if cameras < MAX_CAMERAS {
                cameras
            } else {
                MAX_CAMERAS
            },
        }
    }

    /// One state per camera.
    #[must_use]
    pub fn as_slice(&self) -> &[CameraState] {
        &self.states[..self.count]
    }

    /// The same, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [CameraState] {
        &mut self.states[..self.count]
    }

    /// Cameras that are used.
    #[must_use]
    pub fn fresh(&self) -> usize {
        let states = self.as_slice().iter();
        states.filter(|state| **state == CameraState::Fresh).count()
    }

    /// One bit per camera that is used, the first camera's lowest.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let states = self.as_slice().iter().enumerate();
        states.fold(0, |bits, (camera, state)| {
            bits | u32::from(*state == CameraState::Fresh) << camera
        })
    }

    /// The cameras that are not used, each with its state: `CAM_BACK missing, CAM_LEFT stale`. `names` are
    /// in the order of the model.
    #[must_use]
    pub fn unused(&self, names: &[String]) -> String {
        let states = self.as_slice().iter().zip(names);
        let unused = states.filter(|(state, _)| **state != CameraState::Fresh);
        let texts: Vec<String> = unused
            .map(|(state, name)| format!("{name} {}", state.name()))
            .collect();
        texts.join(", ")
    }

    /// The fault of a frame that has too few cameras. One that sent what cannot be used comes before those
    /// that sent nothing.
    pub(crate) fn fault(&self) -> FrameFault {
        let first = |wanted| self.as_slice().iter().position(|state| *state == wanted);
        let (code, detail) = if let Some(camera) = first(CameraState::Rejected) {
            (FaultCode::ImageSize, camera)
        } else if let Some(camera) = first(CameraState::Uncalibrated) {
            (FaultCode::Calibration, camera)
        } else {
            (FaultCode::MissingCameras, self.fresh())
        };
        FrameFault {
            code,
            stage: StageId::Preprocess,
            detail: detail as u64,
        }
    }
}

/// What happens to a frame with fewer cameras than wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BelowMinCameras {
    /// It is dropped.
    #[default]
    Drop,
    /// It is run with an empty camera map: the same weights see the LiDAR only. How much accuracy that
    /// costs depends on the weights; measure before use. A model without LiDAR drops the frame.
    LidarOnly,
}

/// When a camera counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraPolicy {
    /// Fewest cameras of a frame; `None`: all of the model.
    pub min_cameras: Option<usize>,
    /// Most that an image may be older than the cloud.
    pub max_delay: Duration,
    /// Most that an image may be newer than the cloud.
    pub max_lead: Duration,
    /// What happens below `min_cameras`.
    pub below_min_cameras: BelowMinCameras,
}

impl Default for CameraPolicy {
    /// Autoware's `max_camera_lidar_delay` of its CL model, in both directions.
    fn default() -> Self {
        Self {
            min_cameras: None,
            max_delay: Duration::from_millis(120),
            max_lead: Duration::from_millis(120),
            below_min_cameras: BelowMinCameras::Drop,
        }
    }
}

impl CameraPolicy {
    /// Whether an image of `image_ns` belongs to a cloud of `cloud_ns` (ns).
    #[must_use]
    pub fn is_fresh(&self, image_ns: i64, cloud_ns: i64) -> bool {
        let older = i128::from(cloud_ns) - i128::from(image_ns);
        let limit = |limit: Duration| i128::try_from(limit.as_nanos()).unwrap_or(i128::MAX);
        older <= limit(self.max_delay) && -older <= limit(self.max_lead)
    }

    /// Fewest cameras of a frame of a model with `cameras`.
    #[must_use]
    pub fn least(&self, cameras: usize) -> usize {
        self.min_cameras.unwrap_or(cameras).min(cameras)
    }

    /// Whether a frame with these cameras is run without them. Without any camera there is always too few.
    ///
    /// # Errors
    /// The fault with which it is dropped.
    pub(crate) fn runs_lidar_only(
        &self,
        states: &CameraStates,
        has_lidar: bool,
    ) -> Result<bool, FrameFault> {
        if states.fresh() >= self.least(states.as_slice().len()).max(1) {
            return Ok(false);
        }
        match self.below_min_cameras {
            BelowMinCameras::LidarOnly if has_lidar => Ok(true),
            _ => Err(states.fault()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BelowMinCameras, CameraPolicy, CameraState, CameraStates};
    use crate::exec::FaultCode;

    fn states(of: &[CameraState]) -> CameraStates {
        let mut states = CameraStates::missing(of.len());
        states.as_mut_slice().copy_from_slice(of);
        states
    }

    #[test]
    fn too_few_cameras_drop_a_frame_or_leave_the_lidar() {
        use CameraState::{Fresh, Missing, Rejected, Stale, Uncalibrated};
        let with = |min_cameras, below_min_cameras| CameraPolicy {
            min_cameras,
            below_min_cameras,
            ..CameraPolicy::default()
        };
        let drop = with(None, BelowMinCameras::Drop);
        assert_eq!(drop.runs_lidar_only(&states(&[Fresh; 3]), true), Ok(false));
        let fault = |of: &[CameraState]| {
            let outcome = drop.runs_lidar_only(&states(of), true);
            outcome.map_err(|fault| (fault.code, fault.detail))
        };
        let missing = FaultCode::MissingCameras;
        assert_eq!(fault(&[Fresh, Fresh, Stale]), Err((missing, 2)));
        assert_eq!(
            fault(&[Missing, Uncalibrated, Rejected]),
            Err((FaultCode::ImageSize, 2))
        );
        assert_eq!(
            fault(&[Missing, Uncalibrated, Fresh]),
            Err((FaultCode::Calibration, 1))
        );
        let one = with(Some(1), BelowMinCameras::LidarOnly);
        assert_eq!(
            one.runs_lidar_only(&states(&[Missing, Fresh]), true),
            Ok(false)
        );
        assert_eq!(one.runs_lidar_only(&states(&[Missing; 2]), true), Ok(true));
        assert!(one.runs_lidar_only(&states(&[Missing; 2]), false).is_err());
        // None at all are too few whatever was asked for.
        let none = with(Some(0), BelowMinCameras::Drop);
        assert!(none.runs_lidar_only(&states(&[Stale; 2]), true).is_err());
    }

    #[test]
    fn cameras_that_are_not_used_are_named() {
        let names = ["left", "front", "right"].map(String::from);
        let of = [CameraState::Stale, CameraState::Fresh, CameraState::Missing];
        assert_eq!(states(&of).unused(&names), "left stale, right missing");
        assert_eq!(states(&[CameraState::Fresh; 3]).unused(&names), "");
    }

    #[test]
    fn images_are_stale_in_both_directions() {
        let policy = CameraPolicy {
            max_delay: Duration::from_millis(120),
            max_lead: Duration::from_millis(50),
            ..CameraPolicy::default()
        };
        let cloud = 1_000_000_000;
        let ms = 1_000_000;
        assert!(policy.is_fresh(cloud - 120 * ms, cloud));
        assert!(!policy.is_fresh(cloud - 120 * ms - 1, cloud));
        assert!(policy.is_fresh(cloud + 50 * ms, cloud));
        assert!(!policy.is_fresh(cloud + 50 * ms + 1, cloud));
        assert!(!policy.is_fresh(i64::MIN, i64::MAX));
    }

    #[test]
    fn bits_are_those_of_the_fresh_ones() {
        let mut states = CameraStates::missing(4);
        states.as_mut_slice()[0] = CameraState::Fresh;
        states.as_mut_slice()[2] = CameraState::Fresh;
        states.as_mut_slice()[3] = CameraState::Stale;
        assert_eq!((states.bits(), states.fresh()), (0b101, 2));
        assert_eq!(CameraStates::missing(99).as_slice().len(), 12);
    }
}
