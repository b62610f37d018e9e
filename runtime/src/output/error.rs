//! Why an output could not be made: each message names the file, what was found and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why an output could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system refused a file.
    #[error("cannot write {}: {source}; {}", path.display(), write_remedy(source))]
    Write {
        /// The file as the caller named it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file to be merged could not be read.
    #[error("cannot read {}: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file to be merged is not a result file.
    #[error(
        "{} is not a nuScenes detection result: {source}; expected \
         {{\"meta\": {{..}}, \"results\": {{sample_token: [box, ..]}}}}",
        path.display()
    )]
    NotAResult {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// Values that the file format cannot hold.
    #[error("cannot write {}: {reason}", path.display())]
    Content {
        /// The file as the caller named it.
        path: PathBuf,
        /// What was found, what is allowed and the remedy.
        reason: String,
    },
    /// Result files that do not belong together.
    #[error("cannot merge {}: {reason}", path.display())]
    Merge {
        /// The file at which the merge stopped.
        path: PathBuf,
        /// What differs and the remedy.
        reason: String,
    },
    /// Options that no picture can be drawn with.
    #[error("cannot draw a picture: {0}")]
    Picture(String),
    /// A recording could not be continued.
    #[cfg(feature = "cli")]
    #[error("cannot write {}: {source}", path.display())]
    Recording {
        /// The recording.
        path: PathBuf,
        /// What the MCAP writer said.
        source: mcap::McapError,
    },
    /// An image could not be encoded.
    #[cfg(feature = "cli")]
    #[error("cannot encode an image for {}: {source}", path.display())]
    Encode {
        /// The picture or recording that the image was for.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
}

impl OutputError {
    /// A closure for `map_err` on file operations.
    pub(super) fn write(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Write {
            path: path.to_path_buf(),
            source,
        }
    }

    /// A closure for `map_err` on serialisation into a file.
    pub(super) fn serialize(path: &Path) -> impl Fn(serde_json::Error) -> Self + '_ {
        |error| Self::Write {
            path: path.to_path_buf(),
            source: error.into(),
        }
    }
}

fn write_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the folder is not writable for this user: name another one or change its permissions"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a part of the path is a file, not a folder: name another folder"
        }
        io::ErrorKind::IsADirectory => "the path is a folder: add a file name",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or name a folder on another disk"
        }
        _ => "check that the folder exists and is writable, or name another one",
    }
}
