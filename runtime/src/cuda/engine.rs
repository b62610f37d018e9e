//! The CUDA engine for single networks: host values in, host values out.
//!
//! For tests and tools; a pipeline keeps its maps on the device. Values are rounded to fp16 on the way in
//! and come back as float32.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::{ConvChoice, DenseConvKernels};
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};
use half::f16;

use super::dense::{DenseProgram, DenseRequest};
use super::layout::DenseMap;
use crate::engine::{Engine, EngineError, Network, TensorBuffer, TensorInfo, check_call, infos};
use crate::graph::Graph;

/// Runs dense graphs of convolutions on a GPU.
#[derive(Debug)]
pub struct CudaEngine {
    context: Arc<Context>,
    kernels: DenseConvKernels,
}

impl CudaEngine {
    /// An engine on GPU number `device`.
    ///
    /// # Errors
    /// When there is no usable GPU.
    pub fn new(device: u32, kernels: ConvChoice) -> Result<Self, DriverError> {
        let context = Context::new(device)?;
        Ok(Self {
            kernels: DenseConvKernels::load(&context, kernels)?,
            context,
        })
    }
}

impl Engine for CudaEngine {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn load(&self, graph: &Graph) -> Result<Box<dyn Network>, EngineError> {
        let fail = |error: DriverError| EngineError::Load {
            engine: super::NAME,
            network: graph.name.clone(),
            problem: error.to_string(),
        };
        let arena = DeviceArena::new(&self.context);
        let program = DenseProgram::new(&self.kernels, &arena, graph, DenseRequest::default())?;
        Ok(Box::new(CudaNetwork {
            name: graph.name.clone(),
            inputs: infos(graph, &graph.inputs),
            outputs: infos(graph, &graph.outputs),
            stream: Stream::new(&self.context, Priority::Normal).map_err(fail)?,
            program,
        }))
    }
}

struct CudaNetwork {
    name: String,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    program: DenseProgram,
    stream: Stream,
}

impl Network for CudaNetwork {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [TensorBuffer]) -> Result<(), EngineError> {
        let expected = [self.inputs.as_slice(), self.outputs.as_slice()];
        check_call(&self.name, expected, inputs, outputs.len())?;
        self.on_device(inputs, outputs)
            .map_err(|error| EngineError::Run {
                engine: super::NAME,
                network: self.name.clone(),
                problem: error.to_string(),
            })
    }
}

impl CudaNetwork {
    fn on_device(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [TensorBuffer],
    ) -> Result<(), DriverError> {
        for (map, values) in self.program.inputs().iter().zip(inputs) {
            upload(map, values)?;
        }
        self.program.enqueue(&self.stream)?;
        self.stream.synchronize()?;
        for (map, output) in self.program.outputs().iter().zip(outputs) {
            *output = TensorBuffer::F32(download(map)?);
        }
        Ok(())
    }
}

fn upload(map: &DenseMap, values: &[f32]) -> Result<(), DriverError> {
    let Some(memory) = map.half() else {
        return Ok(());
    };
    let halves: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
    // Two inputs may be slices of one map: what the other one wrote stays.
    let mut elements = memory.download()?;
    map.from_planar(&halves, &mut elements);
    memory.upload(&elements)
}

fn download(map: &DenseMap) -> Result<Vec<f32>, DriverError> {
    if let Some(memory) = map.float() {
        return Ok(map.to_planar(&memory.download()?));
    }
    let Some(memory) = map.half() else {
        return Ok(Vec::new());
    };
    let values = memory.download()?;
    let values: Vec<f32> = values.iter().map(|v| f16::from_bits(*v).to_f32()).collect();
    Ok(map.to_planar(&values))
}
