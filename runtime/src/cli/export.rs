//! `bevfusion export`: the dense networks as ONNX files.

use std::fs;

use super::args::ExportArgs;
use super::{Answer, model, say};
use crate::graph::{networks, onnx};

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> Answer {
    let (config, weights) = model::with_weights(&args.model, &args.weights)?;
    fs::create_dir_all(&args.output).map_err(|e| {
        format!(
            "cannot create the output folder {}: {e}",
            args.output.display()
        )
    })?;
    for graph in networks::all(&config, &weights)? {
        let path = args.output.join(format!("{}.onnx", graph.name));
        let bytes = onnx::encode(&graph)?;
        fs::write(&path, &bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        say(&format!(
            "{} ({:.1} MB)",
            path.display(),
            bytes.len() as f64 / 1e6
        ))?;
        for (direction, ports) in [("in ", &graph.inputs), ("out", &graph.outputs)] {
            for port in ports {
                let value = graph.value(port.value);
                say(&format!(
                    "  {direction} {:<20} {:?} {:?}",
                    port.name, value.shape, value.dtype
                ))?;
            }
        }
    }
    Ok(())
}
