//! Finds the model description and the weights that a command names.

use std::error::Error;
use std::path::Path;

use super::Answer;
use super::args::ModelArgs;
use super::console::Console;
use crate::config::{ModelConfig, PRESETS};
use crate::weights::{self, MODEL_FILE, NativeModel, Weights};

/// The model of `--model`, or of the weights folder when it is not given.
pub(super) fn with_weights(
    model: &ModelArgs,
    folder: &Path,
) -> Result<(ModelConfig, Weights), Box<dyn Error>> {
    let NativeModel {
        weights,
        model_toml,
    } = weights::load(folder)?;
    let config = match &model.model {
        Some(name) => ModelConfig::load(name)?,
        None => {
            let origin = folder.join(MODEL_FILE);
            ModelConfig::from_toml_str(&model_toml, &origin.display().to_string())?
        }
    };
    weights::check(&weights, &config).map_err(|error| {
        let shown = folder.display();
        let remedy = match &model.model {
            Some(name) => format!(
                "leave --model out to use {shown}/{MODEL_FILE}, or name the weights of {name}"
            ),
            None => format!("{shown} holds files of two models: import the checkpoint again"),
        };
        format!("weights folder {shown}: {error}\n  {remedy}")
    })?;
    Ok((config, weights))
}

/// `bevfusion models`
pub(super) fn list(console: &mut Console<'_>) -> Answer {
    for name in PRESETS {
        let config = ModelConfig::preset(name)?;
        let branches = match (&config.lidar_encoder, &config.camera) {
            (Some(_), Some(_)) => "camera + LiDAR",
            (Some(_), None) => "LiDAR",
            (None, _) => "camera, depth from LiDAR",
        };
        let [_, _, _, range, ..] = config.voxel.point_cloud_range;
        let classes = config.class_names.len();
        console.say(&format!(
            "{name:<18} {branches:<26} ±{range:<6} m  {classes} classes"
        ))?;
    }
    Ok(())
}
