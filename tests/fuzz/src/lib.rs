//! What the targets of weight files check: an error names the file, and values fill the shape.

use std::path::Path;

use bevfusion::weights::{Checkpoint, StateDict, Tensor, TensorData};

/// Name of every weight file here.
pub const FILE: &str = "input.pth";
/// Tensors read of one file: what the next ones do is the same.
const TENSORS: usize = 8;

/// Opens a checkpoint and reads its first tensors.
pub fn check_checkpoint(bytes: Vec<u8>, wanted: StateDict) {
    let mut checkpoint = match Checkpoint::from_bytes(Path::new(FILE), bytes, wanted) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(error.to_string().contains(FILE)),
    };
    for (name, shape) in checkpoint.shapes().into_iter().take(TENSORS) {
        match checkpoint.read(&name) {
            Ok(tensor) => {
                assert_eq!(tensor.shape, shape);
                check_tensor(&tensor);
            }
            Err(error) => assert!(error.to_string().contains(FILE)),
        }
    }
}

/// A tensor has as many values as its shape says.
pub fn check_tensor(tensor: &Tensor) {
    let values = match &tensor.data {
        TensorData::F32(values) => values.len(),
        TensorData::I64(values) => values.len(),
    };
    assert_eq!(values, tensor.shape.iter().product::<usize>());
}
