//! Why a dataset or a single file cannot be used: which file, which key, what to do.

use std::path::PathBuf;

use crate::input::{ImageError, PointsError};

/// Why a dataset, a frame or a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The folder holds no dataset, or more than one.
    #[error("{dataroot} is not a dataset: {problem}")]
    Layout {
        /// The folder.
        dataroot: PathBuf,
        /// What was looked for, what was found, and the remedy.
        problem: String,
    },
    /// A table's file is absent.
    #[error(
        "table {table} is missing: {path} does not exist; nuScenes tables lie in \
         DATAROOT/VERSION/, T4 tables in DATAROOT/annotation/ or DATAROOT/N/annotation/"
    )]
    TableMissing {
        /// Name, for example `sample_data`.
        table: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// A table is not a JSON list of records.
    #[error("table {table} ({path}): {problem}; it may be cut: fetch the file again")]
    TableBroken {
        /// Name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        problem: String,
    },
    /// A record of a table has a missing key or a value of the wrong type.
    #[error("table {table} ({path}), record {record}, key {key:?}: {problem}")]
    Record {
        /// Name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// Index of the record in the file.
        record: usize,
        /// The key at fault; empty where it is not known.
        key: String,
        /// Expected and found.
        problem: String,
    },
    /// Two records of a table have one token.
    #[error("table {table} ({path}): token {token:?} stands in two records; tokens must be unique")]
    TokenTwice {
        /// Name.
        table: &'static str,
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// A record refers to another that is not there.
    #[error(
        "table {table} has no record with token {token:?}, to which {referrer} refers; the tables \
         are of different versions or the file {path} is cut"
    )]
    TokenUnknown {
        /// Table in which the record should be.
        table: &'static str,
        /// Its file.
        path: PathBuf,
        /// The token.
        token: String,
        /// Who refers to it.
        referrer: String,
    },
    /// A value that no frame can be made of.
    #[error("{record}, key {key:?}: expected {expected}, found {found}")]
    Value {
        /// Table and token.
        record: String,
        /// The key.
        key: &'static str,
        /// What the key should hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// No sample's token starts so.
    #[error(
        "no sample's token starts with {prefix:?} in {dataroot} ({samples} samples); give the token, \
         or its first digits, of a record in table sample"
    )]
    SampleUnknown {
        /// As asked for.
        prefix: String,
        /// The dataset.
        dataroot: PathBuf,
        /// Samples of the dataset.
        samples: usize,
    },
    /// Several samples' tokens start so.
    #[error("several samples' tokens start with {prefix:?}: {matches}; give more digits")]
    SampleAmbiguous {
        /// As asked for.
        prefix: String,
        /// The first few.
        matches: String,
    },
    /// No scene has this name or token.
    #[error("no scene is called {name:?}; there are: {scenes}")]
    SceneUnknown {
        /// As asked for.
        name: String,
        /// The first few names.
        scenes: String,
    },
    /// The sample has no cloud, so it is no frame. Skip it and say why.
    #[error("sample {sample} has no LiDAR cloud: {reason}")]
    LidarMissing {
        /// Token of the sample.
        sample: String,
        /// Which channels were looked for, or which file.
        reason: String,
    },
    /// A file that a table or the caller names is absent.
    #[error("{path} does not exist, but {referrer} names it; is every part of the data unpacked?")]
    FileMissing {
        /// The file.
        path: PathBuf,
        /// Who names it.
        referrer: String,
    },
    /// The system cannot read a file or folder.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A point file is not one.
    #[error("point file {path}: {source}")]
    Points {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PointsError,
    },
    /// A file name that tells no format.
    #[error("{path}: unknown extension {found:?}; expected {expected}")]
    Extension {
        /// The file.
        path: PathBuf,
        /// Its extension.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// An image is not one.
    #[error("image {path}: {source}")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ImageError,
    },
    /// A calibration file is not one.
    #[error("calibration file {path}, {key}: {problem} (docs/calibration.md has an example)")]
    Calibration {
        /// The file.
        path: PathBuf,
        /// The key, for example `cameras[1].image_from_camera`.
        key: String,
        /// Expected and found.
        problem: String,
    },
    /// Images and calibrated cameras cannot be paired.
    #[error("images and the cameras of the calibration file do not match: {problem}")]
    Pairing {
        /// What is wrong and the remedy.
        problem: String,
    },
    /// A shard that is none.
    #[error("shard {text:?}: expected I/N with whole numbers and I below N, for example 0/4")]
    Shard {
        /// As asked for.
        text: String,
    },
}

impl DatasetError {
    /// Whether the sample is to be passed over with this reason while the rest of the dataset is fine.
    #[must_use]
    pub fn is_skip(&self) -> bool {
        matches!(self, Self::LidarMissing { .. })
    }
}
