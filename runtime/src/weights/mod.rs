//! Weights: the native format, checkpoints of other projects, and what a model expects.
//!
//! A checkpoint file becomes named tensors ([`Checkpoint`]), these become the weights of a model with a
//! report ([`import()`]), and weights are kept in a folder of two files ([`save`], [`load`]). What a model
//! needs is derived from its description ([`expected_tensors`]). Reading a file never runs anything in it.

mod checkpoint;
mod constants;
mod error;
mod expected;
mod import;
mod pickle;
mod rename;
mod report;
mod safetensors;
mod sparse_layout;
mod tensor;
#[cfg(test)]
mod tests;
mod torch_legacy;
mod torch_tensor;
mod torch_zip;
mod variant;

pub use checkpoint::{Checkpoint, StateDict};
pub use error::WeightsError;
pub use expected::{ExpectedTensor, TensorKind, expected_tensors};
pub use import::{ImportOptions, check, import, import_file};
pub use pickle::{PickleError, PickleProblem};
pub use report::{ImportReport, MismatchedTensor, MissingTensor, ModuleCount, UnexpectedTensor};
pub use safetensors::{
    MODEL_FILE, NativeModel, WEIGHTS_FILE, load, parse as parse_safetensors,
    read as read_safetensors, save,
};
pub use tensor::{MissingWeight, Tensor, TensorData, Weights};
