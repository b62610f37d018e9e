#![forbid(unsafe_code)]
//! The trainer's arithmetic in plain Rust, without a tensor library.
//!
//! [`targets`] turns proposals and ground truth into what the head should have said, [`loss`] says how
//! wrong it was and in which direction, [`schedule`] sets the step size, and [`eval`] scores the result
//! with the published metrics. [`cli`] is the `bevfusion-train` command.

pub mod cli;
pub mod eval;
pub mod loss;
pub mod schedule;
pub mod targets;
