//! The query decoder against float64 on the same rounded inputs, and against the head's graph on the CPU
//! engine, whose inputs are not rounded.

use std::error::Error;
use std::sync::Arc;

use bevfusion::config::ModelSpec;
use bevfusion::engine::{CpuEngine, Engine, EngineOptions, TensorBuffer};
use bevfusion::graph::networks::{QueryWeights, head as head_graph, query_weights};
use bevfusion::head::proposal_config;
use bevfusion::weights::Weights;
use bevfusion_kernels::cuda::decoder::{
    CrossShape, Decoder, DecoderConfig, DecoderInputs, DecoderOutputs,
};
use bevfusion_kernels::cuda::proposals::Proposals;
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};

use super::Scope;
use super::fixture::{bits, halves, spec, transposed, uniform, widened};
use super::twin::{Frame, stages};
use crate::report::{Report, Tolerance};
use crate::small::weights_of;

const CHANNELS: usize = 128;
/// Names of the graph's values that the device is compared with.
const TAPS: [&str; 8] = [
    "head.shared",
    "head.dense_heatmap",
    "head.topk_index",
    "head.after_self_attn",
    "head.after_cross_attn",
    "head.decoder_out",
    "bbox_pred",
    "score",
];
/// Of the largest value: float32 with fp16 weights of the cells, which average out.
const AGAINST_TWIN: Tolerance = Tolerance::OfMaximum(1e-4);
/// Of the largest value: fp16 rounding of features, keys and values.
const AGAINST_ENGINE: Tolerance = Tolerance::OfMaximum(3e-3);

pub(super) fn run(
    context: &Arc<Context>,
    scope: Scope,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    use CrossShape::{Narrow, Wide};
    let cases: &[([usize; 2], usize, CrossShape)] = match scope {
        Scope::Full => &[
            ([40, 32], 24, Wide),
            ([40, 32], 24, Narrow),
            ([180, 180], 200, Wide),
            ([180, 180], 200, Narrow),
            ([61, 45], 500, Wide),
            ([61, 45], 1024, Narrow),
            ([9, 7], 1, Wide),
        ],
        Scope::Quick => &[([40, 32], 24, Wide), ([13, 9], 300, Narrow)],
    };
    for (size, proposals, cross) in cases {
        let name = format!(
            "gpu decoder {}x{} P={proposals} {cross:?}",
            size[0], size[1]
        );
        compare(
            context,
            &spec(*size, *proposals),
            (*size, *cross),
            (&name, report),
        )?;
    }
    Ok(())
}

/// Values of one run of the graph, in the order of [`TAPS`].
struct Golden {
    tensors: Vec<TensorBuffer>,
}

impl Golden {
    fn of(spec: &ModelSpec, weights: &Weights, size: [usize; 2]) -> Result<Self, Box<dyn Error>> {
        let graph = head_graph(spec, weights)?.with_outputs(&TAPS)?;
        let engine = CpuEngine::new(EngineOptions::default());
        let mut network = engine.load(&graph)?;
        let count = network.inputs()[0].len();
        let features: Vec<f32> = (0..count)
            .map(|i| uniform(size[0] as u64, i, [-1.0, 1.0]))
            .collect();
        let mut tensors = vec![TensorBuffer::default(); TAPS.len()];
        network.run(&[&features], &mut tensors)?;
        Ok(Self { tensors })
    }

    fn floats(&self, name: &str) -> &[f32] {
        let place = TAPS.iter().position(|tap| *tap == name);
        place
            .and_then(|place| self.tensors[place].f32())
            .unwrap_or(&[])
    }

    fn index(&self) -> &[i64] {
        self.tensors[2].i64().unwrap_or(&[])
    }
}

/// fp16 keys and values: W · F + what the cell adds.
fn key_values(weights: &QueryWeights, shared: &[f32]) -> Vec<u16> {
    let rows = shared
        .chunks_exact(CHANNELS)
        .zip(weights.cells.chunks_exact(2 * CHANNELS));
    let row = |(features, fixed): (&[f32], &[f32])| {
        let outputs = weights.key_value.chunks_exact(CHANNELS).zip(fixed);
        let product = |row: &[f32]| row.iter().zip(features).map(|(w, x)| w * x).sum::<f32>();
        halves(outputs.map(|(row, fixed)| product(row) + fixed))
    };
    rows.flat_map(row).collect()
}

/// Logits `[K, cells]` with a row per cell and 16 columns.
fn padded(logits: &[f32], classes: usize) -> Vec<f32> {
    let cells = logits.len() / classes;
    let row = |cell: usize| {
        (0..16).map(move |class| {
            if class < classes {
                logits[class * cells + cell]
            } else {
                0.0
            }
        })
    };
    (0..cells).flat_map(row).collect()
}

