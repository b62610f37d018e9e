//! Torch's format before 1.6: pickles of a magic number, the protocol, the machine, the objects and the
//! storage keys one after the other, then each storage as its element count (int64) and its bytes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::WeightsError;
use super::pickle::{self, Graph, Node};
use super::tensor::Tensor;
use super::torch_tensor::{ByteOrder, StorageRef, TensorRef, storage_ref};

/// The magic number 0x1950a86a20f9469cfc6c as a pickle stores it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Bytes of the first pickle, whatever its protocol.
const MAGIC_WITHIN: usize = 64;

/// Whether a file begins like this format.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(MAGIC_WITHIN)];
    head.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// A file held in memory: its storages can only be found by walking it.
pub(super) struct TorchLegacy {
    path: PathBuf,
    bytes: Vec<u8>,
    order: ByteOrder,
    storages: BTreeMap<String, Range<usize>>,
}

impl TorchLegacy {
    /// Reads the objects and finds the storages.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(super) fn open(path: &Path, bytes: Vec<u8>) -> Result<(Self, Graph), WeightsError> {
        let mut at = 0;
        let mut next = |entry: &str| match pickle::read(bytes.get(at..).unwrap_or_default()) {
            Ok((graph, taken)) => {
                at += taken;
                Ok(graph)
            }
            Err(source) => Err(WeightsError::Pickle {
                path: path.into(),
                entry: entry.into(),
                source,
            }),
        };
        next("magic number")?;
        next("protocol")?;
        let system = next("system")?;
        let objects = next("objects")?;
        let keys = next("storage keys")?;
        let little = system.get(system.root(), "little_endian");
        let order = match little.map(|id| system.node(id)) {
            Some(Node::Bool(false)) => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
        let mut file = Self {
            path: path.into(),
            bytes,
            order,
            storages: BTreeMap::new(),
        };
        file.find_storages(&objects, &keys, at)?;
        Ok((file, objects))
    }

    fn find_storages(
        &mut self,
        objects: &Graph,
        keys: &Graph,
        start: usize,
    ) -> Result<(), WeightsError> {
        let described = described_storages(objects);
        let mut at = start;
        for key in keys.items(keys.root()).unwrap_or_default() {
            let key = match keys.node(*key) {
                Node::Text(key) => key.clone(),
                Node::Int(key) => key.to_string(),
                _ => return Err(self.damaged("storage keys", "a key is not a string".into())),
            };
            let Some(storage) = described.get(&key) else {
                return Err(self.damaged(&key, "no object says what this storage holds".into()));
            };
            let range = self.storage_range(at, storage);
            let Some(range) = range else {
                return Err(self.damaged(&key, "the storage is truncated".into()));
            };
            at = range.end;
            self.storages.insert(key, range);
        }
        Ok(())
    }

    fn storage_range(&self, at: usize, storage: &StorageRef) -> Option<Range<usize>> {
        let count = self.bytes.get(at..)?.first_chunk::<8>()?;
        let count = match self.order {
            ByteOrder::Little => u64::from_le_bytes(*count),
            ByteOrder::Big => u64::from_be_bytes(*count),
        };
        let length = usize::try_from(count.checked_mul(storage.element.size())?).ok()?;
        let start = at + size_of::<u64>();
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    fn damaged(&self, entry: &str, problem: String) -> WeightsError {
        WeightsError::Entry {
            path: self.path.clone(),
            entry: entry.into(),
            problem,
        }
    }

    /// Values of a tensor.
    ///
    /// # Errors
    /// When its storage is absent or shorter than the tensor needs.
    pub(super) fn read(&self, name: &str, tensor: &TensorRef) -> Result<Tensor, WeightsError> {
        let Some(range) = self.storages.get(&tensor.storage.key) else {
            return Err(self.damaged(&tensor.storage.key, "the storage is not in the file".into()));
        };
        let bytes = &self.bytes[range.clone()];
        tensor
            .read(bytes, self.order)
            .map_err(|problem| WeightsError::Tensor {
                path: self.path.clone(),
                name: name.into(),
                problem,
            })
    }
}

/// Every storage that the objects refer to, also those that no tensor here uses: the walk over the file
/// needs the element size of each.
fn described_storages(objects: &Graph) -> BTreeMap<String, StorageRef> {
    let mut storages = BTreeMap::new();
    for node in objects.nodes() {
        let Node::Persistent(id) = node else { continue };
        if let Ok(storage) = storage_ref(objects, *id) {
            storages.insert(storage.key.clone(), storage);
        }
    }
    storages
}
