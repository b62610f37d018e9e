//! `bevfusion import`: a PyTorch checkpoint as a weights folder.

use super::Answer;
use super::args::ImportArgs;
use super::console::Console;
use crate::config::ModelConfig;
use crate::weights::{self, ImportOptions};

/// Runs the command.
pub(super) fn run(args: &ImportArgs, console: &mut Console<'_>) -> Answer {
    let config = ModelConfig::load(&args.model)?;
    let options = ImportOptions {
        strict: !args.no_strict,
        ema: args.ema,
    };
    let (loaded, report) = weights::import_file(&args.checkpoint, &config, options)?;
    weights::save(&args.output, &loaded, &config.to_toml()?)?;
    if args.json {
        console.say(&serde_json::to_string_pretty(&report)?)?;
    } else {
        console.say(&format!("{report}\nweights in {}", args.output.display()))?;
    }
    Ok(())
}
