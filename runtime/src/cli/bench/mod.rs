//! `bevfusion bench`: frames over and over, percentiles out.
//!
//! Frames are read before the clock starts. A frame's time is that of `Pipeline::run` by the wall clock;
//! nothing is recorded, grown or printed between its two time stamps.

mod args;
mod facts;
mod inputs;
mod report;
mod samples;
mod timeline;

use std::error::Error;
use std::time::{Duration, Instant};

use super::console::Console;
use super::engine::Workers;
use super::{Answer, model};
use crate::exec::{FrameOutcome, Pipeline, PipelineBuilder, explain};
use crate::output::ChartFormat;

pub(super) use args::BenchArgs;
use facts::{DeviceFacts, Host};
use inputs::{Input, Inputs};
use report::Report;
use samples::Samples;
use timeline::MedianFrame;

const NO_TIMELINE: &str = "--timeline is for the CUDA engine, this one runs one stage after the other: leave it out, or see what \
     --engine cuda says";

/// Runs the command.
pub(super) fn run(args: &BenchArgs, console: &mut Console<'_>) -> Answer {
    for file in args.plot.iter().chain(&args.timeline) {
        ChartFormat::of(file)?;
    }
    let (config, weights) = model::with_weights(&args.model, &args.weights)?;
    let inputs = Inputs::read(args, &config)?;
    let (pipeline, remark) = args.engine.build(PipelineBuilder::new(config, &weights))?;
    if let Some(remark) = remark {
        console.remark(&remark)?;
    }
    let mut bench = Bench {
        pipeline,
        workers: args.engine.workers()?,
        inputs: &inputs.frames,
    };
    drop(weights);
    if args.timeline.is_some() && bench.pipeline.as_cuda().is_none() {
        return Err(NO_TIMELINE.into());
    }
    let host = Host::here();
    let warm_up = bench.warm_up(args.warmup)?;
    let samples = bench.measure(args.iterations, args.duration, &warm_up)?;
    let device = DeviceFacts::of(&mut bench.pipeline, args.engine.threads);
    let report = Report {
        command_line: &console.command_line,
        engine: bench.pipeline.engine(),
        model: &bench.pipeline.config().name,
        device,
        host,
        inputs: &inputs,
        warm_up: &warm_up,
        samples: &samples,
        median: MedianFrame::of(&samples),
    };
    let text = report.table();
    if let Some(file) = &args.export_times {
        report.write_json(file)?;
    }
    if let Some(file) = &args.plot {
        report.plot().write(file)?;
    }
    if let Some(file) = &args.timeline {
        let plot = report
            .timeline()
            .ok_or("no frame has times of its stages")?;
        plot.write(file)?;
    }
    console.say(&text)?;
    for file in (args.export_times.iter().chain(&args.plot)).chain(&args.timeline) {
        console.remark(&format!("written: {}", file.display()))?;
    }
    Ok(())
}

/// What was run before the measurement.
struct WarmUp {
    frames: usize,
    total: Duration,
}

struct Bench<'a> {
    pipeline: Pipeline,
    workers: Workers,
    inputs: &'a [Input],
}

impl Bench<'_> {
    /// Runs each frame once, and on until `least` has passed. A frame that is dropped is no measurement.
    fn warm_up(&mut self, least: Duration) -> Result<WarmUp, Box<dyn Error>> {
        let start = Instant::now();
        let mut frames = 0;
        while frames < self.inputs.len() || start.elapsed() < least {
            let input = &self.inputs[frames % self.inputs.len()];
            let report = self.workers.run(&mut self.pipeline, &input.frame);
            if let FrameOutcome::Dropped(fault) = report.outcome {
                let Self { pipeline, .. } = self;
                let why = explain(pipeline.config(), pipeline.camera_policy(), &input.frame);
                let why = if why.is_empty() {
                    fault.to_string()
                } else {
                    why.join("; ")
                };
                return Err(format!("frame {} is dropped, not timed: {why}", input.id).into());
            }
            frames += 1;
        }
        Ok(WarmUp {
            frames,
            total: start.elapsed(),
        })
    }

    /// At least `iterations` frames and at least `duration`.
    fn measure(
        &mut self,
        iterations: usize,
        duration: Duration,
        warm_up: &WarmUp,
    ) -> Result<Samples, Box<dyn Error>> {
        let per_frame = warm_up.total.as_secs_f64() / warm_up.frames.max(1) as f64;
        let expected = 2.0 * duration.as_secs_f64() / per_frame.max(1e-6);
        let mut samples = Samples::with_room_for(iterations.max(expected as usize));
        let start = Instant::now();
        while samples.len() < iterations || start.elapsed() < duration {
            samples.make_room();
            let index = samples.len() % self.inputs.len();
            let frame = &self.inputs[index].frame;
            let before = Instant::now();
            let report = self.workers.run(&mut self.pipeline, frame);
            let wall = before.elapsed();
            if let FrameOutcome::Dropped(fault) = report.outcome {
                return Err(format!("frame {} is dropped: {fault}", self.inputs[index].id).into());
            }
            let spans = self.pipeline.as_cuda().map(|gpu| gpu.spans());
            samples.push(index, wall, &report, spans.unwrap_or_default());
        }
        samples.total = start.elapsed();
        Ok(samples)
    }
}
