//! Model descriptions: the shipped variants, TOML files and Autoware's parameter files.
//!
//! In: a preset's name, a TOML text, Autoware's YAML texts or a [`ModelSpec`] built in code. Out: a
//! [`ModelConfig`], which exists only when every grid divides and every length fits, or
//! [`ConfigErrors`] with all problems at once. Every key is described in `docs/configuration.md`.

mod autoware;
mod check;
mod derived;
mod error;
mod form;
mod model;
mod nearest;
mod node;
mod presets;
mod read;
mod schema;
#[cfg(test)]
mod tests;

pub use autoware::{AutowareFile, AutowareModel, AutowareRuntime};
pub use error::{ConfigErrors, ConfigProblem};
pub use model::{
    BevDecoderSpec, CameraSpec, CellRounding, ClassRemapperSpec, DepthNetForm, DepthWinner,
    FourierSpec, FuserSpec, HeadSpec, HeatmapBorder, LidarEncoderSpec, ModelSpec, NmsSpec,
    PointsSpec, PostprocessSpec, SweepAlignment, SwinSpec, ViewTransformSpec, VoxelSpec,
};
pub use presets::PRESETS;

use std::ops::Deref;

/// Most cameras of a model.
pub const MAX_CAMERAS: usize = 12;

/// Labels of `autoware_perception_msgs/ObjectClassification` in the order of their numbers, as far
/// as the class remapper knows them.
pub const AUTOWARE_LABELS: [&str; 10] = [
    "UNKNOWN",
    "CAR",
    "TRUCK",
    "BUS",
    "TRAILER",
    "MOTORCYCLE",
    "BICYCLE",
    "PEDESTRIAN",
    "ANIMAL",
    "HAZARD",
];

/// A model description that was checked: every grid divides, every length fits.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    spec: ModelSpec,
    shapes: derived::Shapes,
}

impl Deref for ModelConfig {
    type Target = ModelSpec;

    fn deref(&self) -> &ModelSpec {
        &self.spec
    }
}
