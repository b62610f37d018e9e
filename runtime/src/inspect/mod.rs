//! What a model is made of, stage by stage: shapes, parameters, operations, memory.
//!
//! Nothing is run and no weights are needed: the networks are built from the description with zeros.

mod sparse;

use std::fmt;

use serde::Serialize;

use crate::config::ModelConfig;
use crate::graph::{Graph, GraphError, networks, stats};
use crate::weights::{Tensor, TensorData, TensorKind, Weights, expected_tensors};

/// One row: a stage or a named step of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// Stage, for example `head`.
    pub stage: String,
    /// Step, for example `head.dense_heatmap`.
    pub step: String,
    /// Extents of what the step makes.
    pub shape: Vec<usize>,
    /// Stored numbers.
    pub parameters: u64,
    /// Floating-point operations; a multiply-add counts as two. Sparse stages: at `max_voxels`, each
    /// output with as many inputs as can be active, so an upper bound.
    pub flops: u64,
    /// Bytes of the buffer that holds the step's result in float32.
    pub bytes: u64,
}

/// A model's stages in the order of the frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Name of the model.
    pub model: String,
    /// Rows.
    pub stages: Vec<StageCost>,
}

/// Lists the stages of a model.
///
/// # Errors
/// When a network cannot be built from the description.
pub fn inspect(config: &ModelConfig) -> Result<Inspection, GraphError> {
    let weights = zeros(config);
    let mut stages = sparse::rows(config);
    for graph in networks::all(config, &weights)? {
        stages.extend(steps(&graph));
    }
    Ok(Inspection {
        model: config.name.clone(),
        stages,
    })
}

fn zeros(config: &ModelConfig) -> Weights {
    let tensors = expected_tensors(config)
        .into_iter()
        .filter(|expected| !matches!(expected.kind, TensorKind::Constant))
        .map(|expected| {
            let length = expected.shape.iter().product();
            let data = TensorData::F32(vec![0.0; length]);
            (
                expected.name,
                Tensor {
                    shape: expected.shape,
                    data,
                },
            )
        })
        .collect();
    Weights { tensors }
}

/// The named steps of a network; nodes between two names count for the later one.
fn steps(graph: &Graph) -> Vec<StageCost> {
    let mut rows = Vec::new();
    let mut named: Vec<_> = graph
        .names
        .iter()
        .map(|(name, id)| (*id, name.as_str()))
        .collect();
    named.extend(
        graph
            .outputs
            .iter()
            .map(|port| (port.value, port.name.as_str())),
    );
    let mut seen = vec![false; graph.values.len()];
    let (mut flops, mut parameters) = (0, 0);
    for cost in stats::stats(graph).nodes {
        let node = &graph.nodes[cost.node];
        flops += cost.flops;
        for input in &node.inputs {
            let value = graph.value(*input);
            if value.constant.is_some() && !std::mem::replace(&mut seen[input.0], true) {
                parameters += value.len() as u64;
            }
        }
        let Some((id, name)) = named
            .iter()
            .find(|(id, _)| node.outputs.contains(id))
            .copied()
        else {
            continue;
        };
        let value = graph.value(id);
        rows.push(StageCost {
            stage: graph.name.clone(),
            step: name.to_owned(),
            shape: value.shape.clone(),
            parameters,
            flops,
            bytes: 4 * value.len() as u64,
        });
        (flops, parameters) = (0, 0);
    }
    rows
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        let [stage, step, shape] = ["stage", "step", "shape"];
        writeln!(
            f,
            "{stage:<16} {step:<28} {shape:<24} {:>12} {:>10} {:>10}",
            "parameters", "GFLOP", "MiB"
        )?;
        for row in &self.stages {
            let shape = row
                .shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join("×");
            writeln!(
                f,
                "{:<16} {:<28} {shape:<24} {:>12} {:>10.3} {:>10.2}",
                row.stage,
                row.step,
                row.parameters,
                row.flops as f64 / 1e9,
                mebibytes(row.bytes)
            )?;
        }
        let sum = |field: fn(&StageCost) -> u64| self.stages.iter().map(field).sum::<u64>();
        write!(
            f,
            "total: {} stored numbers, {:.1} GFLOP, {:.0} MiB of stage results",
            sum(|row| row.parameters),
            sum(|row| row.flops) as f64 / 1e9,
            mebibytes(sum(|row| row.bytes))
        )
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
