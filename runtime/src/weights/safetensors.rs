//! The native format: a folder with `model.safetensors` (float32; half precision is widened when read)
//! and `model.toml`, the description of the model that they belong to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, View};

use super::error::WeightsError;
use super::tensor::{Tensor, TensorData, Weights};

/// Name of the weights in a model folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the description in a model folder.
pub const MODEL_FILE: &str = "model.toml";

/// A model folder as read.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeModel {
    /// The weights.
    pub weights: Weights,
    /// Text of the model description.
    pub model_toml: String,
}

/// Writes a model folder, which is created if absent. Each file appears whole or not at all, the
/// description last.
///
/// # Errors
/// When the folder is read-only or the system refuses.
pub fn save(folder: &Path, weights: &Weights, model_toml: &str) -> Result<(), WeightsError> {
    fs::create_dir_all(folder).map_err(|error| refused("create", folder, error))?;
    let metadata = fs::metadata(folder).map_err(WeightsError::io("open", folder))?;
    if metadata.permissions().readonly() {
        return Err(WeightsError::ReadOnly {
            path: folder.into(),
        });
    }
    let views = weights
        .tensors
        .iter()
        .map(|(name, tensor)| (name, Bytes(tensor)));
    let bytes = safetensors::serialize(views, None).map_err(|error| WeightsError::Entry {
        path: folder.into(),
        entry: WEIGHTS_FILE.into(),
        problem: error.to_string(),
    })?;
    replace(folder, WEIGHTS_FILE, &bytes)?;
    replace(folder, MODEL_FILE, model_toml.as_bytes())
}

/// Reads a model folder, given itself or its `model.safetensors`.
///
/// # Errors
/// When one of the two files is absent or damaged.
pub fn load(path: &Path) -> Result<NativeModel, WeightsError> {
    let folder = match path.parent() {
        Some(parent) if path.is_file() => parent,
        _ => path,
    };
    let weights_file = if path.is_file() {
        path.to_owned()
    } else {
        folder.join(WEIGHTS_FILE)
    };
    let model_file = folder.join(MODEL_FILE);
    for file in [&model_file, &weights_file] {
        if !file.exists() {
            return Err(WeightsError::NotAModelFolder {
                folder: folder.into(),
                file: file.clone(),
            });
        }
    }
    let model_toml =
        fs::read_to_string(&model_file).map_err(WeightsError::io("read", &model_file))?;
    Ok(NativeModel {
        weights: read(&weights_file)?,
        model_toml,
    })
}

/// Reads the tensors of a safetensors file.
///
/// # Errors
/// When the file is absent or damaged, or holds a type of element that weights do not have.
pub fn read(path: &Path) -> Result<Weights, WeightsError> {
    parse(
        path,
        &fs::read(path).map_err(WeightsError::io("read", path))?,
    )
}

/// Reads the tensors of a safetensors file in memory; `path` names it in messages.
///
/// # Errors
/// When the bytes are damaged or hold a type of element that weights do not have.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Weights, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| WeightsError::NotACheckpoint {
        path: path.into(),
        problem: format!("it cannot be read as safetensors ({error})"),
    })?;
    let mut weights = Weights::default();
    // In the order of names, so that the same file always gives the same message.
    for (name, view) in file.iter().collect::<BTreeMap<_, _>>() {
        let Some(data) = widened(view.dtype(), view.data()) else {
            return Err(WeightsError::Tensor {
                path: path.into(),
                name: name.into(),
                problem: format!("elements of {:?} are not supported", view.dtype()),
            });
        };
        let shape = view.shape().to_vec();
        weights.tensors.insert(name.into(), Tensor { shape, data });
    }
    Ok(weights)
}

fn widened(dtype: Dtype, bytes: &[u8]) -> Option<TensorData> {
    fn each<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
        let elements = bytes.as_chunks::<N>().0;
        elements.iter().map(|raw| decode(*raw)).collect()
    }
    Some(match dtype {
        Dtype::F32 => TensorData::F32(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => TensorData::F32(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::F16 => TensorData::F32(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => TensorData::F32(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::I64 => TensorData::I64(each(bytes, i64::from_le_bytes)),
        Dtype::I32 => TensorData::I64(each(bytes, |b| i32::from_le_bytes(b).into())),
        _ => return None,
    })
}

/// A tensor as the safetensors writer wants it.
struct Bytes<'a>(&'a Tensor);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.data {
            TensorData::F32(_) => Dtype::F32,
            TensorData::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.0.data {
            TensorData::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TensorData::I64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        match &self.0.data {
            TensorData::F32(values) => size_of_val(values.as_slice()),
            TensorData::I64(values) => size_of_val(values.as_slice()),
        }
    }
}

/// Writes beside the file, syncs, and renames over it.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), WeightsError> {
    let target = folder.join(name);
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, &target));
    written.map_err(|error| {
        // The first error is the one to tell; the file may not even exist.
        fs::remove_file(&temporary).ok();
        refused("write", &target, error)
    })
}

fn write_synced(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn refused(action: &'static str, path: &Path, error: io::Error) -> WeightsError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            WeightsError::ReadOnly { path: path.into() }
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            WeightsError::NotAFolder { path: path.into() }
        }
        _ => WeightsError::io(action, path)(error),
    }
}
