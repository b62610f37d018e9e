//! `bevfusion autoware`: Autoware's parameter files as a model description.

use std::fs;

use super::Answer;
use super::args::AutowareArgs;
use super::console::Console;
use crate::config::{AutowareFile, AutowareModel};

/// Runs the command: TOML on standard output, remarks on standard error.
pub(super) fn run(args: &AutowareArgs, console: &mut Console<'_>) -> Answer {
    let mut texts = Vec::new();
    for path in &args.files {
        let origin = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| format!("cannot read {origin}: {error}; check the path"))?;
        texts.push((origin, text));
    }
    let files: Vec<AutowareFile<'_>> = texts
        .iter()
        .map(|(origin, text)| AutowareFile { origin, text })
        .collect();
    let model = AutowareModel::read(&files)?;
    for (what, keys) in [
        ("taken from the shipped model", &model.assumed),
        ("not needed here", &model.ignored),
        ("unknown", &model.unknown),
    ] {
        for key in keys {
            console.remark(&format!("{what}: {key}"))?;
        }
    }
    console.say(&model.config.to_toml()?)?;
    Ok(())
}
