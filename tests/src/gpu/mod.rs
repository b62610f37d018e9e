//! Device kernels against their CPU twins.

pub mod points;
