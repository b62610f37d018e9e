//! Torch's zip format: `NAME/data.pkl` with the objects, `NAME/data/KEY` with the bytes of each storage,
//! `NAME/byteorder` in newer files. A storage is read when a tensor asks for it.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::WeightsError;
use super::pickle::{self, Graph};
use super::tensor::Tensor;
use super::torch_tensor::{ByteOrder, StorageRef, TensorRef};

/// Bytes of `data.pkl`; those of full-size training checkpoints have well below 10 MB.
const MAX_PICKLE: u64 = 256 << 20;
/// Bytes of one storage.
const MAX_STORAGE: u64 = 2 << 30;

/// A file or bytes in memory.
pub(super) trait Archive: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> Archive for T {}

/// An open archive.
pub(super) struct TorchZip {
    path: PathBuf,
    archive: ZipArchive<Box<dyn Archive>>,
    folder: String,
    order: ByteOrder,
    /// The storage that was read last: tensors that share one often come one after the other.
    last: Option<(String, Vec<u8>)>,
}

impl TorchZip {
    /// Opens an archive and reads its objects, not its storages.
    ///
    /// # Errors
    /// When the archive is damaged or is not torch's.
    pub(super) fn open(
        path: &Path,
        archive: Box<dyn Archive>,
    ) -> Result<(Self, Graph), WeightsError> {
        let archive = ZipArchive::new(archive).map_err(|error| WeightsError::NotACheckpoint {
            path: path.into(),
            problem: format!(
                "its zip directory cannot be read ({error}); the file is incomplete or damaged: \
                 copy or download it again"
            ),
        })?;
        let Some(folder) = archive.file_names().find_map(|name| {
            let folder = name.ok()?.strip_suffix("data.pkl")?.to_owned();
            (folder.is_empty() || folder.ends_with('/')).then_some(folder)
        }) else {
            return Err(WeightsError::NotACheckpoint {
                path: path.into(),
                problem: "the zip archive has no data.pkl, so torch.save did not write it".into(),
            });
        };
        let mut source = Self {
            path: path.into(),
            archive,
            folder,
            order: ByteOrder::Little,
            last: None,
        };
        source.order = source.byte_order()?;
        let entry = format!("{}data.pkl", source.folder);
        let bytes = source.entry(&entry, MAX_PICKLE)?;
        match pickle::read(&bytes) {
            Ok((graph, _)) => Ok((source, graph)),
            Err(error) => Err(WeightsError::Pickle {
                path: path.into(),
                entry,
                source: error,
            }),
        }
    }

    fn byte_order(&mut self) -> Result<ByteOrder, WeightsError> {
        let entry = format!("{}byteorder", self.folder);
        if self.archive.index_for_name(&entry).is_none() {
            return Ok(ByteOrder::Little);
        }
        let bytes = self.entry(&entry, "little".len() as u64)?;
        match bytes.as_slice() {
            b"little" => Ok(ByteOrder::Little),
            b"big" => Ok(ByteOrder::Big),
            _ => Err(self.damaged(&entry, "neither little nor big".into())),
        }
    }

    fn damaged(&self, entry: &str, problem: String) -> WeightsError {
        WeightsError::Entry {
            path: self.path.clone(),
            entry: entry.into(),
            problem,
        }
    }

    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = Vec::new();
        let problem = match self.archive.by_name(name) {
            Ok(entry) if entry.size() > limit => {
                format!("{} bytes, more than the {limit} expected", entry.size())
            }
            Ok(entry) => match entry.take(limit + 1).read_to_end(&mut bytes) {
                Ok(_) if bytes.len() as u64 <= limit => return Ok(bytes),
                Ok(_) => format!("more than the {limit} bytes expected"),
                Err(error) => format!("cannot be unpacked ({error}); the file is damaged"),
            },
            Err(error) => format!("cannot be read ({error}); the file is incomplete or damaged"),
        };
        Err(self.damaged(name, problem))
    }

    /// Values of a tensor.
    ///
    /// # Errors
    /// When its storage is absent, damaged or shorter than the tensor needs.
    pub(super) fn read(&mut self, name: &str, tensor: &TensorRef) -> Result<Tensor, WeightsError> {
        let key = tensor.storage.key.as_str();
        if self.last.as_ref().is_none_or(|(last, _)| last != key) {
            let bytes = self.storage(&tensor.storage)?;
            self.last = Some((key.into(), bytes));
        }
        let bytes = self.last.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        tensor
            .read(bytes, self.order)
            .map_err(|problem| WeightsError::Tensor {
                path: self.path.clone(),
                name: name.into(),
                problem,
            })
    }

    fn storage(&mut self, storage: &StorageRef) -> Result<Vec<u8>, WeightsError> {
        let entry = format!("{}data/{}", self.folder, storage.key);
        let expected = storage
            .elements
            .checked_mul(storage.element.size())
            .filter(|bytes| *bytes <= MAX_STORAGE);
        let Some(expected) = expected else {
            let problem = format!("a storage of {} elements is too large", storage.elements);
            return Err(self.damaged(&entry, problem));
        };
        let bytes = self.entry(&entry, expected)?;
        if (bytes.len() as u64) < expected {
            let found = bytes.len();
            let problem = format!("{found} bytes, expected {expected}: the storage is truncated");
            return Err(self.damaged(&entry, problem));
        }
        Ok(bytes)
    }
}
