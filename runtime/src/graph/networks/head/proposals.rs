//! Proposals: the best local maxima of the class heatmaps.
//!
//! In: shared features `[1, C, X, Y]`. Out: P queries `[P, C]` with their class, cell and heatmap score.

use super::{EPS, Norm, conv3x3, name_transposed};
use crate::config::{HeatmapBorder, ModelSpec};
use crate::graph::networks::layers::{Conv, Layers, transposed};
use crate::graph::{GraphError, ValueId};

/// What the decoder starts from.
pub(super) struct Proposals {
    /// Shared features `[C, X·Y]`.
    pub(super) features: ValueId,
    /// X, Y.
    pub(super) size: [usize; 2],
    /// Feature of the cell plus class encoding `[P, C]`.
    pub(super) query: ValueId,
    /// Cell centres (x + 0.5, y + 0.5) `[P, 2]`.
    pub(super) position: ValueId,
    /// Class `[P]`, int64.
    pub(super) labels: ValueId,
    /// Heatmap value of that class there `[P]`.
    pub(super) score: ValueId,
}

pub(super) fn proposals(
    l: &mut Layers<'_>,
    features: ValueId,
    spec: &ModelSpec,
) -> Result<Proposals, GraphError> {
    let &[_, channels, rows, columns] = l.graph.shape(features) else {
        return Err(GraphError::setting(
            "bev_features",
            l.graph.shape(features),
            "not a map",
        ));
    };
    let cells = rows * columns;
    let classes = spec.class_names.len();
    let heatmap = heatmap(l, features, spec)?;
    let flat = l.graph.reshape(heatmap, &[classes * cells])?;
    let [score, index] = l.graph.top_k(flat, spec.head.num_proposals)?;
    l.graph.name(index, "head.topk_index")?;
    let per_class = l.graph.constant_i64(&[1], [cells as i64])?;
    let labels = l.graph.div(index, per_class)?;
    l.graph.name(labels, "head.query_labels")?;
    let first = l.graph.mul(labels, per_class)?;
    let cell = l.graph.sub(index, first)?;

    let table = cell_centres([rows, columns]);
    let table = l.graph.constant(&[cells, 2], table)?;
    let position = l.graph.gather(table, cell, 0)?;
    l.graph.name(position, "head.query_pos")?;
    let features = l.graph.reshape(features, &[channels, cells])?;
    let gathered = l.graph.gather(features, cell, 1)?;
    let gathered = l.graph.transpose(gathered, &[1, 0])?;
    let encoding = class_encoding(l, labels, classes, channels)?;
    let query = l.graph.add(gathered, encoding)?;
    name_transposed(l, query, "head.query_init")?;

    let by_class = l.graph.reshape(heatmap, &[classes, cells])?;
    let all = l.graph.gather(by_class, cell, 1)?;
    l.graph.name(all, "head.pred.query_heatmap_score")?;
    Ok(Proposals {
        features,
        size: [rows, columns],
        query,
        position,
        labels,
        score,
    })
}

/// Centres of all cells, x-major, in cells.
pub(super) fn cell_centres([rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..rows)
        .flat_map(|x| (0..columns).flat_map(move |y| [x as f32 + 0.5, y as f32 + 0.5]))
        .collect()
}

/// Class scores `[1, K, X, Y]`, zero where a cell is no local maximum.
fn heatmap(l: &mut Layers<'_>, features: ValueId, spec: &ModelSpec) -> Result<ValueId, GraphError> {
    let logits = logits(l, features, spec)?;
    let scores = l.graph.sigmoid(logits)?;
    let mut parts = Vec::new();
    for (pooled, range) in runs(&pooled_classes(spec)?) {
        let part = l.graph.slice(scores, 1, range)?;
        parts.push(if pooled {
            suppressed(l, part, spec)?
        } else {
            part
        });
    }
    let maxima = l.graph.concat(&parts, 1)?;
    l.graph.name(maxima, "head.heatmap_nms")
}

