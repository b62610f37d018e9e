//! Decoder weights at the width of the query kernels: 128 channels, 8 heads of 16.
//!
//! Narrower models are embedded with zeros: channel i of a query stays channel i, channel d of attention
//! head h becomes 16 h + d. The norms are told how many channels are real.

use bevfusion_kernels::cuda::decoder_weights::{
    BOX_CHANNELS, CHANNELS, DecoderWeights, FFN, LinearWeights, PREDICTION, PREDICTION_HEADS,
};

use crate::config::ModelSpec;
use crate::graph::GraphError;

/// Channels of a head in the kernels.
pub(super) const HEAD_CHANNELS: usize = 16;

/// Where the kernels have channel `channel` of an attention with heads of `per_head` channels.
pub(super) const fn attention_channel(channel: usize, per_head: usize) -> usize {
    channel / per_head * HEAD_CHANNELS + channel % per_head
}

/// One side of a matrix: its real extent, its wide extent, and where each real index goes.
struct Side<'a> {
    real: usize,
    wide: usize,
    place: &'a dyn Fn(usize) -> usize,
}

/// Embeds the weights of a model.
///
/// # Errors
/// When the model is wider than the kernels.
pub fn widened_decoder(
    spec: &ModelSpec,
    narrow: &DecoderWeights,
) -> Result<DecoderWeights, GraphError> {
    let head = &spec.head;
    let limits = [
        ("head.hidden_channels", head.hidden_channels, CHANNELS),
        ("head.ffn_channels", head.ffn_channels, FFN),
        (
            "head.prediction_channels",
            head.prediction_channels,
            PREDICTION,
        ),
        ("head.num_heads", head.num_heads, CHANNELS / HEAD_CHANNELS),
    ];
    if let Some((key, found, limit)) = limits.into_iter().find(|(_, found, limit)| found > limit) {
        let problem = format!("at most {limit} on the GPU: use the CPU engine");
        return Err(GraphError::setting(key, found, &problem));
    }
    let per_head = head.hidden_channels / head.num_heads.max(1);
    let same = |i: usize| i;
    let inner = |i: usize| attention_channel(i, per_head);
    let third = |i: usize| i / head.hidden_channels * CHANNELS + inner(i % head.hidden_channels);
    let stacked =
        |i: usize| i / head.prediction_channels * PREDICTION + i % head.prediction_channels;
    let hidden = head.hidden_channels;
    let query = || Side {
        real: hidden,
        wide: CHANNELS,
        place: &same,
    };
    let attended = || Side {
        real: hidden,
        wide: CHANNELS,
        place: &inner,
    };
    let wide = || Side {
        real: head.ffn_channels,
        wide: FFN,
        place: &same,
    };
    let qkv = Side {
        real: 3 * hidden,
        wide: 3 * CHANNELS,
        place: &third,
    };
    let predicted = Side {
        real: PREDICTION_HEADS * head.prediction_channels,
        wide: PREDICTION_HEADS * PREDICTION,
        place: &stacked,
    };
    let rows = BOX_CHANNELS + spec.class_names.len();
    let outputs = Side {
        real: rows,
        wide: rows,
        place: &same,
    };
    let prediction = Side {
        real: head.prediction_channels,
        wide: PREDICTION,
        place: &same,
    };
    let classes = Side {
        real: spec.class_names.len(),
        wide: spec.class_names.len(),
        place: &same,
    };
    let point = Side {
        real: 2,
        wide: 2,
        place: &same,
    };
    Ok(DecoderWeights {
        class_table: matrix(&narrow.class_table, &classes, &query()),
        position: [
            linear(&narrow.position[0], &query(), &point),
            linear(&narrow.position[1], &query(), &query()),
        ],
        self_in: linear(&narrow.self_in, &qkv, &query()),
        self_out: linear(&narrow.self_out, &query(), &attended()),
        cross_query: linear(&narrow.cross_query, &attended(), &query()),
        cross_out: linear(&narrow.cross_out, &query(), &attended()),
        ffn: [
            linear(&narrow.ffn[0], &wide(), &query()),
            linear(&narrow.ffn[1], &query(), &wide()),
        ],
        norms: narrow.norms.each_ref().map(|norm| LinearWeights {
            weight: vector(&norm.weight, &query()),
            bias: vector(&norm.bias, &query()),
        }),
        heads_first: linear(&narrow.heads_first, &predicted, &query()),
        heads_second: linear(&narrow.heads_second, &outputs, &prediction),
    })
}

fn linear(narrow: &LinearWeights, out: &Side<'_>, input: &Side<'_>) -> LinearWeights {
    LinearWeights {
        weight: matrix(&narrow.weight, out, input),
        bias: vector(&narrow.bias, out),
    }
}

fn matrix(values: &[f32], out: &Side<'_>, input: &Side<'_>) -> Vec<f32> {
    let mut wide = vec![0.0; out.wide * input.wide];
    for (o, row) in values.chunks_exact(input.real).take(out.real).enumerate() {
        for (i, value) in row.iter().enumerate() {
            wide[(out.place)(o) * input.wide + (input.place)(i)] = *value;
        }
    }
    wide
}

fn vector(values: &[f32], out: &Side<'_>) -> Vec<f32> {
    let mut wide = vec![0.0; out.wide];
    for (o, value) in values.iter().take(out.real).enumerate() {
        wide[(out.place)(o)] = *value;
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::{Side, attention_channel, matrix};

    #[test]
    fn heads_move_to_multiples_of_sixteen() {
        let places: Vec<usize> = (0..10).map(|c| attention_channel(c, 4)).collect();
        assert_eq!(places, [0, 1, 2, 3, 16, 17, 18, 19, 32, 33]);
        assert!((0..128).all(|c| attention_channel(c, 16) == c));
    }

    #[test]
    fn a_narrow_matrix_is_embedded_in_zeros() {
        let spread = |i: usize| 2 * i;
        let same = |i: usize| i;
        let out = Side {
            real: 2,
            wide: 4,
            place: &spread,
        };
        let input = Side {
            real: 2,
            wide: 3,
            place: &same,
        };
        let wide = matrix(&[1.0, 2.0, 3.0, 4.0], &out, &input);
        assert_eq!(
            wide,
            [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]
        );
    }
}
