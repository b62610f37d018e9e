//! Everything that crosses the crates of bevfusion-rt: golden files, formula weights and the
//! conformance suite that every engine is held to.
#![forbid(unsafe_code)]

pub mod command;
pub mod formula;
pub mod golden;
pub mod gpu;
pub mod home;
pub mod mmdet;
pub mod models;
pub mod ops;
pub mod report;
pub mod sampled;
pub mod small;
pub mod specs;
pub mod synthetic;
pub mod torch_file;
