//! Which frame a harness times: one of a dataset, a point file, or a made-up one.

use std::error::Error;
use std::path::Path;

use bevfusion::config::{ModelConfig, ModelSpec};
use bevfusion::dataset::{Dataset, SingleFiles, read_single};
use bevfusion::input::Frame;
use bevfusion::weights::{self, MODEL_FILE, NativeModel, Weights};

use crate::synthetic;

/// Seed of the made-up frame.
const SEED: u64 = 1;

/// Where a frame comes from.
#[derive(Clone, Copy, Debug)]
pub enum FrameSource<'a> {
    /// A sample of a nuScenes or T4 dataset: its token or the beginning of it; none: the first one.
    Dataset(&'a Path, Option<&'a str>),
    /// A point file with the model's columns; no cameras.
    Points(&'a Path),
    /// A made-up drive.
    Synthetic,
}

impl FrameSource<'_> {
    /// The frame and what it is in words.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn read(&self, spec: &ModelSpec) -> Result<(String, Frame), Box<dyn Error>> {
        match self {
            Self::Synthetic => Ok((
                format!("made up, seed {SEED}"),
                synthetic::frame(spec, SEED),
            )),
            Self::Points(path) => {
                let files = SingleFiles {
                    points: path,
                    point_columns: spec.points.load_dim,
                    images: &[],
                    calibration: None,
                };
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                Ok((name.into_owned(), read_single(&files, &spec.points)?))
            }
            Self::Dataset(root, sample) => {
                let dataset = Dataset::open(root, None)?;
                let token = match sample {
                    Some(prefix) => dataset.find_sample(prefix)?.token,
                    None => {
                        let first = dataset.all_samples()?.into_iter().next();
                        first
                            .ok_or_else(|| format!("{}: no sample", root.display()))?
                            .token
                    }
                };
                let order = spec
                    .camera
                    .as_ref()
                    .map(|camera| camera.camera_order.as_slice());
                let found = dataset.frame(&token, &spec.points, order)?;
                Ok((format!("sample {token}"), found.frame))
            }
        }
    }
}

/// Description and weights of a folder.
///
/// # Errors
/// When the folder holds no model, or its weights do not fit its description.
pub fn model(folder: &Path) -> Result<(ModelConfig, Weights), Box<dyn Error>> {
    let NativeModel {
        weights,
        model_toml,
    } = weights::load(folder)?;
    let origin = folder.join(MODEL_FILE);
    let config = ModelConfig::from_toml_str(&model_toml, &origin.display().to_string())?;
    weights::check(&weights, &config)?;
    Ok((config, weights))
}
