//! Position embedding of the decoder: (x, y) in cells → C channels, by two affine layers with a ReLU.

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::proposals::cell_centres;
use super::{EPS, Norm, conv1x1};
use crate::graph::networks::layers::{Affine, Layers, rounded, widened};
use crate::graph::{GraphError, ValueId};

/// Both layers of one embedding, the batch norm folded into the first.
pub(super) struct Embedding {
    pub(super) first: Affine,
    pub(super) second: Affine,
}

pub(super) fn embedding(
    l: &Layers<'_>,
    name: &str,
    channels: usize,
) -> Result<Embedding, GraphError> {
    let prefix = format!("{name}.position_embedding_head");
    let [first, norm, second] = [0, 1, 3].map(|index| format!("{prefix}.{index}"));
    let norm = Norm {
        name: &norm,
        eps: EPS,
    };
    let layer = conv1x1(&first, channels, true, Some(norm));
    let first = l.affine(&layer, &[channels, 2, 1], &|i| i / 2)?;
    let layer = conv1x1(&second, channels, true, None);
    let second = l.affine(&layer, &[channels, channels, 1], &|i| i / channels)?;
    Ok(Embedding { first, second })
}

/// Embedding of positions that depend on the frame: `[P, 2]` → `[P, C]`.
pub(super) fn embed(
    l: &mut Layers<'_>,
    position: ValueId,
    name: &str,
    channels: usize,
) -> Result<ValueId, GraphError> {
    let Embedding { first, second } = embedding(l, name, channels)?;
    let bias = rounded(&first.bias);
    let hidden = l.linear_of(position, &rounded(&first.weight), Some(&bias))?;
    let hidden = l.graph.relu(hidden)?;
    l.linear_of(
        hidden,
        &rounded(&second.weight),
        Some(&rounded(&second.bias)),
    )
}

/// W · embedding(cell) + b for every cell of the BEV map, `[C, X·Y]`: what the fixed cell positions add
/// to a key or value projection `W · (feature + embedding) + b`. Computed in float64, rounded once.
pub(super) fn projected_cells(
    l: &Layers<'_>,
    name: &str,
    size: [usize; 2],
    weight: &[f32],
    bias: &[f32],
) -> Result<Vec<f32>, GraphError> {
    let channels = bias.len();
    let Embedding { first, second } = embedding(l, name, channels)?;
    let weight = widened(weight);
    let bias: Vec<f64> = (weight.chunks_exact(channels).zip(bias))
        .map(|(row, bias)| f64::from(*bias) + dot(row, &second.bias))
        .collect();
    let combined = product(&weight, &second.weight, channels);
    let centres = widened(&cell_centres(size));
    let hidden: Vec<Vec<f64>> = (centres.as_chunks::<2>().0)
        .par_iter()
        .map(|centre| {
            let rows = first.weight.chunks_exact(2).zip(&first.bias);
            rows.map(|(row, bias)| (dot(row, centre) + bias).max(0.0))
                .collect()
        })
        .collect();
    let rows: Vec<(&[f64], f64)> = combined.chunks_exact(channels).zip(bias).collect();
    let projected: Vec<Vec<f32>> = rows
        .par_iter()
        .map(|(row, bias)| {
            let cells = hidden.iter();
            cells
                .map(|hidden| (dot(row, hidden) + bias) as f32)
                .collect()
        })
        .collect();
    Ok(projected.concat())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a · b, both `[n, n]`.
fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for (row, sum) in a.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        for (factor, other) in row.iter().zip(b.chunks_exact(n)) {
            for (sum, value) in sum.iter_mut().zip(other) {
                *sum += factor * value;
            }
        }
    }
    out
}