fn compare(
    context: &Arc<Context>,
    spec: &ModelSpec,
    (size, cross): ([usize; 2], CrossShape),
    (name, report): (&str, &mut Report),
) -> Result<(), Box<dyn Error>> {
    let weights = weights_of(spec);
    let golden = Golden::of(spec, &weights, size)?;
    let weights = query_weights(spec, &weights)?;
    let shared = transposed(golden.floats("head.shared"), CHANNELS, size[0] * size[1]);
    let halves = (
        halves(shared.iter().copied()),
        key_values(&weights, &shared),
    );
    let classes = spec.class_names.len();
    let logits = padded(golden.floats("head.dense_heatmap"), classes);

    let arena = DeviceArena::new(context);
    let stream = Stream::new(context, Priority::Normal)?;
    let config = proposal_config(spec, size, 16);
    let logits = arena.take_with("logits", &logits)?;
    let proposals = Proposals::new(context, &arena, &config, &logits)?;
    let (shared, pairs) = (
        arena.take_with("shared", &halves.0)?,
        arena.take_with("keys", &halves.1)?,
    );
    let inputs = DecoderInputs {
        shared: &shared,
        key_values: &pairs,
        proposals: &proposals,
    };
    let config = DecoderConfig {
        size,
        classes,
        proposals: spec.head.num_proposals,
        cross,
    };
    let decoder = Decoder::new(context, &arena, &config, &weights.decoder, &inputs)?;
    let run = || -> Result<Values, DriverError> {
        proposals.enqueue(&stream)?;
        decoder.enqueue(&stream)?;
        Values::read(decoder.outputs())
    };
    let (got, again) = (run()?, run()?);
    report.integers(
        format!("{name} repeats"),
        &again.all_bits(),
        &got.all_bits(),
    );

    let (index, heat) = (proposals.index().download()?, proposals.score().download()?);
    let frame = Frame {
        shared: &widened(&halves.0),
        key_values: &widened(&halves.1),
        index: &index,
        heat: &heat,
        columns: size[1],
    };
    against_twin(&got, &stages(&weights.decoder, &frame), (name, report));
    against_engine(&got, (&golden, &index), (name, report));
    Ok(())
}

/// What the device left.
struct Values {
    floats: [Vec<f32>; 5],
    label: Vec<i32>,
}

impl Values {
    fn read(outputs: &DecoderOutputs) -> Result<Self, DriverError> {
        Ok(Self {
            floats: [
                outputs.after_self_attn.download()?,
                outputs.after_cross_attn.download()?,
                outputs.decoder_out.download()?,
                outputs.bbox_pred.download()?,
                outputs.score.download()?,
            ],
            label: outputs.label.download()?,
        })
    }

    fn all_bits(&self) -> Vec<i64> {
        let labels = self.label.iter().map(|label| i64::from(*label));
        self.floats
            .iter()
            .flat_map(|values| bits(values))
            .chain(labels)
            .collect()
    }
}

fn against_twin(got: &Values, want: &super::twin::Stages, (name, report): (&str, &mut Report)) {
    let wanted = [
        ("after_self_attn", &want.after_self_attn),
        ("after_cross_attn", &want.after_cross_attn),
        ("decoder_out", &want.decoder_out),
        ("bbox_pred", &want.bbox_pred),
        ("score", &want.score),
    ];
    for ((stage, want), got) in wanted.into_iter().zip(&got.floats) {
        report.floats(format!("{name} {stage} f64"), got, want, AGAINST_TWIN);
    }
}

/// Compares the proposals that both sides chose, which is all of them but near ties.
fn against_engine(
    got: &Values,
    (golden, index): (&Golden, &[i32]),
    (name, report): (&str, &mut Report),
) {
    let count = index.len();
    let place = |flat: &i64| index.iter().position(|other| i64::from(*other) == *flat);
    let pairs: Vec<(usize, usize)> = (golden.index().iter().enumerate())
        .filter_map(|(there, flat)| Some((place(flat)?, there)))
        .collect();
    let missing = count - pairs.len();
    report.doubles(
        format!("{name} proposals not shared"),
        &[missing as f64],
        &[0.0],
        Tolerance::Absolute(0.01 * count as f64),
    );
    let rows = |values: &[f32], side: fn(&(usize, usize)) -> usize| -> Vec<f32> {
        let rows = pairs.iter().map(side);
        rows.flat_map(|row| values[row * CHANNELS..][..CHANNELS].to_vec())
            .collect()
    };
    let columns = |values: &[f32], side: fn(&(usize, usize)) -> usize| -> Vec<f32> {
        let rows = values.chunks_exact(count);
        rows.flat_map(|row| pairs.iter().map(|pair| row[side(pair)]).collect::<Vec<_>>())
            .collect()
    };
    let decoder_out = transposed(golden.floats("head.decoder_out"), CHANNELS, count);
    let by_rows = [
        (
            "after_self_attn",
            golden.floats("head.after_self_attn"),
            &got.floats[0],
        ),
        (
            "after_cross_attn",
            golden.floats("head.after_cross_attn"),
            &got.floats[1],
        ),
        ("decoder_out", &decoder_out, &got.floats[2]),
    ];
    for (stage, want, got) in by_rows {
        let (got, want) = (rows(got, |pair| pair.0), rows(want, |pair| pair.1));
        report.floats(
            format!("{name} {stage} engine"),
            &got,
            &want,
            AGAINST_ENGINE,
        );
    }
    for (stage, got) in [("bbox_pred", &got.floats[3]), ("score", &got.floats[4])] {
        let want = columns(golden.floats(stage), |pair| pair.1);
        let got = columns(got, |pair| pair.0);
        report.floats(
            format!("{name} {stage} engine"),
            &got,
            &want,
            AGAINST_ENGINE,
        );
    }
}
