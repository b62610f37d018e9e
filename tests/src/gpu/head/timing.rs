//! Medians of the three parts of the head at P = 200 and 500 on 180×180 cells and 10 classes.
//!
//! Each number is a graph of 20 runs in a row, divided by 20: launch gaps inside the graph count, the
//! launch of the graph does not. Inputs are those of the run before, so what fits the L2 cache is in it.

use std::fmt::Write;
use std::sync::Arc;

use bevfusion::head::{device_settings, proposal_config};
use bevfusion_kernels::cuda::decoder::{CrossShape, Decoder, DecoderConfig, DecoderInputs};
use bevfusion_kernels::cuda::decoder_weights::{DecoderWeights, LinearWeights};
use bevfusion_kernels::cuda::postprocess::{Postprocess, PostprocessInputs};
use bevfusion_kernels::cuda::proposals::Proposals;
use bevfusion_kernels::driver::{
    Context, DeviceArena, DriverError, Event, Graph, Priority, Stream,
};

use super::fixture::{halves, spec, uniform};
use super::postprocess::{raw, suppressions};
use crate::specs::preset;

const SIZE: [usize; 2] = [180, 180];
const RUNS: usize = 20;
const REPLAYS: usize = 200;

pub(super) fn table(context: &Arc<Context>) -> Result<String, DriverError> {
    let mut text = format!("{}, µs\n", context.info().name);
    for proposals in [200, 500] {
        decoder_lines(context, proposals, &mut text)?;
        for (name, steps) in suppressions() {
            let mut model = preset("nuscenes_L");
            model.postprocess.nms = steps;
            let raw = raw(5, proposals, 60.0, false);
            let arena = DeviceArena::new(context);
            let inputs = PostprocessInputs {
                bbox_pred: &arena.take_with("codes", &raw.bbox_pred)?,
                score: &arena.take_with("score", &raw.score)?,
                label: &arena.take_with("label", &raw.label)?,
            };
            let kernel = Postprocess::new(context, &arena, &device_settings(&model)?, &inputs)?;
            let time = median(context, |stream| kernel.enqueue(stream))?;
            line(&mut text, &format!("postprocess {name}"), proposals, time);
        }
    }
    Ok(text)
}

fn decoder_lines(
    context: &Arc<Context>,
    proposals: usize,
    text: &mut String,
) -> Result<(), DriverError> {
    let model = spec(SIZE, proposals);
    let cells = SIZE[0] * SIZE[1];
    let arena = DeviceArena::new(context);
    let some = |seed: u64, count: usize| (0..count).map(move |i| uniform(seed, i, [-1.0, 1.0]));
    let logits: Vec<f32> = some(1, cells * 16).map(|v| 4.0 * v - 2.0).collect();
    let logits = arena.take_with("logits", &logits)?;
    let shared = arena.take_with("shared", &halves(some(2, cells * 128)))?;
    let key_values = arena.take_with("keys", &halves(some(3, cells * 256)))?;
    let found = Proposals::new(context, &arena, &proposal_config(&model, SIZE, 16), &logits)?;
    let time = median(context, |stream| found.enqueue(stream))?;
    line(text, "proposals", proposals, time);
    for cross in [CrossShape::Wide, CrossShape::Narrow] {
        let config = DecoderConfig {
            size: SIZE,
            classes: 10,
            proposals,
            cross,
        };
        let inputs = DecoderInputs {
            shared: &shared,
            key_values: &key_values,
            proposals: &found,
        };
        let decoder = Decoder::new(context, &arena, &config, &weights(), &inputs)?;
        let time = median(context, |stream| decoder.enqueue(stream))?;
        line(text, &format!("decoder {cross:?}"), proposals, time);
    }
    Ok(())
}

/// Weights of the right extents.
fn weights() -> DecoderWeights {
    let layer = |out: usize, inputs: usize| {
        let scale = 1.0 / (inputs as f32).sqrt();
        let value = |i: usize| scale * uniform(out as u64, i, [-1.7, 1.7]);
        LinearWeights {
            weight: (0..out * inputs).map(value).collect(),
            bias: vec![0.1; out],
        }
    };
    let norm = || LinearWeights {
        weight: vec![1.0; 128],
        bias: vec![0.0; 128],
    };
    DecoderWeights {
        class_table: vec![0.1; 1280],
        position: [layer(128, 2), layer(128, 128)],
        self_in: layer(384, 128),
        self_out: layer(128, 128),
        cross_query: layer(128, 128),
        cross_out: layer(128, 128),
        ffn: [layer(256, 128), layer(128, 256)],
        norms: [norm(), norm(), norm()],
        heads_first: layer(384, 128),
        heads_second: layer(20, 64),
    }
}

fn median(
    context: &Arc<Context>,
    enqueue: impl Fn(&Stream) -> Result<(), DriverError>,
) -> Result<f64, DriverError> {
    let stream = Stream::new(context, Priority::Normal)?;
    let graph = Graph::capture(&stream, || (0..RUNS).try_for_each(|_| enqueue(&stream)))?;
    let (start, end) = (Event::timing(context)?, Event::timing(context)?);
    let mut times = Vec::with_capacity(REPLAYS);
    for replay in 0..REPLAYS + 20 {
        start.record(&stream)?;
        graph.launch(&stream)?;
        end.record(&stream)?;
        end.synchronize()?;
        if replay >= 20 {
            times.push(f64::from(end.milliseconds_since(&start)?) * 1e3 / RUNS as f64);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPLAYS / 2])
}

fn line(text: &mut String, name: &str, proposals: usize, time: f64) {
    let _written = writeln!(text, "{name:<36} P={proposals:<5} {time:>8.2}");
}
