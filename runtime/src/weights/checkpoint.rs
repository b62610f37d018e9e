//! Checkpoints of other projects: a file or its bytes in, named tensors out, read one by one when asked for.
//!
//! Zip and legacy torch files and safetensors files are told apart by their first bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::error::WeightsError;
use super::pickle::{Graph, NodeId};
use super::safetensors;
use super::tensor::{Tensor, Weights};
use super::torch_legacy::{TorchLegacy, is_legacy};
use super::torch_tensor::{TensorRef, tensor_ref};
use super::torch_zip::{Archive, TorchZip};

/// Which weights of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateDict {
    /// Those that the training framework itself would load.
    #[default]
    Model,
    /// The exponential moving average.
    Averaged,
}

/// An open checkpoint.
pub struct Checkpoint {
    path: PathBuf,
    state_dict: String,
    tensors: BTreeMap<String, TensorRef>,
    source: Source,
}

enum Source {
    Zip(Box<TorchZip>),
    Legacy(TorchLegacy),
    Memory(Weights),
}

/// Where state dicts lie, most specific first.
const MODEL_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model_state", "model"];
/// The same for averaged weights.
const AVERAGED_KEYS: [&str; 4] = ["state_dict_ema", "ema_state_dict", "model_ema", "ema"];
/// What wrappers put before every name.
const WRAPPER_PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// Wrappers around each other; a trainer uses one or two.
const MOST_WRAPPERS: usize = 8;
/// Counters that wrappers keep beside the model.
const WRAPPER_COUNTERS: [&str; 2] = ["steps", "n_averaged"];
/// Top-level keys that a message lists.
const LISTED_KEYS: usize = 12;

impl Checkpoint {
    /// Opens a file and finds its state dict. No tensor is read yet.
    ///
    /// # Errors
    /// When the file is damaged, is not a checkpoint, or does not have the state dict asked for.
    pub fn open(path: &Path, wanted: StateDict) -> Result<Self, WeightsError> {
        let file = File::open(path).map_err(WeightsError::io("open", path))?;
        Self::of_archive(path, Box::new(BufReader::new(file)), wanted)
    }

    /// The same for the bytes of a file; `path` names them in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(
        path: &Path,
        bytes: Vec<u8>,
        wanted: StateDict,
    ) -> Result<Self, WeightsError> {
        Self::of_archive(path, Box::new(Cursor::new(bytes)), wanted)
    }

    fn of_archive(
        path: &Path,
        mut archive: Box<dyn Archive>,
        wanted: StateDict,
    ) -> Result<Self, WeightsError> {
        let kind = kind_of(path, archive.as_mut())?;
        archive.rewind().map_err(WeightsError::io("read", path))?;
        if matches!(kind, Kind::Zip) {
            let (source, graph) = TorchZip::open(path, archive)?;
            return Self::of_graph(path, Source::Zip(Box::new(source)), &graph, wanted);
        }
        let mut bytes = Vec::new();
        archive
            .read_to_end(&mut bytes)
            .map_err(WeightsError::io("read", path))?;
        if matches!(kind, Kind::Safetensors) {
            return Ok(Self::of_weights(path, safetensors::parse(path, &bytes)?));
        }
        let (source, graph) = TorchLegacy::open(path, bytes)?;
        Self::of_graph(path, Source::Legacy(source), &graph, wanted)
    }

    /// Tensors that are in memory already, under the name of where they came from.
    #[must_use]
    pub fn of_weights(path: &Path, weights: Weights) -> Self {
        Self {
            path: path.into(),
            state_dict: "all tensors".into(),
            tensors: BTreeMap::new(),
            source: Source::Memory(weights),
        }
    }

    fn of_graph(
        path: &Path,
        source: Source,
        graph: &Graph,
        wanted: StateDict,
    ) -> Result<Self, WeightsError> {
        let (dict, state_dict) = find(path, graph, wanted)?;
        let mut tensors = BTreeMap::new();
        for (key, value) in graph.pairs(dict).unwrap_or_default() {
            let Some(name) = graph.text(*key) else {
                continue;
            };
            let tensor = tensor_ref(graph, *value).map_err(|problem| WeightsError::Tensor {
                path: path.into(),
                name: name.into(),
                problem,
            })?;
            if let Some(tensor) = tensor {
                tensors.insert(name.to_owned(), tensor);
            }
        }
        Ok(Self {
            path: path.into(),
            state_dict,
            tensors: unwrapped(tensors),
            source,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which part of the file the tensors are.
    #[must_use]
    pub fn state_dict(&self) -> &str {
        &self.state_dict
    }

    /// Name and shape of every tensor, without the prefixes of wrappers.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match &self.source {
            Source::Memory(weights) => weights.shapes(),
            Source::Zip(_) | Source::Legacy(_) => {
                let shape =
                    |(name, tensor): (&String, &TensorRef)| (name.clone(), tensor.shape.clone());
                self.tensors.iter().map(shape).collect()
            }
        }
    }

    /// Values of one tensor.
    ///
    /// # Errors
    /// When there is no such tensor, or its part of the file is damaged.
    pub fn read(&mut self, name: &str) -> Result<Tensor, WeightsError> {
        let absent = WeightsError::Tensor {
            path: self.path.clone(),
            name: name.into(),
            problem: "it is not in the state dict".into(),
        };
        match &mut self.source {
            Source::Memory(weights) => weights.tensors.get(name).cloned().ok_or(absent),
            Source::Zip(zip) => zip.read(name, self.tensors.get(name).ok_or(absent)?),
            Source::Legacy(file) => file.read(name, self.tensors.get(name).ok_or(absent)?),
        }
    }
}

