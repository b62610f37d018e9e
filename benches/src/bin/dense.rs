//! Times each dense network of a model on the CPU engine and, run by run in turn, on another executor.
//!
//! In: a weights folder. Out: a table on standard output, the networks as ONNX files, and an object with
//! every sample in a JSON list. Inputs are uniform random numbers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bevfusion::engine::{CpuEngine, Engine, EngineOptions, Network, TensorBuffer, TensorInfo};
use bevfusion::graph::stats::stats;
use bevfusion::graph::{Graph, networks, onnx};
use bevfusion_benches::machine::{Machine, load};
use bevfusion_benches::peer::Peer;
use bevfusion_benches::samples::Samples;
use bevfusion_benches::synthetic::Noise;
use bevfusion_benches::{frames, record};
use clap::Parser;
use serde::Serialize;

/// Times the dense networks of a model, best of several runs.
#[derive(Debug, Parser)]
#[command(after_help = "Example:
  dense --weights W --onnx DIR --peer 'python3 benches/onnxruntime_dense.py' --json dense.json")]
struct Arguments {
    /// Weights folder.
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,
    /// Folder for the ONNX files.
    #[arg(long, value_name = "DIR")]
    onnx: PathBuf,
    /// Only networks whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Command of another executor; it gets --threads and speaks the protocol of onnxruntime_dense.py.
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Threads of both sides [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Timed runs of each side, after one that is not counted.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Commit that was built, for the result.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// File whose list of results gets this one.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct DenseResult {
    model: String,
    commit: String,
    machine: Machine,
    threads: usize,
    engine: String,
    peer: Option<String>,
    networks: Vec<NetworkResult>,
}

#[derive(Serialize)]
struct NetworkResult {
    name: String,
    /// Floating-point operations of one run (10⁹), a multiply-add as two.
    gflop: f64,
    /// Runnable processes, mean of the minute before.
    load_1min: Option<f64>,
    engine_ms: Samples,
    peer_ms: Samples,
}

#[expect(clippy::print_stderr, reason = "a command tells what went wrong")]
fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let machine = Machine::here();
    let threads = arguments.threads.unwrap_or(machine.cores);
    let options = EngineOptions {
        threads: Some(threads),
    };
    let engine = CpuEngine::new(options);
    let (config, weights) = frames::model(&arguments.weights)?;
    fs::create_dir_all(&arguments.onnx)
        .map_err(|error| format!("{}: {error}", arguments.onnx.display()))?;
    let command = arguments.peer.as_deref();
    let mut peer = command
        .map(|command| Peer::start(command, threads))
        .transpose()?;
    let mut result = DenseResult {
        model: config.name.clone(),
        commit: arguments.commit.clone(),
        machine,
        threads,
        engine: engine.name().into(),
        peer: peer.as_ref().map(|peer| peer.name.clone()),
        networks: Vec::new(),
    };
    writeln!(
        stdout(),
        "{}, {threads} threads, best of {} (ms)",
        config.name,
        arguments.runs
    )?;
    for graph in networks::all(&config, &weights)? {
        if graph.name.contains(&arguments.only) {
            let file = write(&arguments.onnx, &graph)?;
            let network = engine.load(&graph)?;
            if let Some(peer) = &mut peer {
                peer.load(&file)?;
            }
            let taken = time(network, peer.as_mut(), arguments.runs)?;
            let row = network_result(&graph, taken);
            writeln!(stdout(), "{}", table_row(&row))?;
            result.networks.push(row);
        }
    }
    match &arguments.json {
        Some(path) => record::append(path, &result),
        None => Ok(()),
    }
}

fn write(folder: &Path, graph: &Graph) -> Result<PathBuf, Box<dyn Error>> {
    let file = folder.join(format!("{}.onnx", graph.name));
    let written = fs::write(&file, onnx::encode(graph)?);
    written.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// Times of both sides, one run each in turn, so that other work on the machine meets both alike.
fn time(
    mut network: Box<dyn Network>,
    mut peer: Option<&mut Peer>,
    runs: usize,
) -> Result<[Samples; 2], Box<dyn Error>> {
    let mut noise = Noise::new(1);
    let values = |info: &TensorInfo| noise.take(info.len(), [0.0, 1.0]);
    let inputs: Vec<Vec<f32>> = network.inputs().iter().map(values).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs = vec![TensorBuffer::default(); network.outputs().len()];
    network.run(&inputs, &mut outputs)?;
    let mut taken = [Samples::default(), Samples::default()];
    for _ in 0..runs {
        let start = Instant::now();
        network.run(&inputs, &mut outputs)?;
        taken[0].push(start.elapsed());
        if let Some(peer) = peer.as_deref_mut() {
            taken[1].push_ms(peer.run()?);
        }
    }
    Ok(taken)
}

fn network_result(graph: &Graph, [engine_ms, peer_ms]: [Samples; 2]) -> NetworkResult {
    NetworkResult {
        name: graph.name.clone(),
        gflop: (stats(graph).flops() as f64 / 1e6).round() / 1e3,
        load_1min: load(),
        engine_ms,
        peer_ms,
    }
}

fn table_row(row: &NetworkResult) -> String {
    let [ours, theirs] = [row.engine_ms.best(), row.peer_ms.best()];
    let name = &row.name;
    if theirs > 0.0 {
        let ratio = ours / theirs;
        format!("{name:<16} {ours:>9.1}   peer {theirs:>9.1}   ratio {ratio:.2}")
    } else {
        format!("{name:<16} {ours:>9.1}")
    }
}
