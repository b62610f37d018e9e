//! The engine that a command line asks for, and the threads around it.

use std::error::Error;

use clap::{Args, ValueEnum};
use rayon::{ThreadPool, ThreadPoolBuilder};

use bevfusion_kernels::driver::Context;

use bevfusion_kernels::reference::image::MAX_EDGE;

use crate::config::ModelConfig;
use crate::cuda::{CameraCapacity, CudaOptions};
use crate::engine::{CpuEngine, EngineOptions};
use crate::exec::{BuildError, FrameReport, Pipeline, PipelineBuilder};
use crate::input::Frame;

/// Raw images as large as a model's cameras can be expected to send: what the resize makes the network's
/// width of, 4:3, and no less than what is common.
fn room_for_images(config: &ModelConfig) -> CameraCapacity {
    let [common_width, common_height] = CudaOptions::default().images.raw;
    let width = config.camera.as_ref().map_or(0.0, |camera| {
        let [_, width] = camera.image_size;
        width as f64 / camera.resize.max(0.01) * 1.25
    });
    let width = (width.ceil() as usize).clamp(common_width, MAX_EDGE);
    CameraCapacity::of([width, (width * 3 / 4).max(common_height)])
}

/// What runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineName {
    /// The GPU where there is one that runs the model, else the CPU.
    Auto,
    /// fp16 on an NVIDIA GPU (compute capability 8.0 or newer, driver 525 or newer).
    Cuda,
    /// float32 on the CPU; nothing to install.
    Cpu,
}

/// Arguments of every command that runs networks.
#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// What runs the networks.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = EngineName::Auto)]
    pub(super) engine: EngineName,
    /// Threads of the CPU engine [default: all cores].
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

impl EngineArgs {
    /// Builds the pipeline; also tells why `auto` did not take the GPU.
    pub(super) fn build(
        &self,
        builder: PipelineBuilder<'_>,
    ) -> Result<(Pipeline, Option<String>), BuildError> {
        let timed = CudaOptions {
            timed: true,
            images: room_for_images(builder.config()),
            ..CudaOptions::default()
        };
        match self.engine {
            EngineName::Cpu => Ok((self.on_cpu(builder)?, None)),
            EngineName::Cuda => Ok((builder.build_cuda(&timed)?, None)),
            EngineName::Auto => {
                // Machines without a GPU are the rule, not a remark.
                if Context::new(timed.device).is_err() {
                    return Ok((self.on_cpu(builder)?, None));
                }
                match builder.clone().build_cuda(&timed) {
                    Ok(pipeline) => Ok((pipeline, None)),
                    Err(refusal) => {
                        let remark = format!("on the CPU, because the GPU engine says: {refusal}");
                        Ok((self.on_cpu(builder)?, Some(remark)))
                    }
                }
            }
        }
    }

    fn on_cpu(&self, builder: PipelineBuilder<'_>) -> Result<Pipeline, BuildError> {
        let threads = self.threads;
        builder.build(&CpuEngine::new(EngineOptions { threads }))
    }

    /// The threads of everything that is no dense network.
    pub(super) fn workers(&self) -> Result<Workers, Box<dyn Error>> {
        self.threads.map(pool).transpose().map(Workers)
    }
}

/// Runs frames on as many threads as were asked for.
pub(super) struct Workers(Option<ThreadPool>);

impl Workers {
    /// One frame.
    pub(super) fn run(&self, pipeline: &mut Pipeline, frame: &Frame) -> FrameReport {
        match &self.0 {
            Some(pool) => pool.install(|| *pipeline.run(frame)),
            None => *pipeline.run(frame),
        }
    }
}

fn pool(threads: usize) -> Result<ThreadPool, Box<dyn Error>> {
    let builder = ThreadPoolBuilder::new().num_threads(threads.max(1));
    let pool = builder.build();
    Ok(pool.map_err(|error| format!("cannot start {threads} threads: {error}; ask for fewer"))?)
}
