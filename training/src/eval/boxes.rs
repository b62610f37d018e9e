//! Boxes to be scored, in the frame of the map ("global").
//!
//! Fields and conventions are those of the nuScenes devkit's `DetectionBox`: sizes are width, length,
//! height; rotations are quaternions w, x, y, z.

use serde::{Deserialize, Serialize};

/// What an object does; the nuScenes attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attribute {
    /// Annotated as having none: its attribute error is not defined.
    #[serde(rename = "")]
    Empty,
    /// `vehicle.moving`
    #[serde(rename = "vehicle.moving")]
    VehicleMoving,
    /// `vehicle.parked`
    #[serde(rename = "vehicle.parked")]
    VehicleParked,
    /// `vehicle.stopped`
    #[serde(rename = "vehicle.stopped")]
    VehicleStopped,
    /// `cycle.with_rider`
    #[serde(rename = "cycle.with_rider")]
    CycleWithRider,
    /// `cycle.without_rider`
    #[serde(rename = "cycle.without_rider")]
    CycleWithoutRider,
    /// `pedestrian.moving`
    #[serde(rename = "pedestrian.moving")]
    PedestrianMoving,
    /// `pedestrian.standing`
    #[serde(rename = "pedestrian.standing")]
    PedestrianStanding,
    /// `pedestrian.sitting_lying_down`
    #[serde(rename = "pedestrian.sitting_lying_down")]
    PedestrianSittingLyingDown,
}

/// One annotated or predicted box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalBox {
    /// Index into the configuration's classes.
    pub class: usize,
    /// Centre in the global frame (m).
    pub translation: [f64; 3],
    /// Width, length, height (m).
    pub size: [f64; 3],
    /// Orientation in the global frame: w, x, y, z, any length but zero.
    pub rotation: [f64; 4],
    /// x and y velocity in the global frame (m/s); NaN when unknown.
    pub velocity: [f64; 2],
    /// Centre minus the ego position, axes of the global frame (m).
    pub ego_translation: [f64; 3],
    /// LiDAR and radar points inside; −1 when not counted, as for predictions.
    pub num_pts: i64,
    /// Confidence; without meaning for ground truth.
    pub score: f64,
    /// `None` (an annotation that knows no attributes, as in T4) counts as wrong for every pair.
    pub attribute: Option<Attribute>,
}

impl EvalBox {
    /// Horizontal distance from the ego vehicle (m).
    #[must_use]
    pub fn ego_distance(&self) -> f64 {
        let [x, y, _] = self.ego_translation;
        (x * x + y * y).sqrt()
    }

    /// Horizontal distance of the centres (m).
    #[must_use]
    pub fn center_distance(&self, other: &Self) -> f64 {
        let [dx, dy] = [0, 1].map(|axis| self.translation[axis] - other.translation[axis]);
        (dx * dx + dy * dy).sqrt()
    }

    /// Heading of the box's x axis in the global frame (rad).
    #[must_use]
    pub fn yaw(&self) -> f64 {
        let [w, x, y, z] = self.rotation;
        (2.0 * (x * y + w * z)).atan2(w * w + x * x - y * y - z * z)
    }
}

/// Boxes by sample. The order of samples and boxes decides among equal scores and distances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalBoxes {
    /// Sample token and its boxes.
    pub samples: Vec<(String, Vec<EvalBox>)>,
}

impl EvalBoxes {
    /// Number of boxes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.iter().map(|(_, boxes)| boxes.len()).sum()
    }

    /// Whether there are no boxes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why boxes cannot be scored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The two sides do not cover the same samples.
    #[error(
        "sample {token} is in the {present} but not in the {absent}; every sample of the split needs \
         an entry, an empty list where nothing was detected"
    )]
    Samples {
        /// The sample.
        token: String,
        /// Side that has it.
        present: &'static str,
        /// Side that lacks it.
        absent: &'static str,
    },
    /// A sample occurs twice on one side.
    #[error("sample {token} occurs twice in the {side}")]
    Repeated {
        /// The sample.
        token: String,
        /// The side.
        side: &'static str,
    },
    /// More predictions than the metric allows.
    #[error(
        "sample {token} has {found} predictions, expected at most {limit}; keep the best {limit}"
    )]
    TooMany {
        /// The sample.
        token: String,
        /// Predictions found.
        found: usize,
        /// Most allowed.
        limit: usize,
    },
    /// A box that cannot be scored.
    #[error("{side} of sample {token}, box {index}: {problem}")]
    Box {
        /// The side.
        side: &'static str,
        /// The sample.
        token: String,
        /// Index of the box in its sample.
        index: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
}
