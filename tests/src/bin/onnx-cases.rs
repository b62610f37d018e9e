//! Writes what `tests/onnx/check.py` compares: the networks of small models as ONNX files, each with
//! seeded random inputs and the outputs of the CPU engine.
//!
//! Out: `MODEL.NETWORK.onnx` and `MODEL.NETWORK.safetensors` with `in.*`, `out.*` and, where proposals are
//! ranked, `rank`: the value by which they are.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bevfusion::config::{ModelConfig, ModelSpec};
use bevfusion::engine::{CpuEngine, Engine, EngineOptions, TensorBuffer};
use bevfusion::graph::{Graph, networks, onnx};
use bevfusion::weights::expected_tensors;
use bevfusion_tests::formula::{GainProfile, fnv1a, formula_weights, unit};
use bevfusion_tests::specs::{tiny, tiny_awml};
use clap::Parser;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Writes ONNX files with inputs and the CPU engine's outputs.
#[derive(Parser)]
struct Arguments {
    /// Folder to write; created if absent.
    #[arg(value_name = "DIR")]
    output: PathBuf,
}

/// Heatmap values of every proposal's cell, `[K, P]`.
const HEATMAP_SCORES: &str = "head.pred.query_heatmap_score";

/// A tensor to be written.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: TensorBuffer,
}

#[expect(clippy::print_stderr, reason = "a command tells what went wrong")]
fn main() -> ExitCode {
    match run(&Arguments::parse().output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let two_cameras = |mut spec: ModelSpec| {
        if let Some(camera) = &mut spec.camera {
            camera.camera_order = vec!["CAM_FRONT".into(), "CAM_BACK".into()];
        }
        spec
    };
    let models = [
        ("tiny_L", tiny(false)),
        ("tiny_CL", two_cameras(tiny(true))),
        ("tiny_awml", two_cameras(tiny_awml())),
    ];
    let options = EngineOptions { threads: Some(2) };
    let engine = CpuEngine::new(options);
    for (name, spec) in models {
        let config = ModelConfig::new(spec)?;
        let weights = formula_weights(&expected_tensors(&config), "", GainProfile::Tiny);
        for graph in networks::all(&config, &weights)? {
            let stem = folder.join(format!("{name}.{}", graph.name));
            fs::write(stem.with_added_extension("onnx"), onnx::encode(&graph)?)?;
            write(
                &stem.with_added_extension("safetensors"),
                &case(&engine, &graph)?,
            )?;
        }
    }
    Ok(())
}

/// Inputs in [−½, ½), outputs, ranking.
fn case(engine: &CpuEngine, graph: &Graph) -> Result<Vec<Named>, Box<dyn Error>> {
    let mut tensors = Vec::new();
    for port in &graph.inputs {
        let value = graph.value(port.value);
        let seed = fnv1a(format!("{} {}", graph.name, port.name).as_bytes());
        let values = (0..value.len() as u64).map(|index| (unit(seed, index) - 0.5) as f32);
        tensors.push(Named {
            name: format!("in.{}", port.name),
            shape: value.shape.clone(),
            values: TensorBuffer::F32(values.collect()),
        });
    }
    let outputs = outputs(engine, graph, &tensors)?;
    if graph.names.contains_key(HEATMAP_SCORES) {
        let tapped = graph.with_outputs(&[HEATMAP_SCORES])?;
        let all = self::outputs(engine, &tapped, &tensors)?;
        tensors.push(ranking(&all[0], &outputs)?);
    }
    for (port, values) in graph.outputs.iter().zip(outputs) {
        tensors.push(Named {
            name: format!("out.{}", port.name),
            shape: graph.value(port.value).shape.clone(),
            values,
        });
    }
    Ok(tensors)
}

fn outputs(
    engine: &CpuEngine,
    graph: &Graph,
    inputs: &[Named],
) -> Result<Vec<TensorBuffer>, Box<dyn Error>> {
    let inputs: Vec<&[f32]> = inputs.iter().filter_map(|t| t.values.f32()).collect();
    let mut outputs = vec![TensorBuffer::default(); graph.outputs.len()];
    engine.load(graph)?.run(&inputs, &mut outputs)?;
    Ok(outputs)
}

/// The heatmap value of each proposal's own class.
fn ranking(scores: &TensorBuffer, outputs: &[TensorBuffer]) -> Result<Named, Box<dyn Error>> {
    let labels = outputs.iter().find_map(TensorBuffer::i64);
    let (scores, labels) = scores.f32().zip(labels).ok_or("the head gives no labels")?;
    let own = |(proposal, label): (usize, &i64)| scores[*label as usize * labels.len() + proposal];
    Ok(Named {
        name: "rank".into(),
        shape: vec![labels.len()],
        values: TensorBuffer::F32(labels.iter().enumerate().map(own).collect()),
    })
}

fn write(path: &Path, tensors: &[Named]) -> Result<(), Box<dyn Error>> {
    let views: Result<Vec<(&str, TensorView<'_>)>, safetensors::SafeTensorError> = tensors
        .iter()
        .map(|tensor| {
            let (dtype, bytes): (Dtype, &[u8]) = match &tensor.values {
                TensorBuffer::F32(values) => (Dtype::F32, bytemuck::cast_slice(values)),
                TensorBuffer::I64(values) => (Dtype::I64, bytemuck::cast_slice(values)),
            };
            let view = TensorView::new(dtype, tensor.shape.clone(), bytes)?;
            Ok((tensor.name.as_str(), view))
        })
        .collect();
    Ok(safetensors::serialize_to_file(views?, None, path)?)
}
