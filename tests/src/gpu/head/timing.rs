//! Medians of the three parts of the head at P = 200 and 500 on 180×180 cells and 10 classes.
//!
//! Inputs are those of the run before, so what fits the L2 cache is in it.

use std::sync::Arc;

use bevfusion::head::{device_settings, proposal_config};
use bevfusion_kernels::cuda::decoder::{CrossShape, Decoder, DecoderConfig, DecoderInputs};
use bevfusion_kernels::cuda::decoder_weights::{DecoderWeights, LinearWeights};
use bevfusion_kernels::cuda::postprocess::{Postprocess, PostprocessInputs};
use bevfusion_kernels::cuda::proposals::Proposals;
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};

use super::super::timing::microseconds;
use super::fixture::{halves, spec, uniform};
use super::postprocess::{raw, suppressions};
use crate::specs::preset;

const SIZE: [usize; 2] = [180, 180];

/// Name of a part and its median time (µs).
type Times = Vec<(String, f64)>;

pub(super) fn times(context: &Arc<Context>) -> Result<Times, DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let mut times = Times::new();
    for proposals in [200, 500] {
        decoder_times(&stream, proposals, &mut times)?;
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
            let time = microseconds(&stream, || kernel.enqueue(&stream))?;
            times.push((format!("P {proposals} postprocess {name}"), time));
        }
    }
    Ok(times)
}

fn decoder_times(stream: &Stream, proposals: usize, times: &mut Times) -> Result<(), DriverError> {
    let context = stream.context();
    let model = spec(SIZE, proposals);
    let cells = SIZE[0] * SIZE[1];
    let arena = DeviceArena::new(context);
    let some = |seed: u64, count: usize| (0..count).map(move |i| uniform(seed, i, [-1.0, 1.0]));
    let logits: Vec<f32> = some(1, cells * 16).map(|v| 4.0 * v - 2.0).collect();
    let logits = arena.take_with("logits", &logits)?;
    let shared = arena.take_with("shared", &halves(some(2, cells * 128)))?;
    let key_values = arena.take_with("keys", &halves(some(3, cells * 256)))?;
    let found = Proposals::new(context, &arena, &proposal_config(&model, SIZE, 16), &logits)?;
    let time = microseconds(stream, || found.enqueue(stream))?;
    times.push((format!("P {proposals} proposals"), time));
    for cross in [CrossShape::Wide, CrossShape::Narrow] {
        let config = DecoderConfig {
            channels: 128,
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
        let time = microseconds(stream, || decoder.enqueue(stream))?;
        times.push((format!("P {proposals} decoder {cross:?}"), time));
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
