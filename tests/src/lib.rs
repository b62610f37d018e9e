//! Everything that crosses the crates of bevfusion-rt: golden files, formula weights and the
//! conformance suite that every engine is held to.
#![forbid(unsafe_code)]

pub mod formula;
pub mod golden;
pub mod ops;
pub mod report;
pub mod synthetic;
pub mod specs;
