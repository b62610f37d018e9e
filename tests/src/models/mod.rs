//! Conformance of whole models: every stage against the golden tensors of one frame.

mod boxes;
pub(crate) mod camera;
mod head;
mod lidar;
mod network;
mod noise;

use std::path::Path;

use bevfusion::config::ModelConfig;
use bevfusion::engine::Engine;
use bevfusion::graph::networks::bev_decoder;
use bevfusion::weights::Weights;

use crate::formula::formula_weights_from_json;
use crate::golden::{GoldenError, GoldenFile};
use crate::mmdet;
use crate::report::Report;
use crate::sampled::Golden;

/// Tolerances that a golden set's size suggests (golden README, "Tolerances").
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of float tensors, over their maximum.
    floats: f64,
    /// Of boxes (m, rad, m/s).
    boxes: f64,
    /// Of scores.
    scores: f64,
    /// Whether neighbours in the top-k may swap.
    swaps: bool,
}

const TINY: Limits = Limits {
    floats: 2e-5,
    boxes: 1e-4,
    scores: 2e-6,
    swaps: false,
};
const FULL: Limits = Limits {
    floats: 1e-4,
    boxes: 5e-4,
    scores: 2e-5,
    swaps: true,
};

/// One golden model with all that its stages need.
struct Case<'a> {
    config: ModelConfig,
    weights: Weights,
    inputs: GoldenFile,
    golden: Golden<'a>,
    limits: Limits,
    engine: &'a dyn Engine,
}

/// Names of the golden models in `models_dir`, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(models_dir: &Path) -> Result<Vec<String>, GoldenError> {
    let io = |source| GoldenError::Io {
        path: models_dir.into(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(models_dir).map_err(io)? {
        let file = entry.map_err(io)?.file_name();
        if let Some(name) = file
            .to_str()
            .and_then(|file| file.strip_suffix(".config.json"))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one model through every stage.
///
/// # Errors
/// When a golden file is absent or malformed, or the code refuses the model.
pub fn run(
    models_dir: &Path,
    name: &str,
    engine: &dyn Engine,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let model = mmdet::read(models_dir, name)?;
    let weights = models_dir.join(format!("{name}.weights.json"));
    let file = GoldenFile::open(&models_dir.join(format!("{name}.safetensors")))?;
    let limits = if name.starts_with("tiny") { TINY } else { FULL };
    let case = Case {
        config: ModelConfig::new(model.spec).map_err(|e| refused(name, &e))?,
        weights: formula_weights_from_json(&weights, &model.salt)?,
        inputs: GoldenFile::open(&models_dir.join(format!("{name}.inputs.safetensors")))?,
        golden: Golden {
            model: name,
            file: &file,
            tolerance: limits.floats,
        },
        limits,
        engine,
    };
    let points = case.inputs.f32("in.points")?;
    let lidar_bev = lidar::run(&case, &points, report)?;
    let features = match case.config.camera {
        Some(_) => {
            let camera_bev = camera::run(&case, &points, report)?;
            decode(&case, &[&camera_bev, &lidar_bev], report)?
        }
        None => decode(&case, &[&lidar_bev], report)?,
    };
    head::run(&case, &features, report)
}

fn decode(case: &Case<'_>, maps: &[&[f32]], report: &mut Report) -> Result<Vec<f32>, GoldenError> {
    let graph = bev_decoder(&case.config, &case.weights).map_err(|e| refused("bev_decoder", &e))?;
    let fuser = case.config.fuser.as_ref().map(|_| "fuse.out");
    let names: Vec<&str> = fuser
        .into_iter()
        .chain(["second.0", "second.1", "neck.out"])
        .collect();
    let tensors = network::run(case, &graph, maps, &names)?;
    for (name, tensor) in names.iter().zip(&tensors) {
        case.golden.floats(report, name, network::floats(tensor)?)?;
    }
    Ok(network::floats(&tensors[names.len() - 1])?.to_vec())
}

fn refused(stage: &str, problem: &dyn std::fmt::Display) -> GoldenError {
    GoldenError::Refused {
        stage: stage.into(),
        problem: problem.to_string(),
    }
}
