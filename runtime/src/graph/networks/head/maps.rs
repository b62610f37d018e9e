//! The dense part of the head: what the query kernels read of every cell.
//!
//! In: `bev_features` `[1, C, X, Y]`. Out: `shared` `[1, hidden, X, Y]`, `heatmap` logits `[1, K, X, Y]`,
//! `key_value` `[1, 256, X, Y]`: keys then values of the cross-attention, position and bias included, each
//! head at a multiple of 16 channels.

use super::query_weights::QueryWeights;
use super::widen::{HEAD_CHANNELS, attention_channel};
use super::{input_channels, proposals, shared};
use crate::config::ModelSpec;
use crate::graph::networks::bev_size;
use crate::graph::networks::layers::Layers;
use crate::graph::{Graph, GraphError};
use crate::weights::Weights;

/// Channels of the keys, and of the values.
const WIDE: usize = 128;

/// Builds the dense part; `query` holds the projection to keys and values.
///
/// # Errors
/// When the description cannot be built, or a weight is missing or does not fit.
pub fn head_maps(
    spec: &ModelSpec,
    weights: &Weights,
    query: &QueryWeights,
) -> Result<Graph, GraphError> {
    let [hidden, heads] = [spec.head.hidden_channels, spec.head.num_heads];
    if hidden > WIDE || heads == 0 || hidden / heads > HEAD_CHANNELS || heads > WIDE / HEAD_CHANNELS
    {
        return Err(GraphError::setting(
            "head.hidden_channels",
            hidden,
            "at most 128 channels in at most 8 heads of at most 16 run on the GPU: use the CPU engine",
        ));
    }
    let description = "Dense part of the TransFusion head. bev_features: [1, C, X, Y], rows x.";
    let mut l = Layers::new("head_maps", description, weights);
    let size = bev_size(spec)?;
    let x = l.graph.input(
        "bev_features",
        &[1, input_channels(spec)?, size[0], size[1]],
    )?;
    let features = shared(&mut l, x, hidden)?;
    let heatmap = proposals::logits(&mut l, features, spec)?;
    let cells = size[0] * size[1];
    let mut weight = vec![0.0; 2 * WIDE * hidden];
    let mut fixed = vec![0.0; 2 * WIDE * cells];
    for part in 0..2 {
        for channel in 0..hidden {
            let from = part * hidden + channel;
            let to = part * WIDE + attention_channel(channel, hidden / heads);
            weight[to * hidden..][..hidden]
                .copy_from_slice(&query.key_value[from * hidden..][..hidden]);
            for (cell, value) in fixed[to * cells..][..cells].iter_mut().enumerate() {
                *value = query.cells[cell * 2 * hidden + from];
            }
        }
    }
    let weight = l.graph.constant(&[2 * WIDE, hidden, 1, 1], weight)?;
    let fixed = l.graph.constant(&[1, 2 * WIDE, size[0], size[1]], fixed)?;
    let key_value = l.graph.conv2d(features, weight, None, 1, 0)?;
    let key_value = l.graph.add(key_value, fixed)?;
    l.graph.finish(&[
        ("shared", features),
        ("heatmap", heatmap),
        ("key_value", key_value),
    ])
}
