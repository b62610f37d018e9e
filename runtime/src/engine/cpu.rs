//! The CPU engine: a graph as ONNX in memory, run by `rten`.
//!
//! Inputs are borrowed; outputs are moved out of the executor, so that neither is copied. Integers come
//! from rten as int32 and are widened.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::AsView;

use super::{
    Engine, EngineError, EngineOptions, Network, TensorBuffer, TensorInfo, check_call, infos,
};
use crate::graph::{Graph, onnx};

const NAME: &str = "cpu";

/// Runs dense graphs on the CPU. Its networks share one thread pool.
#[derive(Debug, Default)]
pub struct CpuEngine {
    pool: Option<Arc<ThreadPool>>,
}

impl CpuEngine {
    /// An engine with the given number of threads.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        let pool = options.threads.map(|threads| {
            let pool = ThreadPool::with_num_threads(threads.max(1));
            Arc::new(pool)
        });
        Self { pool }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, graph: &Graph) -> Result<Box<dyn Network>, EngineError> {
        let fail = |problem: String| EngineError::Load {
            engine: NAME,
            network: graph.name.clone(),
            problem,
        };
        let bytes = onnx::encode(graph).map_err(|error| fail(error.to_string()))?;
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load(bytes)
            .map_err(|error| fail(error.to_string()))?;
        let inputs = infos(graph, &graph.inputs);
        let outputs = infos(graph, &graph.outputs);
        let nodes = |infos: &[TensorInfo]| {
            let ids = infos.iter().map(|info| model.node_id(&info.name));
            ids.collect::<Result<Vec<NodeId>, _>>()
                .map_err(|error| fail(error.to_string()))
        };
        Ok(Box::new(CpuNetwork {
            name: graph.name.clone(),
            input_nodes: nodes(&inputs)?,
            output_nodes: nodes(&outputs)?,
            inputs,
            outputs,
            options: RunOptions::default().with_thread_pool(self.pool.clone()),
            model,
        }))
    }
}

struct CpuNetwork {
    name: String,
    model: Model,
    options: RunOptions,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    input_nodes: Vec<NodeId>,
    output_nodes: Vec<NodeId>,
}

impl Network for CpuNetwork {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [TensorBuffer]) -> Result<(), EngineError> {
        let expected = [self.inputs.as_slice(), self.outputs.as_slice()];
        check_call(&self.name, expected, inputs, outputs.len())?;
        let mut values = Vec::with_capacity(inputs.len());
        for ((info, node), data) in self.inputs.iter().zip(&self.input_nodes).zip(inputs) {
            let view = ValueView::from_shape(&info.shape, data);
            let view = view.map_err(|error| self.failure(&error))?;
            values.push((*node, ValueOrView::View(view)));
        }
        let made = self
            .model
            .run(values, &self.output_nodes, Some(self.options.clone()))
            .map_err(|error| self.failure(&error))?;
        for (value, output) in made.into_iter().zip(outputs) {
            store(value, output).map_err(|problem| self.failure(&problem))?;
        }
        Ok(())
    }
}

impl CpuNetwork {
    fn failure(&self, problem: &dyn std::fmt::Display) -> EngineError {
        EngineError::Run {
            engine: NAME,
            network: self.name.clone(),
            problem: problem.to_string(),
        }
    }
}

fn store(value: Value, output: &mut TensorBuffer) -> Result<(), String> {
    *output = match value {
        Value::FloatTensor(tensor) => TensorBuffer::F32(tensor.into_data()),
        Value::Int32Tensor(tensor) => {
            let mut wide = match std::mem::take(output) {
                TensorBuffer::I64(buffer) => buffer,
                TensorBuffer::F32(_) => Vec::new(),
            };
            wide.clear();
            wide.extend(tensor.iter().map(|v| i64::from(*v)));
            TensorBuffer::I64(wide)
        }
        other => return Err(format!("an output is {:?}", other.dtype())),
    };
    Ok(())
}

#[cfg(test)]
mod tests;
