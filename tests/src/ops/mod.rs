//! Conformance of single operators with `ops/*.safetensors` of a golden set.

pub mod camera;
pub mod head;
pub mod lidar;
pub mod networks;
pub mod training;