enum Kind {
    Zip,
    Legacy,
    Safetensors,
}

fn kind_of(path: &Path, file: &mut dyn Archive) -> Result<Kind, WeightsError> {
    const HEAD: u64 = 512;
    const TAR_MAGIC: std::ops::Range<usize> = 257..262;
    let mut head = Vec::new();
    file.take(HEAD)
        .read_to_end(&mut head)
        .map_err(WeightsError::io("read", path))?;
    let refuse = |problem: &str| {
        Err(WeightsError::NotACheckpoint {
            path: path.into(),
            problem: problem.into(),
        })
    };
    match head.as_slice() {
        [] => refuse("the file is empty"),
        [b'P', b'K', ..] => Ok(Kind::Zip),
        [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Kind::Safetensors),
        head if is_legacy(head) => Ok(Kind::Legacy),
        head if head.get(TAR_MAGIC) == Some(b"ustar") => refuse(
            "it is a tar file, the format of torch before 0.1.10; load it with torch and save it again",
        ),
        [0x80, ..] => refuse(
            "it is a plain Python pickle, not a file of torch.save; save the state dict with torch.save",
        ),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', ..] => {
            refuse("it is a Git LFS pointer; fetch the file itself with `git lfs pull`")
        }
        _ => refuse("its first bytes are neither torch's zip, torch's old format nor safetensors"),
    }
}

/// The state dict and what to call it.
fn find(path: &Path, graph: &Graph, wanted: StateDict) -> Result<(NodeId, String), WeightsError> {
    let root = graph.root();
    let averaged_by_mmengine = graph.get(root, "ema_state_dict").is_some_and(|ema| {
        graph.get(ema, "steps").is_some() && graph.get(root, "state_dict").is_some()
    });
    if averaged_by_mmengine {
        // mmengine's EMAHook swaps on saving: the trained weights go to `ema_state_dict`.
        if let Some(dict) = tensors_under(graph, root, "state_dict") {
            return Ok((dict, "state_dict (averaged by mmengine's EMAHook)".into()));
        }
    }
    let (keys, name) = match wanted {
        StateDict::Model => (&MODEL_KEYS, "state dict"),
        StateDict::Averaged => (&AVERAGED_KEYS, "averaged (EMA) state dict"),
    };
    for key in keys {
        if let Some(dict) = tensors_under(graph, root, key) {
            return Ok((dict, (*key).into()));
        }
    }
    if wanted == StateDict::Model && has_tensors(graph, root) {
        return Ok((root, "the whole file".into()));
    }
    Err(WeightsError::NoStateDict {
        path: path.into(),
        wanted: name,
        found: top_level(graph),
        remedy: match (wanted, graph.call(root)) {
            (StateDict::Averaged, _) => "Import it without asking for averaged weights",
            (_, Some(_)) => "It is a whole pickled object: save model.state_dict() instead",
            _ => "Save {'state_dict': model.state_dict()}",
        },
    })
}

fn tensors_under(graph: &Graph, root: NodeId, key: &str) -> Option<NodeId> {
    let dict = graph.get(root, key)?;
    has_tensors(graph, dict).then_some(dict)
}

fn has_tensors(graph: &Graph, dict: NodeId) -> bool {
    let mut pairs = graph.pairs(dict).unwrap_or_default().iter();
    pairs.any(|(key, value)| {
        graph.text(*key).is_some() && !matches!(tensor_ref(graph, *value), Ok(None))
    })
}

fn top_level(graph: &Graph) -> String {
    if let Some((module, name, _)) = graph.call(graph.root()) {
        return format!("one object of {module}.{name}");
    }
    let Some(pairs) = graph.pairs(graph.root()) else {
        return "one value that is not a dict".into();
    };
    let keys = pairs.iter().filter_map(|(key, _)| graph.text(*key));
    let keys: Vec<String> = keys
        .take(LISTED_KEYS)
        .map(|key| format!("{key:?}"))
        .collect();
    format!("{} keys: {}", pairs.len(), keys.join(", "))
}

/// Names without the prefixes that every tensor has.
fn unwrapped(mut tensors: BTreeMap<String, TensorRef>) -> BTreeMap<String, TensorRef> {
    let is_counter = |name: &str| WRAPPER_COUNTERS.contains(&name);
    for _ in 0..MOST_WRAPPERS {
        let Some(prefix) = WRAPPER_PREFIXES.into_iter().find(|prefix| {
            let mut names = tensors.keys().filter(|name| !is_counter(name)).peekable();
            names.peek().is_some() && names.all(|name| name.starts_with(prefix))
        }) else {
            break;
        };
        let stripped = |(name, tensor): (String, TensorRef)| {
            let name = name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
            (name, tensor)
        };
        tensors = tensors.into_iter().map(stripped).collect();
    }
    tensors
}
