//! Box and class predictions of every query.
//!
//! The six prediction heads of the original are one network here: their first layers are stacked, their
//! second layers stand on the diagonal of one matrix, so that two products replace twelve.

use super::proposals::Proposals;
use super::{EPS, Norm, conv1x1};
use crate::config::ModelSpec;
use crate::graph::networks::layers::{Layers, rounded};
use crate::graph::{GraphError, ValueId};

/// Heads that make the box, in the order of `bbox_pred`, with their channels.
const BOX_HEADS: [(&str, usize); 5] = [
    ("center", 2),
    ("height", 1),
    ("dim", 3),
    ("rot", 2),
    ("vel", 2),
];

/// Channels of a box.
const BOX_CHANNELS: usize = 10;

pub(super) struct Predictions {
    /// `[10, P]`.
    pub(super) boxes: ValueId,
    /// `[P]`.
    pub(super) score: ValueId,
}

/// Predictions of the queries `[P, C]`.
pub(super) fn predictions(
    l: &mut Layers<'_>,
    query: ValueId,
    proposals: &Proposals,
    spec: &ModelSpec,
) -> Result<Predictions, GraphError> {
    let classes = spec.class_names.len();
    let count = spec.head.num_proposals;
    let rows = raw(l, query, spec)?;
    let raw_boxes = l.graph.slice(rows, 0, 0..BOX_CHANNELS)?;
    let offset = l.graph.transpose(proposals.position, &[1, 0])?;
    let offset = l.graph.pad(offset, &[0, 0], &[BOX_CHANNELS - 2, 0])?;
    let boxes = l.graph.add(raw_boxes, offset)?;
    let mut start = 0;
    for (name, channels) in BOX_HEADS {
        let part = l.graph.slice(boxes, 0, start..start + channels)?;
        l.graph.name(part, &format!("head.pred.{name}"))?;
        start += channels;
    }
    let logits = (l.graph).slice(rows, 0, BOX_CHANNELS..BOX_CHANNELS + classes)?;
    l.graph.name(logits, "head.pred.heatmap")?;
    let own = own_class(l, logits, proposals.labels, [classes, count])?;
    let own = l.graph.sigmoid(own)?;
    let score = l.graph.mul(own, proposals.score)?;
    Ok(Predictions { boxes, score })
}

/// The logit of each proposal's own class. The score of the other classes is multiplied by 0 in the
/// original, so this one is the maximum over the classes.
fn own_class(
    l: &mut Layers<'_>,
    logits: ValueId,
    labels: ValueId,
    [classes, count]: [usize; 2],
) -> Result<ValueId, GraphError> {
    let stride = l.graph.constant_i64(&[1], [count as i64])?;
    let columns: Vec<i64> = (0..count as i64).collect();
    let columns = l.graph.constant_i64(&[count], columns)?;
    let row = l.graph.mul(labels, stride)?;
    let index = l.graph.add(row, columns)?;
    let flat = l.graph.reshape(logits, &[classes * count])?;
    l.graph.gather(flat, index, 0)
}

/// Both layers of all heads, one head's rows after the other's.
pub(super) struct Stacked {
    /// `[6 · width, C]`, batch norms folded.
    pub(super) first: Vec<f32>,
    /// `[6 · width]`.
    pub(super) first_bias: Vec<f32>,
    /// Second layers `[channels, width]` of each head.
    pub(super) second: Vec<Vec<f32>>,
    /// `[10 + K]`.
    pub(super) second_bias: Vec<f32>,
}

pub(super) fn stacked(l: &Layers<'_>, spec: &ModelSpec) -> Result<Stacked, GraphError> {
    let [inner, width] = [spec.head.hidden_channels, spec.head.prediction_channels];
    let heads = (BOX_HEADS.into_iter()).chain([("heatmap", spec.class_names.len())]);
    let (mut first, mut first_bias) = (Vec::new(), Vec::new());
    let (mut second, mut second_bias) = (Vec::new(), Vec::new());
    for (name, channels) in heads {
        let prefix = format!("bbox_head.prediction_heads.0.{name}");
        let norm = Norm {
            name: &format!("{prefix}.0.bn"),
            eps: EPS,
        };
        let layer = format!("{prefix}.0.conv");
        let layer = conv1x1(&layer, width, false, Some(norm));
        let affine = l.affine(&layer, &[width, inner, 1], &|i| i / inner)?;
        first.extend(rounded(&affine.weight));
        first_bias.extend(rounded(&affine.bias));
        let weight = l.weight(&format!("{prefix}.1.weight"), &[channels, width, 1])?;
        second.push(weight.to_vec());
        second_bias.extend(l.weight(&format!("{prefix}.1.bias"), &[channels])?);
    }
    Ok(Stacked {
        first,
        first_bias,
        second,
        second_bias,
    })
}

/// All heads at once: `[10 + K, P]`.
fn raw(l: &mut Layers<'_>, query: ValueId, spec: &ModelSpec) -> Result<ValueId, GraphError> {
    let width = spec.head.prediction_channels;
    let heads = stacked(l, spec)?;
    let total = width * heads.second.len();
    let mut second = Vec::new();
    for (i, head) in heads.second.iter().enumerate() {
        for row in head.chunks_exact(width) {
            let start = second.len();
            second.resize(start + total, 0.0);
            second[start + i * width..][..width].copy_from_slice(row);
        }
    }
    let hidden = l.linear_of(query, &heads.first, Some(&heads.first_bias))?;
    let hidden = l.graph.relu(hidden)?;
    let rows = l.linear_of(hidden, &second, Some(&heads.second_bias))?;
    l.graph.transpose(rows, &[1, 0])
}
