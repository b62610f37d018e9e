//! Writes a model folder with weights by formula, so that everything runs without a checkpoint.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use bevfusion::config::ModelSpec;
use bevfusion::weights::{check, expected_tensors, save};
use bevfusion_tests::formula::{GainProfile, formula_weights, formula_weights_from_json};
use clap::{Parser, ValueEnum};

/// Writes model.safetensors with reproducible made-up values, and model.toml beside it.
#[derive(Parser)]
struct Arguments {
    /// Description of the model.
    #[arg(long, value_name = "FILE")]
    model_toml: PathBuf,
    /// Take each tensor's rule from this golden list instead of its name.
    #[arg(long, value_name = "FILE")]
    weights_json: Option<PathBuf>,
    /// Folder to write; created if absent.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Put before every name, to get other values.
    #[arg(long, default_value = "")]
    salt: String,
    /// Which golden models the heatmap's gain follows.
    #[arg(long, value_enum, default_value = "full-size")]
    profile: Profile,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    Tiny,
    FullSize,
}

#[expect(clippy::print_stderr, reason = "a command tells what went wrong")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let path = &arguments.model_toml;
    let named = |error: &dyn Error| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let spec: ModelSpec = toml::from_str(&text).map_err(|error| named(&error))?;
    let weights = match &arguments.weights_json {
        Some(list) => formula_weights_from_json(list, &arguments.salt)?,
        None => {
            let profile = match arguments.profile {
                Profile::Tiny => GainProfile::Tiny,
                Profile::FullSize => GainProfile::FullSize,
            };
            formula_weights(&expected_tensors(&spec), &arguments.salt, profile)
        }
    };
    check(&weights, &spec)?;
    save(&arguments.output, &weights, &text)?;
    Ok(())
}
