//! `bevfusion inspect`: what a model or an ONNX file is made of.

use std::fs;
use std::path::Path;

use super::Answer;
use super::args::InspectArgs;
use super::console::Console;
use crate::config::ModelConfig;
use crate::graph::read::{TensorSummary, summarise};
use crate::inspect::inspect;

/// Runs the command.
pub(super) fn run(args: &InspectArgs, console: &mut Console<'_>) -> Answer {
    if let Some(path) = &args.onnx {
        return onnx(path, console);
    }
    let Some(name) = &args.model.model else {
        return Err(
            "name a model (--model NAME|FILE, see `bevfusion models`) or an ONNX file".into(),
        );
    };
    let inspection = inspect(&ModelConfig::load(name)?)?;
    if args.json {
        console.say(&serde_json::to_string_pretty(&inspection)?)?;
    } else {
        console.say(&inspection.to_string())?;
    }
    Ok(())
}

fn onnx(path: &Path, console: &mut Console<'_>) -> Answer {
    let shown = path.display();
    let bytes =
        fs::read(path).map_err(|error| format!("cannot read {shown}: {error}; check the path"))?;
    let summary = summarise(&bytes).map_err(|error| format!("{shown}: {error}"))?;
    let opsets: Vec<String> = summary
        .opsets
        .iter()
        .map(|(domain, version)| {
            format!("{}{version}", if domain.is_empty() { "" } else { domain })
        })
        .collect();
    console.say(&format!(
        "{}: {} (ir {}, opset {}, by {})",
        shown,
        summary.name,
        summary.ir_version,
        opsets.join(" "),
        summary.producer
    ))?;
    if !summary.description.is_empty() {
        console.say(&summary.description)?;
    }
    let mut port = |direction: &str, t: &TensorSummary| {
        console.say(&format!(
            "{direction} {:<24} {} [{}]",
            t.name,
            t.dtype,
            t.shape.join(", ")
        ))
    };
    for tensor in &summary.inputs {
        port("in ", tensor)?;
    }
    for tensor in &summary.outputs {
        port("out", tensor)?;
    }
    let stored: usize = summary
        .initializers
        .iter()
        .map(|tensor| tensor.stored_bytes)
        .sum();
    console.say(&format!(
        "{} weights, {:.1} MB",
        summary.initializers.len(),
        stored as f64 / 1e6
    ))?;
    for (op, count) in summary.op_counts() {
        console.say(&format!("{count:>6} {op}"))?;
    }
    Ok(())
}
