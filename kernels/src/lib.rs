//! Kernels of bevfusion-rt.
//!
//! [`mod@reference`] holds the CPU twin of each kernel in plain Rust: the engine of machines without a
//! GPU, and what device kernels will be held against.

pub mod reference;
