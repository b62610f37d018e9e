//! The frames of a measurement, read once: point files, a dataset, or made up.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::BenchArgs;
use crate::config::ModelConfig;
use crate::dataset::{Dataset, SingleFiles, read_single, synthetic};
use crate::input::Frame;

/// Seed of made-up frames.
const SEED: u64 = 1;

/// A frame and its name.
pub(super) struct Input {
    pub(super) id: String,
    pub(super) frame: Frame,
}

/// All of them.
pub(super) struct Inputs {
    /// Where they are from.
    pub(super) source: String,
    /// At least one.
    pub(super) frames: Vec<Input>,
}

impl Inputs {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// When a file cannot be read, or there is none.
    pub(super) fn read(args: &BenchArgs, config: &ModelConfig) -> Result<Self, Box<dyn Error>> {
        let Some(path) = &args.input else {
            return Ok(made_up(args.frames, config));
        };
        let files = if path.is_dir() {
            point_files(path)?
        } else {
            vec![path.clone()]
        };
        let frames = if files.is_empty() {
            of_dataset(path, args.frames, config)?
        } else {
            let columns = args.point_columns.unwrap_or(config.points.load_dim);
            let files = files.iter().take(args.frames);
            let read = files.map(|file| of_file(file, columns, config));
            read.collect::<Result<_, _>>()?
        };
        if frames.is_empty() {
            return Err(format!("{}: there is no frame to time", path.display()).into());
        }
        Ok(Self {
            source: path.display().to_string(),
            frames,
        })
    }
}

fn made_up(count: usize, config: &ModelConfig) -> Inputs {
    let frame = |index| Input {
        id: format!("made_up_{index}"),
        frame: synthetic::frame(config, SEED + index as u64),
    };
    Inputs {
        source: format!("a made-up drive, seed {SEED}"),
        frames: (0..count).map(frame).collect(),
    }
}

fn of_file(file: &Path, columns: usize, config: &ModelConfig) -> Result<Input, Box<dyn Error>> {
    let files = SingleFiles {
        points: file,
        point_columns: columns,
        images: &[],
        calibration: None,
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(Input {
        id: name.split('.').next().unwrap_or("frame").to_owned(),
        frame: read_single(&files, &config.points)?,
    })
}

/// Samples without a key cloud are passed over, as in `bevfusion detect`.
fn of_dataset(
    root: &Path,
    count: usize,
    config: &ModelConfig,
) -> Result<Vec<Input>, Box<dyn Error>> {
    let dataset = Dataset::open(root, None)?;
    let order = config.camera.as_ref();
    let order = order.map(|camera| camera.camera_order.as_slice());
    let mut frames = Vec::new();
    for sample in dataset.all_samples()? {
        if frames.len() == count {
            break;
        }
        match dataset.frame(&sample.token, &config.points, order) {
            Ok(found) => frames.push(Input {
                id: sample.token,
                frame: found.frame,
            }),
            Err(error) if error.is_skip() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(frames)
}

/// Point files right inside the folder, sorted.
fn point_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let named = |error| format!("cannot read {}: {error}; check the path", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(named)? {
        let path = entry.map_err(named)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && matches!(extension, Some("bin" | "pcd")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
