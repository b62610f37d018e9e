//! Model descriptions: the shipped variants, TOML files and Autoware's parameter files.

mod model;

pub use model::{
    BevDecoderSpec, CameraSpec, CellRounding, ClassRemapperSpec, DepthNetForm, FourierSpec,
    FuserSpec, HeadSpec, HeatmapBorder, LidarEncoderSpec, ModelSpec, NmsSpec, PointsSpec,
    PostprocessSpec, SweepAlignment, SwinSpec, ViewTransformSpec, VoxelSpec,
};

use std::ops::Deref;

/// A model description that was checked: every grid divides, every length fits.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    spec: ModelSpec,
}

impl Deref for ModelConfig {
    type Target = ModelSpec;

    fn deref(&self) -> &ModelSpec {
        &self.spec
    }
}
