//! Golden files: safetensors beside JSON settings, read whole.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// Why a golden file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file cannot be read.
    #[error("cannot read golden file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("golden file {path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The code under test refused the case.
    #[error("{stage}: {problem}")]
    Refused {
        /// Stage under test.
        stage: String,
        /// Its error.
        problem: String,
    },
}

/// The golden files: `BEVFUSION_GOLDEN_DIR`, else `shared/golden` beside the repository; `None` when there
/// are none.
#[must_use]
pub fn golden_dir() -> Option<PathBuf> {
    shared_dir("BEVFUSION_GOLDEN_DIR", "golden")
}

/// The sample datasets: `BEVFUSION_DATA_DIR`, else `shared/data` beside the repository; `None` when there
/// are none.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    shared_dir("BEVFUSION_DATA_DIR", "data")
}

/// The tables of facts: `BEVFUSION_SPEC_DIR`, else `shared/spec` beside the repository; `None` when there
/// are none.
#[must_use]
pub fn spec_dir() -> Option<PathBuf> {
    shared_dir("BEVFUSION_SPEC_DIR", "spec")
}

fn shared_dir(variable: &str, folder: &str) -> Option<PathBuf> {
    let beside = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared")
            .join(folder)
    };
    let path = std::env::var_os(variable).map_or_else(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

/// Says that a test has nothing to compare with; on CI that is a failure.
#[expect(
    clippy::print_stderr,
    reason = "a skipped comparison must be seen in the tests' output"
)]
pub fn skipped(what: &str) {
    let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!on_ci, "{what} is absent, and CI must compare with it");
    eprintln!("skipped: {what} is absent");
}

/// One safetensors file.
pub struct GoldenFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl GoldenFile {
    /// Reads `path` and checks its header.
    ///
    /// # Errors
    /// When the file cannot be read or is not safetensors.
    pub fn open(path: &Path) -> Result<Self, GoldenError> {
        let bytes = read(path)?;
        let file = Self {
            path: path.into(),
            bytes,
        };
        file.tensors()?;
        Ok(file)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, GoldenError> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.malformed(error.to_string()))
    }

    fn malformed(&self, problem: String) -> GoldenError {
        GoldenError::Malformed {
            path: self.path.clone(),
            problem,
        }
    }

    /// Whether `name` exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors().is_ok_and(|t| t.tensor(name).is_ok())
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// When the header is broken.
    pub fn names(&self) -> Result<Vec<String>, GoldenError> {
        let mut names: Vec<String> = self
            .tensors()?
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Shape of `name`.
    ///
    /// # Errors
    /// When the tensor is absent.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, GoldenError> {
        let tensors = self.tensors()?;
        let view = tensors
            .tensor(name)
            .map_err(|e| self.malformed(format!("{name}: {e}")))?;
        Ok(view.shape().to_vec())
    }

    /// Values of a float tensor as float64.
    ///
    /// # Errors
    /// When the tensor is absent or not a float.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, GoldenError> {
        let tensors = self.tensors()?;
        let view = tensors
            .tensor(name)
            .map_err(|e| self.malformed(format!("{name}: {e}")))?;
        match view.dtype() {
            Dtype::F32 => Ok(chunks::<4>(view.data())
                .map(|b| f32::from_le_bytes(b).into())
                .collect()),
            Dtype::F64 => Ok(chunks::<8>(view.data()).map(f64::from_le_bytes).collect()),
            other => Err(self.malformed(format!("{name} is {other:?}, expected a float"))),
        }
    }

    /// Values of a float32 tensor.
    ///
    /// # Errors
    /// When the tensor is absent or not float32.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, GoldenError> {
        let tensors = self.tensors()?;
        let view = tensors
            .tensor(name)
            .map_err(|e| self.malformed(format!("{name}: {e}")))?;
        if view.dtype() != Dtype::F32 {
            return Err(self.malformed(format!("{name} is {:?}, expected F32", view.dtype())));
        }
        Ok(chunks::<4>(view.data()).map(f32::from_le_bytes).collect())
    }

    /// Values of an integer tensor of any width.
    ///
    /// # Errors
    /// When the tensor is absent or not an integer.
    pub fn i64(&self, name: &str) -> Result<Vec<i64>, GoldenError> {
        let tensors = self.tensors()?;
        let view = tensors
            .tensor(name)
            .map_err(|e| self.malformed(format!("{name}: {e}")))?;
        let data = view.data();
        match view.dtype() {
            Dtype::I64 => Ok(chunks::<8>(data).map(i64::from_le_bytes).collect()),
            Dtype::I32 => Ok(chunks::<4>(data)
                .map(|b| i32::from_le_bytes(b).into())
                .collect()),
            Dtype::I16 => Ok(chunks::<2>(data)
                .map(|b| i16::from_le_bytes(b).into())
                .collect()),
            Dtype::U8 | Dtype::BOOL => Ok(data.iter().map(|b| i64::from(*b)).collect()),
            other => Err(self.malformed(format!("{name} is {other:?}, expected an integer"))),
        }
    }

    /// Bytes of a u8 tensor.
    ///
    /// # Errors
    /// When the tensor is absent or not u8.
    pub fn u8(&self, name: &str) -> Result<Vec<u8>, GoldenError> {
        let tensors = self.tensors()?;
        let view = tensors
            .tensor(name)
            .map_err(|e| self.malformed(format!("{name}: {e}")))?;
        if view.dtype() != Dtype::U8 {
            return Err(self.malformed(format!("{name} is {:?}, expected U8", view.dtype())));
        }
        Ok(view.data().to_vec())
    }
}

fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.as_chunks::<N>().0.iter().copied()
}

fn read(path: &Path) -> Result<Vec<u8>, GoldenError> {
    fs::read(path).map_err(|source| GoldenError::Io {
        path: path.into(),
        source,
    })
}

/// Reads a JSON file of a golden set.
///
/// # Errors
/// When the file cannot be read or does not have the type's form.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, GoldenError> {
    serde_json::from_slice(&read(path)?).map_err(|error| GoldenError::Malformed {
        path: path.into(),
        problem: error.to_string(),
    })
}
