//! Why weights cannot be read or written.

use std::io;
use std::path::PathBuf;

use super::pickle::PickleError;
use super::report::ImportReport;

/// Why weights cannot be read, imported or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}; check the path and its permissions")]
    Io {
        /// For example `open`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be written.
    #[error(
        "cannot write weights to {path}: the folder is read-only; choose another output folder"
    )]
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made because a file has its name.
    #[error(
        "cannot write weights to {path}: a part of this path is a file, not a folder; choose another \
         output folder"
    )]
    NotAFolder {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A file of a model folder is absent.
    #[error(
        "{folder} is no weights folder: {file} does not exist; a weights folder holds \
         model.safetensors and model.toml, as `bevfusion import` writes them"
    )]
    NotAModelFolder {
        /// The folder.
        folder: PathBuf,
        /// The file that is absent.
        file: PathBuf,
    },
    /// The file is of another kind.
    #[error("{path} is not a checkpoint: {problem}")]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: String,
    },
    /// A part of the file is damaged.
    #[error("{path}, entry {entry:?}: {problem}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Entry of the archive, or part of the file.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The objects in the file cannot be read.
    #[error("{path}, entry {entry:?}: {source}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Entry of the archive, or part of the file.
        entry: String,
        /// Where and what.
        source: PickleError,
    },
    /// One tensor is damaged or of a kind that networks do not have.
    #[error("{path}, tensor {name:?}: {problem}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Name in the file.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The checkpoint has no weights where they are looked for.
    #[error("{path} holds no {wanted}; its top level has {found}. {remedy}")]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What is there.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The tensors are not those of the model.
    #[error("{0}")]
    Unfit(Box<ImportReport>),
}

impl WeightsError {
    /// For `map_err` of file operations.
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
