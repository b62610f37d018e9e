#![forbid(unsafe_code)]
//! BEVFusion for vehicles: LiDAR sweeps and camera images in, 3D boxes with velocities out.
//!
//! The modules stand in the order in which bytes travel: [`config`] and [`weights`] describe a model,
//! [`input`] is what a frame holds, [`lidar`] and [`camera`] make the two BEV maps, [`graph`] and
//! [`engine`] run the dense networks, [`head`] turns their output into boxes, [`output`] is what the
//! caller gets, and [`exec`] ties them into a pipeline.

pub mod camera;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod cuda;
#[cfg(feature = "dataset")]
pub mod dataset;
pub mod engine;
pub mod exec;
pub mod geometry;
pub mod graph;
pub mod head;
pub mod input;
pub mod inspect;
pub mod lidar;
pub mod output;
pub mod weights;