/// Class logits `[1, K, X, Y]`.
pub(super) fn logits(
    l: &mut Layers<'_>,
    features: ValueId,
    spec: &ModelSpec,
) -> Result<ValueId, GraphError> {
    let hidden = Conv {
        norm: Some(Norm {
            name: "bbox_head.heatmap_head.0.bn",
            eps: EPS,
        }),
        relu: true,
        ..conv3x3(
            "bbox_head.heatmap_head.0.conv",
            spec.head.hidden_channels,
            false,
        )
    };
    let hidden = l.conv(features, &hidden)?;
    let classes = spec.class_names.len();
    let logits = l.conv(hidden, &conv3x3("bbox_head.heatmap_head.1", classes, true))?;
    l.graph.name(logits, "head.dense_heatmap")
}

/// One flag per class: whether only its local maxima count.
pub(super) fn pooled_classes(spec: &ModelSpec) -> Result<Vec<bool>, GraphError> {
    let pooled = &spec.head.dense_heatmap_pooling_classes;
    if let Some(unknown) = pooled.iter().find(|name| !spec.class_names.contains(name)) {
        return Err(GraphError::setting(
            "head.dense_heatmap_pooling_classes",
            unknown,
            &format!("is not one of the classes {:?}", spec.class_names),
        ));
    }
    let flags = spec.class_names.iter().map(|name| pooled.contains(name));
    Ok(flags.collect())
}

/// Neighbouring classes that are treated alike.
fn runs(flags: &[bool]) -> Vec<(bool, std::ops::Range<usize>)> {
    let mut start = 0;
    let groups = flags.chunk_by(|a, b| a == b);
    groups
        .map(|group| {
            let range = start..start + group.len();
            start = range.end;
            (group[0], range)
        })
        .collect()
}

/// Scores where they are the largest of their window, else 0. With [`HeatmapBorder::Suppress`] only whole
/// windows are looked at, so the cells along the border are 0.
fn suppressed(l: &mut Layers<'_>, x: ValueId, spec: &ModelSpec) -> Result<ValueId, GraphError> {
    let kernel = spec.head.nms_kernel_size;
    if kernel.is_multiple_of(2) {
        return Err(GraphError::setting(
            "head.nms_kernel_size",
            kernel,
            "must be odd, so that a window has a middle",
        ));
    }
    let ring = kernel / 2;
    let largest = match spec.head.heatmap_border {
        HeatmapBorder::Keep => l.graph.max_pool2d(x, kernel, ring)?,
        HeatmapBorder::Suppress => {
            let inner = l.graph.max_pool2d(x, kernel, 0)?;
            l.graph
                .pad(inner, &[0, 0, ring, ring], &[0, 0, ring, ring])?
        }
    };
    let is_largest = l.graph.equal(x, largest)?;
    l.graph.mul(x, is_largest)
}

/// Class encodings `[K, C]`.
pub(super) fn class_table(
    l: &Layers<'_>,
    classes: usize,
    channels: usize,
) -> Result<Vec<f32>, GraphError> {
    let weight = l.weight("bbox_head.class_encoding.weight", &[channels, classes, 1])?;
    let bias = l.weight("bbox_head.class_encoding.bias", &[channels])?;
    let mut table = transposed(weight, channels, classes);
    for row in table.chunks_exact_mut(channels) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
    Ok(table)
}

/// W · onehot(class) + b, which is a row of a table.
fn class_encoding(
    l: &mut Layers<'_>,
    labels: ValueId,
    classes: usize,
    channels: usize,
) -> Result<ValueId, GraphError> {
    let table = class_table(l, classes, channels)?;
    let table = l.graph.constant(&[classes, channels], table)?;
    let encoding = l.graph.gather(table, labels, 0)?;
    name_transposed(l, encoding, "head.class_encoding")?;
    Ok(encoding)
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn classes_group_into_runs_that_are_treated_alike() {
        let flags = [true, true, false, true];
        assert_eq!(runs(&flags), [(true, 0..2), (false, 2..3), (true, 3..4)]);
        assert_eq!(runs(&[false, false]), [(false, 0..2)]);
    }
}
