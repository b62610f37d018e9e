//! Runs a graph with the named values as outputs.

use bevfusion::engine::TensorBuffer;
use bevfusion::graph::Graph;

use super::{Case, refused};
use crate::golden::GoldenError;

pub(super) fn run(
    case: &Case<'_>,
    graph: &Graph,
    inputs: &[&[f32]],
    names: &[&str],
) -> Result<Vec<TensorBuffer>, GoldenError> {
    let tapped = graph
        .with_outputs(names)
        .map_err(|e| refused(&graph.name, &e))?;
    let mut network = case
        .engine
        .load(&tapped)
        .map_err(|e| refused(&graph.name, &e))?;
    let mut outputs = vec![TensorBuffer::default(); names.len()];
    network
        .run(inputs, &mut outputs)
        .map_err(|e| refused(&graph.name, &e))?;
    Ok(outputs)
}

pub(super) fn floats(tensor: &TensorBuffer) -> Result<&[f32], GoldenError> {
    tensor
        .f32()
        .ok_or_else(|| refused("network output", &"integers where floats were expected"))
}

pub(super) fn integers(tensor: &TensorBuffer) -> Result<&[i64], GoldenError> {
    tensor
        .i64()
        .ok_or_else(|| refused("network output", &"floats where integers were expected"))
}
