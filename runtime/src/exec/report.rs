//! What the caller learns of a frame besides its boxes.

use std::time::Duration;

use serde::Serialize;

use super::{CameraStates, FrameFault, StageId};

/// How a frame ended. A dropped frame has no boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOutcome {
    /// Every input was used whole.
    Complete,
    /// Boxes are there, but something was given up.
    Degraded(Degradation),
    /// No boxes, and why.
    Dropped(FrameFault),
}

/// What was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Degradation {
    /// Cameras of the model whose image was not used; their frustums were left out of the pooling.
    /// [`FrameReport::cameras`] says which and why.
    pub missing_cameras: u32,
    /// Fewer cameras than `min_cameras` were there, and the frame was run with an empty camera map.
    pub lidar_only: bool,
    /// Cells that found no room among `max_voxels`.
    pub dropped_voxels: u64,
    /// Points with a NaN or an infinity.
    pub non_finite_points: u64,
    /// Points beyond the point capacity: those of the oldest sweeps.
    pub clipped_points: u64,
    /// Sites of the sparse encoder that found no room in their level.
    pub lost_sites: u64,
    /// No point was inside the range: the LiDAR map is empty.
    pub empty_cloud: bool,
}

impl Degradation {
    /// Whether anything was given up.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl std::fmt::Display for Degradation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            missing_cameras,
            lidar_only,
            dropped_voxels,
            non_finite_points,
            clipped_points,
            lost_sites,
            empty_cloud,
        } = self;
        let remarks = [
            (*missing_cameras > 0).then(|| format!("cameras not used: {missing_cameras}")),
            lidar_only.then(|| "LiDAR only: too few cameras".to_owned()),
            (*dropped_voxels > 0).then(|| format!("cells beyond max_voxels: {dropped_voxels}")),
            (*non_finite_points > 0)
                .then(|| format!("NaN or infinite points: {non_finite_points}")),
            (*clipped_points > 0).then(|| format!("points beyond the capacity: {clipped_points}")),
            (*lost_sites > 0).then(|| format!("encoder sites without room: {lost_sites}")),
            empty_cloud.then(|| "no point inside the range".to_owned()),
        ];
        f.write_str(&remarks.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Counts of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameCounts {
    /// Points in the key cloud and the sweeps that were used.
    pub points_in: u64,
    /// Points inside the range.
    pub points_in_range: u64,
    /// Voxels.
    pub voxels: u64,
    /// Boxes after decoding and the range filter.
    pub decoded: u64,
    /// Boxes after all filters and suppression.
    pub detections: u64,
}

/// Outcome, counts and times of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameReport {
    /// How it ended.
    pub outcome: FrameOutcome,
    /// Counts.
    pub counts: FrameCounts,
    /// What each camera of the model was; empty for a frame that was dropped before its cameras were looked
    /// at.
    pub cameras: CameraStates,
    /// Time of each stage in the order of [`StageId::ALL`]; zero for a stage that did not run.
    pub stage_times: [Duration; StageId::COUNT],
}

impl FrameReport {
    pub(crate) const fn new() -> Self {
        Self {
            outcome: FrameOutcome::Complete,
            counts: FrameCounts {
                points_in: 0,
                points_in_range: 0,
                voxels: 0,
                decoded: 0,
                detections: 0,
            },
            cameras: CameraStates::missing(0),
            stage_times: [Duration::ZERO; StageId::COUNT],
        }
    }

    /// Sum of the stage times.
    #[must_use]
    pub fn total_time(&self) -> Duration {
        self.stage_times.iter().sum()
    }
}
