//! One decoder layer: self-attention of the queries, attention to the BEV map, FFN, each with residual
//! and LayerNorm after it. The position is added to the values too, as the original does.

use super::name_transposed;
use super::position::{embed, projected_cells};
use super::proposals::Proposals;
use crate::config::ModelSpec;
use crate::graph::networks::layers::{Layers, rounded, widened};
use crate::graph::{GraphError, ValueId};

/// Prefix of the layer's weights.
pub(super) const LAYER: &str = "bbox_head.decoder.0";

/// Third of an attention's `in_proj`: query, key or value.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Query,
    Key,
    Value,
}

/// Queries `[P, C]` after the layer.
pub(super) fn decoder(
    l: &mut Layers<'_>,
    proposals: &Proposals,
    spec: &ModelSpec,
) -> Result<ValueId, GraphError> {
    let [channels, heads] = [spec.head.hidden_channels, spec.head.num_heads];
    if heads == 0 || !channels.is_multiple_of(heads) {
        let problem = "hidden_channels must divide among the heads";
        return Err(GraphError::setting("head.num_heads", heads, problem));
    }
    let position = embed(
        l,
        proposals.position,
        &format!("{LAYER}.self_posembed"),
        channels,
    )?;
    name_transposed(l, position, "head.self_posembed")?;

    let placed = l.graph.add(proposals.query, position)?;
    let key = split_rows(l, placed, Part::Key, heads)?;
    let value = split_rows(l, placed, Part::Value, heads)?;
    let attended = attention(l, placed, [key, value], "self_attn", heads)?;
    let query = l.graph.add(proposals.query, attended)?;
    let query = l.layer_norm(query, &format!("{LAYER}.norms.0"))?;
    l.graph.name(query, "head.after_self_attn")?;

    let placed = l.graph.add(query, position)?;
    let key = split_cells(l, proposals, Part::Key, heads)?;
    let value = split_cells(l, proposals, Part::Value, heads)?;
    let attended = attention(l, placed, [key, value], "cross_attn", heads)?;
    let query = l.graph.add(query, attended)?;
    let query = l.layer_norm(query, &format!("{LAYER}.norms.1"))?;
    l.graph.name(query, "head.after_cross_attn")?;

    let ffn = format!("{LAYER}.ffn.layers");
    let hidden = l.linear(query, &format!("{ffn}.0.0"), spec.head.ffn_channels, true)?;
    let hidden = l.graph.relu(hidden)?;
    let out = l.linear(hidden, &format!("{ffn}.1"), channels, true)?;
    let query = l.graph.add(query, out)?;
    let query = l.layer_norm(query, &format!("{LAYER}.norms.2"))?;
    name_transposed(l, query, "head.decoder_out")?;
    Ok(query)
}

/// Weight `[C, C]` and bias `[C]` of one third of `in_proj`.
pub(super) fn projection<'w>(
    l: &Layers<'w>,
    attention: &str,
    part: Part,
    channels: usize,
) -> Result<(&'w [f32], &'w [f32]), GraphError> {
    let prefix = format!("{LAYER}.{attention}.attn.in_proj");
    let weight = l.weight(&format!("{prefix}_weight"), &[3 * channels, channels])?;
    let bias = l.weight(&format!("{prefix}_bias"), &[3 * channels])?;
    let area = channels * channels;
    let part = part as usize;
    Ok((
        &weight[part * area..][..area],
        &bias[part * channels..][..channels],
    ))
}

/// Weight and bias of an attention's query with the scale d^−½ in them.
pub(super) fn scaled_query(
    l: &Layers<'_>,
    attention: &str,
    channels: usize,
    heads: usize,
) -> Result<(Vec<f32>, Vec<f32>), GraphError> {
    let scale = ((channels / heads) as f64).sqrt().recip();
    let (weight, bias) = projection(l, attention, Part::Query, channels)?;
    let scaled = |values: &[f32]| {
        let scaled = widened(values);
        rounded(&scaled.iter().map(|v| v * scale).collect::<Vec<f64>>())
    };
    Ok((scaled(weight), scaled(bias)))
}

/// softmax(q · k) · v per head and the output projection; `[P, C]` to `[P, C]`. The scale d^−½ is in the
/// query's weights. Key is `[heads, d, n]`, value `[heads, n, d]`.
fn attention(
    l: &mut Layers<'_>,
    placed: ValueId,
    [key, value]: [ValueId; 2],
    name: &str,
    heads: usize,
) -> Result<ValueId, GraphError> {
    let shape = l.graph.shape(placed).to_vec();
    let channels = shape[1];
    let (weight, bias) = scaled_query(l, name, channels, heads)?;
    let query = l.linear_of(placed, &weight, Some(&bias))?;
    let query = l
        .graph
        .reshape(query, &[shape[0], heads, channels / heads])?;
    let query = l.graph.transpose(query, &[1, 0, 2])?;
    let scores = l.graph.matmul(query, key)?;
    let weights = l.graph.softmax(scores, 2)?;
    let mixed = l.graph.matmul(weights, value)?;
    let mixed = l.graph.transpose(mixed, &[1, 0, 2])?;
    let mixed = l.graph.reshape(mixed, &shape)?;
    l.linear(
        mixed,
        &format!("{LAYER}.{name}.attn.out_proj"),
        channels,
        true,
    )
}

/// Keys `[heads, d, P]` or values `[heads, P, d]` of the self-attention.
fn split_rows(
    l: &mut Layers<'_>,
    placed: ValueId,
    part: Part,
    heads: usize,
) -> Result<ValueId, GraphError> {
    let shape = l.graph.shape(placed).to_vec();
    let (weight, bias) = projection(l, "self_attn", part, shape[1])?;
    let y = l.linear_of(placed, weight, Some(bias))?;
    let y = l.graph.reshape(y, &[shape[0], heads, shape[1] / heads])?;
    match part {
        Part::Key => l.graph.transpose(y, &[1, 2, 0]),
        Part::Query | Part::Value => l.graph.transpose(y, &[1, 0, 2]),
    }
}

/// Keys `[heads, d, X·Y]` or values `[heads, X·Y, d]` of the BEV map: W · F plus a constant that holds
/// W · position + b.
fn split_cells(
    l: &mut Layers<'_>,
    proposals: &Proposals,
    part: Part,
    heads: usize,
) -> Result<ValueId, GraphError> {
    let &[channels, cells] = l.graph.shape(proposals.features) else {
        return Err(GraphError::setting("head", "features", "expected [C, X·Y]"));
    };
    let (weight, bias) = projection(l, "cross_attn", part, channels)?;
    let name = format!("{LAYER}.cross_posembed");
    let fixed = projected_cells(l, &name, proposals.size, weight, bias)?;
    let fixed = l.graph.constant(&[channels, cells], fixed)?;
    let weight = l.graph.constant(&[channels, channels], weight)?;
    let y = l.graph.matmul(weight, proposals.features)?;
    let y = l.graph.add(y, fixed)?;
    let y = l.graph.reshape(y, &[heads, channels / heads, cells])?;
    match part {
        Part::Query | Part::Key => Ok(y),
        Part::Value => l.graph.transpose(y, &[0, 2, 1]),
    }
}
