//! The head: every value up to the raw predictions, matched by proposal.

use bevfusion::graph::networks::head as head_graph;

use super::boxes::{self, RawHead};
use super::{Case, network, refused};
use crate::golden::GoldenError;
use crate::report::Report;

/// Values `[.., P]` per proposal and values `[P, ..]`.
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
const PROPOSALS_FIRST: [&str; 3] = [
    "head.query_pos",
    "head.after_self_attn",
    "head.after_cross_attn",
];
const MAPS: [&str; 3] = ["head.shared", "head.dense_heatmap", "head.heatmap_nms"];

pub(super) fn run(
    case: &Case<'_>,
    features: &[f32],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let graph = head_graph(&case.config, &case.weights).map_err(|e| refused("head", &e))?;
    let raw = ["bbox_pred", "score", "label_pred"];
    let indices = ["head.topk_index", "head.query_labels"];
    let names: Vec<&str> = MAPS
        .into_iter()
        .chain(PROPOSALS_LAST)
        .chain(PROPOSALS_FIRST)
        .chain(indices)
        .chain(raw)
        .collect();
    let tensors = network::run(case, &graph, &[features], &names)?;
    let tensor = |name: &str| {
        names
            .iter()
            .position(|n| *n == name)
            .map_or(&tensors[0], |i| &tensors[i])
    };

    for name in MAPS {
        case.golden
            .floats(report, name, network::floats(tensor(name))?)?;
    }
    let order = order(case, network::integers(tensor("head.topk_index"))?, report)?;
    let labels = permuted(network::integers(tensor("head.query_labels"))?, &order, 1);
    case.golden.integers(report, "head.query_labels", &labels)?;
    for name in PROPOSALS_LAST {
        let values = permuted_last(network::floats(tensor(name))?, &order);
        case.golden.floats(report, name, &values)?;
    }
    for name in PROPOSALS_FIRST {
        let values = network::floats(tensor(name))?;
        let width = values.len() / order.len().max(1);
        case.golden
            .floats(report, name, &permuted(values, &order, width))?;
    }
    let head = RawHead {
        bbox_pred: permuted_last(network::floats(tensor("bbox_pred"))?, &order),
        score: permuted(network::floats(tensor("score"))?, &order, 1),
        label: permuted(network::integers(tensor("label_pred"))?, &order, 1),
    };
    boxes::run(case, &head, report)
}

/// Our position of each golden proposal: the identity, unless neighbours with nearly equal scores
/// swapped.
fn order(case: &Case<'_>, got: &[i64], report: &mut Report) -> Result<Vec<usize>, GoldenError> {
    let want = case.golden.file.i64("head.topk_index")?;
    let found: Option<Vec<usize>> = want
        .iter()
        .map(|index| got.iter().position(|other| other == index))
        .collect();
    match found {
        Some(order) if case.limits.swaps => {
            let stage = format!("{} head.topk_index", case.golden.model);
            report.integers(stage, &permuted(got, &order, 1), &want);
            Ok(order)
        }
        _ => {
            case.golden.integers(report, "head.topk_index", got)?;
            Ok((0..got.len()).collect())
        }
    }
}

fn permuted<T: Copy>(values: &[T], order: &[usize], width: usize) -> Vec<T> {
    order
        .iter()
        .flat_map(|row| values[row * width..(row + 1) * width].iter().copied())
        .collect()
}

fn permuted_last<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    values
        .chunks_exact(order.len())
        .flat_map(|row| order.iter().map(|i| row[*i]))
        .collect()
}
