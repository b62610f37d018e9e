//! The query decoder in float64 on what the device gets: rounded features, keys and values.

use bevfusion_kernels::cuda::decoder_weights::{DecoderWeights, LinearWeights};

const CHANNELS: usize = 128;
const DEPTH: usize = 16;

/// What a frame brings, as the device sees it.
pub(super) struct Frame<'a> {
    /// `[cells][128]`.
    pub(super) shared: &'a [f64],
    /// `[cells][256]`.
    pub(super) key_values: &'a [f64],
    /// Flat indices of the proposals.
    pub(super) index: &'a [i32],
    /// Their heatmap values.
    pub(super) heat: &'a [f32],
    /// Columns of the map.
    pub(super) columns: usize,
}

/// Rows of every stage.
#[derive(Default)]
pub(super) struct Stages {
    pub(super) after_self_attn: Vec<f32>,
    pub(super) after_cross_attn: Vec<f32>,
    pub(super) decoder_out: Vec<f32>,
    /// `[10][P]`.
    pub(super) bbox_pred: Vec<f32>,
    pub(super) score: Vec<f32>,
}

type Rows = Vec<Vec<f64>>;

pub(super) fn stages(weights: &DecoderWeights, frame: &Frame<'_>) -> Stages {
    let cells = frame.shared.len() / CHANNELS;
    let place = |flat: &i32| (*flat as usize / cells, *flat as usize % cells);
    let proposals: Vec<(usize, usize)> = frame.index.iter().map(place).collect();
    let position = |cell: usize| {
        let (x, y) = (cell / frame.columns, cell % frame.columns);
        vec![x as f64 + 0.5, y as f64 + 0.5]
    };
    let query: Rows = proposals
        .iter()
        .map(|(class, cell)| start(weights, frame, *class, *cell))
        .collect();
    let embedded = |cell: usize| {
        let hidden = relu(linear(&weights.position[0], &position(cell)));
        linear(&weights.position[1], &hidden)
    };
    let placed: Rows = proposals.iter().map(|(_, cell)| embedded(*cell)).collect();

    let qkv: Rows = sums(&query, &placed)
        .iter()
        .map(|x| linear(&weights.self_in, x))
        .collect();
    let part = |columns: std::ops::Range<usize>| -> Vec<f64> {
        let rows = qkv.iter().map(|row| &row[columns.clone()]);
        rows.flatten().copied().collect()
    };
    let mixed = attention(&part(0..CHANNELS), &part(CHANNELS..3 * CHANNELS));
    let query = after(&query, &mixed, &weights.self_out, &weights.norms[0]);
    let mut stages = Stages {
        after_self_attn: flat(&query),
        ..Stages::default()
    };

    let cross: Rows = sums(&query, &placed)
        .iter()
        .map(|x| linear(&weights.cross_query, x))
        .collect();
    let mixed = attention(&cross.concat(), frame.key_values);
    let query = after(&query, &mixed, &weights.cross_out, &weights.norms[1]);
    stages.after_cross_attn = flat(&query);

    let hidden: Rows = query
        .iter()
        .map(|x| relu(linear(&weights.ffn[0], x)))
        .collect();
    let query = after(&query, &hidden, &weights.ffn[1], &weights.norms[2]);
    stages.decoder_out = flat(&query);

    let rows: Rows = query.iter().map(|x| predictions(weights, x)).collect();
    for channel in 0..10 {
        let offset = |cell: usize| {
            if channel < 2 {
                position(cell)[channel]
            } else {
                0.0
            }
        };
        let values = rows.iter().zip(&proposals);
        stages
            .bbox_pred
            .extend(values.map(|(row, (_, cell))| (row[channel] + offset(*cell)) as f32));
    }
    let scores = rows.iter().zip(&proposals).zip(frame.heat);
    stages.score = scores
        .map(|((row, (class, _)), heat)| {
            (f64::from(*heat) / (1.0 + (-row[10 + class]).exp())) as f32
        })
        .collect();
    stages
}

fn start(weights: &DecoderWeights, frame: &Frame<'_>, class: usize, cell: usize) -> Vec<f64> {
    let feature = &frame.shared[cell * CHANNELS..][..CHANNELS];
    let class = &weights.class_table[class * CHANNELS..][..CHANNELS];
    feature
        .iter()
        .zip(class)
        .map(|(a, b)| a + f64::from(*b))
        .collect()
}

fn linear(layer: &LinearWeights, x: &[f64]) -> Vec<f64> {
    let rows = layer.weight.chunks_exact(x.len()).zip(&layer.bias);
    rows.map(|(row, bias)| {
        row.iter()
            .zip(x)
            .map(|(w, x)| f64::from(*w) * x)
            .sum::<f64>()
            + f64::from(*bias)
    })
    .collect()
}

fn relu(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|v| v.max(0.0)).collect()
}

fn sums(a: &Rows, b: &Rows) -> Rows {
    let sum = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    a.iter().zip(b).map(sum).collect()
}

/// LayerNorm(query + W x + b).
fn after(query: &Rows, x: &Rows, layer: &LinearWeights, norm: &LinearWeights) -> Rows {
    let out: Rows = x.iter().map(|x| linear(layer, x)).collect();
    let normed = |row: &Vec<f64>| {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        let factor = (variance + 1e-5).sqrt().recip();
        let scaled = row.iter().zip(norm.weight.iter().zip(&norm.bias));
        scaled
            .map(|(v, (scale, bias))| (v - mean) * factor * f64::from(*scale) + f64::from(*bias))
            .collect()
    };
    sums(query, &out).iter().map(normed).collect()
}

/// Queries `[n][128]`, keys and values `[m][256]`.
fn attention(queries: &[f64], key_values: &[f64]) -> Rows {
    queries
        .chunks_exact(CHANNELS)
        .map(|query| attend(query, key_values))
        .collect()
}

fn attend(query: &[f64], key_values: &[f64]) -> Vec<f64> {
    let mut mixed = Vec::with_capacity(CHANNELS);
    for head in (0..CHANNELS).step_by(DEPTH) {
        let query = &query[head..][..DEPTH];
        let dot = |row: &[f64]| {
            query
                .iter()
                .zip(&row[head..])
                .map(|(a, b)| a * b)
                .sum::<f64>()
        };
        let scores: Vec<f64> = key_values.chunks_exact(2 * CHANNELS).map(dot).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut total, mut sum) = (0.0, [0.0; DEPTH]);
        for (score, row) in scores.iter().zip(key_values.chunks_exact(2 * CHANNELS)) {
            let weight = (score - most).exp();
            total += weight;
            for (sum, value) in sum.iter_mut().zip(&row[CHANNELS + head..]) {
                *sum += weight * value;
            }
        }
        mixed.extend(sum.map(|sum| sum / total));
    }
    mixed
}

/// All 10 + K outputs of the prediction heads.
fn predictions(weights: &DecoderWeights, x: &[f64]) -> Vec<f64> {
    const STARTS: [usize; 5] = [2, 3, 6, 8, 10];
    let hidden = relu(linear(&weights.heads_first, x));
    let rows = weights
        .heads_second
        .weight
        .chunks_exact(64)
        .zip(&weights.heads_second.bias);
    rows.enumerate()
        .map(|(output, (row, bias))| {
            let head = STARTS.iter().filter(|start| output >= **start).count();
            let own = row.iter().zip(&hidden[head * 64..]);
            own.map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*bias)
        })
        .collect()
}

fn flat(rows: &Rows) -> Vec<f32> {
    rows.iter().flatten().map(|v| *v as f32).collect()
}
