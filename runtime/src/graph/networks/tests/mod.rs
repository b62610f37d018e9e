//! The networks against the numbers of the specification's appendix T, on the CPU engine.

mod camera;
mod fixtures;
mod lidar;

use crate::engine::{CpuEngine, Engine, EngineOptions, TensorBuffer};
use crate::graph::Graph;

fn run_on(graph: &Graph, inputs: &[&[f32]], threads: usize) -> Vec<TensorBuffer> {
    let options = EngineOptions {
        threads: Some(threads),
    };
    let mut network = CpuEngine::new(options).load(graph).unwrap();
    let mut outputs = vec![TensorBuffer::default(); graph.outputs.len()];
    network.run(inputs, &mut outputs).unwrap();
    outputs
}

fn run(graph: &Graph, names: &[&str], inputs: &[&[f32]]) -> Vec<TensorBuffer> {
    run_on(&graph.with_outputs(names).unwrap(), inputs, 2)
}

fn f32s(buffer: &TensorBuffer) -> &[f32] {
    buffer.f32().unwrap()
}
