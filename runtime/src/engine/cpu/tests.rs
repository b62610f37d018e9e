//! The engine on small graphs whose results are known.

use super::CpuEngine;
use crate::engine::{Engine, EngineError, EngineOptions, TensorBuffer};
use crate::graph::{Graph, GraphBuilder, Windows};

fn run(graph: &Graph, inputs: &[&[f32]]) -> Result<Vec<TensorBuffer>, EngineError> {
    let options = EngineOptions { threads: Some(2) };
    let mut network = CpuEngine::new(options).load(graph)?;
    let mut outputs = vec![TensorBuffer::default(); graph.outputs.len()];
    network.run(inputs, &mut outputs)?;
    Ok(outputs)
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32).collect()
}

#[test]
fn windows_are_padded_rolled_and_cut() {
    let mut b = GraphBuilder::new("windows", "");
    let x = b.input("x", &[1, 6, 1]).unwrap();
    let windows = Windows {
        height: 2,
        width: 3,
        window: 2,
        shift: 1,
    };
    let cut = b.window_partition(x, windows).unwrap();
    let merged = b.window_merge(cut, windows).unwrap();
    let graph = b.finish(&[("cut", cut), ("merged", merged)]).unwrap();
    // Padded rows 1 2 3 0 / 4 5 6 0 rolled by one: 5 6 0 4 / 2 3 0 1.
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let out = run(&graph, &[&x]).unwrap();
    let cut = [5.0, 6.0, 2.0, 3.0, 0.0, 4.0, 0.0, 1.0];
    assert_eq!(out[0], TensorBuffer::F32(cut.to_vec()));
    assert_eq!(out[1], TensorBuffer::F32(x.to_vec()));
}

#[test]
fn among_equals_the_lower_index_is_first() {
    let mut b = GraphBuilder::new("top", "");
    let x = b.input("x", &[6]).unwrap();
    let [values, indices] = b.top_k(x, 3).unwrap();
    let graph = b
        .finish(&[("values", values), ("indices", indices)])
        .unwrap();
    let out = run(&graph, &[&[0.5, 2.0, 0.5, 0.5, 2.0, 0.1]]).unwrap();
    assert_eq!(out[0], TensorBuffer::F32(vec![2.0, 2.0, 0.5]));
    assert_eq!(out[1], TensorBuffer::I64(vec![1, 4, 0]));
}

#[test]
fn equal_marks_and_pooling_ignores_what_lies_outside() {
    let mut b = GraphBuilder::new("peaks", "");
    let x = b.input("x", &[1, 1, 2, 3]).unwrap();
    let largest = b.max_pool2d(x, 3, 1).unwrap();
    let peak = b.equal(x, largest).unwrap();
    let graph = b.finish(&[("largest", largest), ("peak", peak)]).unwrap();
    let out = run(&graph, &[&[-5.0, -4.0, -9.0, -6.0, -7.0, -2.0]]).unwrap();
    let largest = vec![-4.0, -2.0, -2.0, -4.0, -2.0, -2.0];
    assert_eq!(out[0], TensorBuffer::F32(largest));
    assert_eq!(
        out[1],
        TensorBuffer::F32(vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    );
}

#[test]
fn a_transposed_convolution_spreads_each_cell() {
    let mut b = GraphBuilder::new("spread", "");
    let x = b.input("x", &[1, 1, 1, 2]).unwrap();
    let weight = b.constant(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let y = b.conv_transpose2d(x, weight, None, 2).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let out = run(&graph, &[&[1.0, 10.0]]).unwrap();
    let want = vec![1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0];
    assert_eq!(out[0], TensorBuffer::F32(want));
}

#[test]
fn a_wrong_call_names_the_input() {
    let mut b = GraphBuilder::new("copy", "");
    let x = b.input("points", &[2, 3]).unwrap();
    let y = b.relu(x).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let error = run(&graph, &[&ramp(5)]).unwrap_err().to_string();
    assert!(
        error.contains("\"points\" [2, 3] takes 6 values, 5"),
        "{error}"
    );
    let error = run(&graph, &[]).unwrap_err();
    assert!(matches!(
        error,
        EngineError::Count {
            expected: 1,
            found: 0,
            ..
        }
    ));
}
