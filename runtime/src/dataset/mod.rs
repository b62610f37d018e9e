//! Readers of nuScenes and T4 datasets and of single files.
//!
//! [`Dataset`] opens either layout and gives a [`SampleFrame`] per sample: clouds and images as the
//! pipeline takes them, and annotated boxes in the key cloud's frame. [`read_single`] makes a frame of
//! a point file, images and a calibration file; [`synthetic`] makes frames up. Nothing here writes to the
//! data.

mod boxes;
mod calibration;
mod classes;
mod error;
mod files;
mod layout;
mod reader;
mod rows;
mod sensors;
mod shard;
mod single;
pub mod synthetic;
mod table;
mod tables;
mod token;

pub use boxes::GroundTruthBox;
pub use calibration::{NamedCalibration, parse_calibration, read_calibration};
pub use classes::{NUSCENES_CLASSES, T4_CLASSES};
pub use error::DatasetError;
pub use files::{read_image, read_points};
pub use layout::Layout;
pub use reader::{Dataset, SampleFrame, SampleInfo, SampleTruth, SceneInfo};
pub use shard::Shard;
pub use single::{SingleFiles, read_single};
pub use tables::parse_table;
