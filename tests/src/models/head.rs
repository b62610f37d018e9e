//! The head: every value up to the raw predictions, matched by proposal.

use bevfusion::engine::TensorBuffer;
use bevfusion::graph::Graph;
use bevfusion::graph::networks::head as head_graph;

use super::boxes::{self, RawHead};
use super::noise::{self, Spread};
use super::{Case, network, refused};
use crate::golden::GoldenError;
use crate::report::Report;

/// Values `[.., P]`.
const PROPOSALS_LAST: [&str; 11] = [
    "head.class_encoding",
    "head.query_init",
    "head.self_posembed",
    "head.decoder_out",
    "head.pred.center",
    "head.pred.height",
    "head.pred.dim",
    "head.pred.rot",
    "head.pred.vel",
    "head.pred.heatmap",
    "head.pred.query_heatmap_score",
];
/// Values `[P, ..]`.
const PROPOSALS_FIRST: [&str; 3] = [
    "head.query_pos",
    "head.after_self_attn",
    "head.after_cross_attn",
];
const MAPS: [&str; 3] = ["head.shared", "head.dense_heatmap", "head.heatmap_nms"];
const INTEGERS: [&str; 3] = ["head.topk_index", "head.query_labels", "label_pred"];
const RAW: [&str; 2] = ["bbox_pred", "score"];

/// Values of one run by name.
struct Values {
    names: Vec<&'static str>,
    tensors: Vec<TensorBuffer>,
}

impl Values {
    fn of(case: &Case<'_>, graph: &Graph, features: &[f32]) -> Result<Self, GoldenError> {
        let names: Vec<&str> = MAPS
            .into_iter()
            .chain(PROPOSALS_LAST)
            .chain(PROPOSALS_FIRST)
            .chain(INTEGERS)
            .chain(RAW)
            .collect();
        let tensors = network::run(case, graph, &[features], &names)?;
        Ok(Self { names, tensors })
    }

    fn tensor(&self, name: &str) -> Result<&TensorBuffer, GoldenError> {
        let place = self.names.iter().position(|other| *other == name);
        place
            .map(|place| &self.tensors[place])
            .ok_or_else(|| refused("head", &name))
    }

    fn floats(&self, name: &str) -> Result<&[f32], GoldenError> {
        network::floats(self.tensor(name)?)
    }

    fn integers(&self, name: &str) -> Result<&[i64], GoldenError> {
        network::integers(self.tensor(name)?)
    }

    /// Values `[P, width]` in the order of `order`.
    fn rows(&self, name: &str, order: &[usize]) -> Result<Vec<f32>, GoldenError> {
        let values = self.floats(name)?;
        Ok(permuted(values, order, values.len() / order.len().max(1)))
    }

    /// Values `[width, P]` in the order of `order`.
    fn columns(&self, name: &str, order: &[usize]) -> Result<Vec<f32>, GoldenError> {
        let values = self.floats(name)?;
        let rows = values.chunks_exact(order.len());
        Ok(rows.flat_map(|row| order.iter().map(|i| row[*i])).collect())
    }

    fn raw(&self, order: &[usize]) -> Result<RawHead, GoldenError> {
        Ok(RawHead {
            bbox_pred: self.columns("bbox_pred", order)?,
            score: self.rows("score", order)?,
            label: permuted(self.integers("label_pred")?, order, 1),
        })
    }
}

pub(super) fn run(
    case: &Case<'_>,
    features: &[f32],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let graph = head_graph(&case.config, &case.weights).map_err(|e| refused("head", &e))?;
    let values = Values::of(case, &graph, features)?;
    for name in MAPS {
        case.golden.floats(report, name, values.floats(name)?)?;
    }
    let golden_index = case.golden.file.i64("head.topk_index")?;
    let order = matched(
        case,
        &golden_index,
        values.integers("head.topk_index")?,
        report,
    )?;
    let labels = permuted(values.integers("head.query_labels")?, &order, 1);
    case.golden.integers(report, "head.query_labels", &labels)?;

    let noisy = perturbed(case, &graph, features)?;
    let noisy: Vec<(&Values, Vec<usize>)> = noisy
        .iter()
        .filter_map(|v| {
            Some((
                v,
                places(&golden_index, v.integers("head.topk_index").ok()?)?,
            ))
        })
        .collect();
    for name in PROPOSALS_LAST {
        let mut spread = Spread::columns(values.columns(name, &order)?, order.len());
        for (other, order) in &noisy {
            spread.add(&other.columns(name, order)?);
        }
        case.golden
            .floats_within(report, name, (&spread.base, &spread.allowance()))?;
    }
    for name in PROPOSALS_FIRST {
        let mut spread = Spread::rows(values.rows(name, &order)?, order.len());
        for (other, order) in &noisy {
            spread.add(&other.rows(name, order)?);
        }
        case.golden
            .floats_within(report, name, (&spread.base, &spread.allowance()))?;
    }
    let others: Result<Vec<RawHead>, _> = noisy.iter().map(|(v, order)| v.raw(order)).collect();
    boxes::run(case, &values.raw(&order)?, &others?, report)
}

/// Runs on features that differ by the goldens' own float32 noise; none for the tiny models, whose
/// noise is far below the tolerance.
fn perturbed(case: &Case<'_>, graph: &Graph, features: &[f32]) -> Result<Vec<Values>, GoldenError> {
    if !case.limits.swaps {
        return Ok(Vec::new());
    }
    noise::SEEDS
        .iter()
        .map(|seed| Values::of(case, graph, &noise::perturb(features, *seed)))
        .collect()
}

/// Our position of each golden proposal: the identity, unless neighbours with nearly equal scores
/// swapped.
fn matched(
    case: &Case<'_>,
    want: &[i64],
    got: &[i64],
    report: &mut Report,
) -> Result<Vec<usize>, GoldenError> {
    match places(want, got) {
        Some(order) if case.limits.swaps => {
            let stage = format!("{} head.topk_index", case.golden.model);
            report.integers(stage, &permuted(got, &order, 1), want);
            Ok(order)
        }
        _ => {
            case.golden.integers(report, "head.topk_index", got)?;
            Ok((0..got.len()).collect())
        }
    }
}

fn places(want: &[i64], got: &[i64]) -> Option<Vec<usize>> {
    want.iter()
        .map(|index| got.iter().position(|other| other == index))
        .collect()
}

fn permuted<T: Copy>(values: &[T], order: &[usize], width: usize) -> Vec<T> {
    order
        .iter()
        .flat_map(|row| values[row * width..(row + 1) * width].iter().copied())
        .collect()
}
