//! Named tensors of a model.

use std::collections::BTreeMap;

/// Values of one tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// float32 (half precision is widened when read).
    F32(Vec<f32>),
    /// int64.
    I64(Vec<i64>),
}

/// A tensor with its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: TensorData,
}

/// All tensors of a model under their mmdetection3d / AWML state-dict names. Sparse convolutions are
/// `[out, kx, ky, kz, in]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Name to tensor.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor that a network asked for and did not get.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingWeight {
    /// No such name.
    #[error("weight {name:?} is missing (expected shape {expected:?})")]
    Absent {
        /// State-dict name.
        name: String,
        /// Expected extents.
        expected: Vec<usize>,
    },
    /// Another shape or element type.
    #[error("weight {name:?} has shape {found:?}, expected float32 {expected:?}")]
    Mismatched {
        /// State-dict name.
        name: String,
        /// Expected extents.
        expected: Vec<usize>,
        /// Found extents.
        found: Vec<usize>,
    },
}

impl Weights {
    /// Name and shape of every tensor.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shape.clone());
        self.tensors.iter().map(shape).collect()
    }

    /// The float32 values of `name`, which must have exactly this shape.
    ///
    /// # Errors
    /// When the tensor is absent, has another shape, or is not float32.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<&[f32], MissingWeight> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(MissingWeight::Absent {
                name: name.into(),
                expected: shape.into(),
            });
        };
        match &tensor.data {
            TensorData::F32(values) if tensor.shape == shape => Ok(values),
            TensorData::F32(_) | TensorData::I64(_) => Err(MissingWeight::Mismatched {
                name: name.into(),
                expected: shape.into(),
                found: tensor.shape.clone(),
            }),
        }
    }
}
