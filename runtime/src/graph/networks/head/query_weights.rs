//! Weights of the query decoder for the device, folded by the code that builds the graph.
//!
//! Out: what the decoder's launcher takes, and for the dense part the projection of the features to keys
//! and values with its constant per cell.

use bevfusion_kernels::cuda::decoder_weights::{DecoderWeights, LinearWeights};

use super::decoder::{LAYER, Part, projection, scaled_query};
use super::position::{Embedding, embedding, projected_cells};
use super::prediction::stacked;
use super::proposals::class_table;
use crate::config::ModelSpec;
use crate::graph::GraphError;
use crate::graph::networks::bev_size;
use crate::graph::networks::layers::{Layers, rounded};
use crate::weights::Weights;

/// Weights of everything behind the shared convolution and the heatmap.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryWeights {
    /// The query decoder.
    pub decoder: DecoderWeights,
    /// Keys, then values of a cell are this `[2C, C]` times its shared features …
    pub key_value: Vec<f32>,
    /// … plus this row of `[X·Y, 2C]`: what its position and the bias add.
    pub cells: Vec<f32>,
}

/// Collects and folds the weights.
///
/// # Errors
/// When the description cannot be built, or a weight is missing or does not fit.
pub fn query_weights(spec: &ModelSpec, weights: &Weights) -> Result<QueryWeights, GraphError> {
    let l = Layers::new("query_weights", "", weights);
    let channels = spec.head.hidden_channels;
    let (key, key_cells) = cell_projection(&l, spec, Part::Key)?;
    let (value, value_cells) = cell_projection(&l, spec, Part::Value)?;
    let cells = key_cells.len() / channels.max(1);
    let row = |cell: usize| {
        let both = key_cells
            .chunks_exact(cells)
            .chain(value_cells.chunks_exact(cells));
        both.map(move |channel| channel[cell])
    };
    Ok(QueryWeights {
        decoder: decoder_weights(&l, spec)?,
        key_value: [key, value].concat(),
        cells: (0..cells).flat_map(row).collect(),
    })
}

/// Weight `[C, C]` and constant `[C, X·Y]` of the keys or values of the cells.
fn cell_projection(
    l: &Layers<'_>,
    spec: &ModelSpec,
    part: Part,
) -> Result<(Vec<f32>, Vec<f32>), GraphError> {
    let (weight, bias) = projection(l, "cross_attn", part, spec.head.hidden_channels)?;
    let name = format!("{LAYER}.cross_posembed");
    let cells = projected_cells(l, &name, bev_size(spec)?, weight, bias)?;
    Ok((weight.to_vec(), cells))
}

fn decoder_weights(l: &Layers<'_>, spec: &ModelSpec) -> Result<DecoderWeights, GraphError> {
    let [channels, heads] = [spec.head.hidden_channels, spec.head.num_heads];
    if heads == 0 || !channels.is_multiple_of(heads) {
        let problem = "hidden_channels must divide among the heads";
        return Err(GraphError::setting("head.num_heads", heads, problem));
    }
    let query = |attention: &str| {
        let (weight, bias) = scaled_query(l, attention, channels, heads)?;
        Ok::<_, GraphError>(LinearWeights { weight, bias })
    };
    let linear = |name: &str, shape: [usize; 2]| stored(l, &format!("{LAYER}.{name}"), &shape);
    let norm = |index: usize| stored(l, &format!("{LAYER}.norms.{index}"), &[channels]);
    let square = [channels; 2];
    let wide = spec.head.ffn_channels;
    let predictions = stacked(l, spec)?;
    let name = format!("{LAYER}.self_posembed");
    let Embedding { first, second } = embedding(l, &name, channels)?;
    let position = [first, second].map(|layer| LinearWeights {
        weight: rounded(&layer.weight),
        bias: rounded(&layer.bias),
    });
    let mut self_in = query("self_attn")?;
    for part in [Part::Key, Part::Value] {
        let (weight, bias) = projection(l, "self_attn", part, channels)?;
        self_in.weight.extend(weight);
        self_in.bias.extend(bias);
    }
    Ok(DecoderWeights {
        class_table: class_table(l, spec.class_names.len(), channels)?,
        position,
        self_in,
        self_out: linear("self_attn.attn.out_proj", square)?,
        cross_query: query("cross_attn")?,
        cross_out: linear("cross_attn.attn.out_proj", square)?,
        ffn: [
            linear("ffn.layers.0.0", [wide, channels])?,
            linear("ffn.layers.1", [channels, wide])?,
        ],
        norms: [norm(0)?, norm(1)?, norm(2)?],
        heads_first: LinearWeights {
            weight: predictions.first,
            bias: predictions.first_bias,
        },
        heads_second: LinearWeights {
            weight: predictions.second.concat(),
            bias: predictions.second_bias,
        },
    })
}

fn stored(l: &Layers<'_>, name: &str, shape: &[usize]) -> Result<LinearWeights, GraphError> {
    Ok(LinearWeights {
        weight: l.weight(&format!("{name}.weight"), shape)?.to_vec(),
        bias: l.weight(&format!("{name}.bias"), &shape[..1])?.to_vec(),
    })
}
