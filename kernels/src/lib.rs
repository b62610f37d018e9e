//! Kernels of bevfusion-rt.
//!
//! [`cuda`] has a typed launcher for each `.cu` file, on top of [`driver`]. [`mod@reference`] holds the CPU
//! twin of each kernel in plain Rust: the engine of machines without a GPU, and what device kernels are
//! held against.

pub mod cuda;
pub mod driver;
mod nvrtc;
pub mod reference;
