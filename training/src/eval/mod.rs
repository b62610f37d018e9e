//! Published detection metrics.
//!
//! In: ground truth and predictions of a whole evaluation set as plain boxes ([`boxes`]), or files of
//! them ([`read`]). Out: average precision, true-positive errors and the nuScenes detection score
//! ([`nuscenes`]), as numbers, text or JSON ([`report`]); or the T4 dataset's second metric
//! ([`t4_v2`]). Distances in metres, angles in radians, velocities in m/s.

pub mod boxes;
pub mod config;
pub mod curve;
pub mod filter;
pub mod matching;
pub mod nuscenes;
pub mod read;
pub mod report;
pub mod t4_v2;

pub use boxes::{Attribute, EvalBox, EvalBoxes, EvalError};
pub use config::{ClassConfig, EvalConfig, TpError};
pub use nuscenes::{ClassMetrics, DetectionMetrics, evaluate};
