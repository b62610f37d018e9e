//! What the kernels compute on a GPU, held against the CPU twins.

pub mod conv;
mod random;
pub mod timing;
