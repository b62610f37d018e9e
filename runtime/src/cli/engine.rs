//! The engine that a command line asks for, and the threads around it.

use std::error::Error;

use clap::{Args, ValueEnum};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::engine::{CpuEngine, Engine, EngineOptions};
use crate::exec::{FrameReport, Pipeline};
use crate::input::Frame;

/// What runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineName {
    /// float32 on the CPU; nothing to install.
    Cpu,
}

/// Arguments of every command that runs networks.
#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// What runs the networks.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = EngineName::Cpu)]
    pub(super) engine: EngineName,
    /// Threads of the CPU engine [default: all cores].
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

impl EngineArgs {
    /// The engine.
    pub(super) fn open(&self) -> Box<dyn Engine> {
        match self.engine {
            EngineName::Cpu => Box::new(CpuEngine::new(EngineOptions {
                threads: self.threads,
            })),
        }
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
