//! Weights: the native format, checkpoints of other projects, and what a model expects.

mod tensor;

pub use tensor::{MissingWeight, Tensor, TensorData, Weights};
