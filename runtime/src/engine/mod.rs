//! What runs a dense graph.
//!
//! An [`Engine`] turns a [`Graph`] into a [`Network`]; a network takes float32 inputs in the graph's order
//! and fills outputs in the graph's order. Shapes are fixed when the graph is built.

#[cfg(feature = "cpu")]
mod cpu;

#[cfg(feature = "cpu")]
pub use cpu::CpuEngine;

use crate::graph::{DType, Graph, Port};

/// Why an engine cannot load or run a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine refused the network.
    #[error("engine {engine} cannot load network {network:?}: {problem}")]
    Load {
        /// Engine.
        engine: &'static str,
        /// Network.
        network: String,
        /// What it said.
        problem: String,
    },
    /// Another number of inputs or outputs than the network has.
    #[error("network {network:?} has {expected} {what}, {found} were given")]
    Count {
        /// Network.
        network: String,
        /// `inputs` or `outputs`.
        what: &'static str,
        /// How many it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// An input of another size.
    #[error(
        "network {network:?}: input {input:?} {shape:?} takes {expected} values, {found} were given"
    )]
    Size {
        /// Network.
        network: String,
        /// Input.
        input: String,
        /// Its extents.
        shape: Vec<usize>,
        /// Values it takes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// The network failed while running.
    #[error("engine {engine}, network {network:?}: {problem}")]
    Run {
        /// Engine.
        engine: &'static str,
        /// Network.
        network: String,
        /// What it said.
        problem: String,
    },
}

/// Settings that engines share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads of a CPU engine; absent: one per physical core.
    pub threads: Option<usize>,
}

/// Name, extents and element type of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name at the interface.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl TensorInfo {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values of an output, row-major. The buffer of the last run is reused or replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorBuffer {
    /// float32.
    F32(Vec<f32>),
    /// int64.
    I64(Vec<i64>),
}

impl Default for TensorBuffer {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl TensorBuffer {
    /// The float32 values; none if it holds integers.
    #[must_use]
    pub fn f32(&self) -> Option<&[f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::I64(_) => None,
        }
    }

    /// The int64 values; none if it holds floats.
    #[must_use]
    pub fn i64(&self) -> Option<&[i64]> {
        match self {
            Self::I64(values) => Some(values),
            Self::F32(_) => None,
        }
    }
}

/// Something that can run dense graphs.
pub trait Engine {
    /// Short name, for example `cpu`.
    fn name(&self) -> &'static str;

    /// Prepares a network; the graph is not needed afterwards.
    ///
    /// # Errors
    /// When the engine cannot run it.
    fn load(&self, graph: &Graph) -> Result<Box<dyn Network>, EngineError>;
}

/// A loaded network.
pub trait Network: Send {
    /// Inputs in order.
    fn inputs(&self) -> &[TensorInfo];

    /// Outputs in order.
    fn outputs(&self) -> &[TensorInfo];

    /// Runs once. `outputs` has one buffer per output, of whatever contents.
    ///
    /// # Errors
    /// When an input has another size than the network's, or the engine fails.
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [TensorBuffer]) -> Result<(), EngineError>;
}

/// Infos of a graph's inputs or outputs.
pub(crate) fn infos(graph: &Graph, ports: &[Port]) -> Vec<TensorInfo> {
    let info = |port: &Port| {
        let value = graph.value(port.value);
        TensorInfo {
            name: port.name.clone(),
            shape: value.shape.clone(),
            dtype: value.dtype,
        }
    };
    ports.iter().map(info).collect()
}

/// Refuses a call whose inputs or outputs are not the network's.
pub(crate) fn check_call(
    network: &str,
    expected: [&[TensorInfo]; 2],
    inputs: &[&[f32]],
    outputs: usize,
) -> Result<(), EngineError> {
    let counts = [("inputs", inputs.len()), ("outputs", outputs)];
    for (infos, (what, found)) in expected.into_iter().zip(counts) {
        if infos.len() != found {
            return Err(EngineError::Count {
                network: network.into(),
                what,
                expected: infos.len(),
                found,
            });
        }
    }
    for (info, values) in expected[0].iter().zip(inputs) {
        if info.len() != values.len() {
            return Err(EngineError::Size {
                network: network.into(),
                input: info.name.clone(),
                shape: info.shape.clone(),
                expected: info.len(),
                found: values.len(),
            });
        }
    }
    Ok(())
}
