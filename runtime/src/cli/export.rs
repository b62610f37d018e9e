//! `bevfusion export`: the dense networks as ONNX files.

use std::fs;

use super::args::ExportArgs;
use super::console::Console;
use super::results::create_folder;
use super::{Answer, model};
use crate::graph::{networks, onnx};
use crate::output::OutputError;

/// Runs the command.
pub(super) fn run(args: &ExportArgs, console: &mut Console<'_>) -> Answer {
    let (config, weights) = model::with_weights(&args.model, &args.weights)?;
    create_folder(&args.output)?;
    for graph in networks::all(&config, &weights)? {
        let path = args.output.join(format!("{}.onnx", graph.name));
        let bytes = onnx::encode(&graph)?;
        fs::write(&path, &bytes).map_err(|source| OutputError::Write {
            path: path.clone(),
            source,
        })?;
        console.say(&format!(
            "{} ({:.1} MB)",
            path.display(),
            bytes.len() as f64 / 1e6
        ))?;
        for (direction, ports) in [("in ", &graph.inputs), ("out", &graph.outputs)] {
            for port in ports {
                let value = graph.value(port.value);
                console.say(&format!(
                    "  {direction} {:<20} {:?} {:?}",
                    port.name, value.shape, value.dtype
                ))?;
            }
        }
    }
    Ok(())
}
