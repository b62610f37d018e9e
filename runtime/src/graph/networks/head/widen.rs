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
struct Side {
    real: usize,
    wide: usize,
    place: Place,
}

/// Where real indices go.
#[derive(Clone, Copy)]
enum Place {
    /// Where they are.
    Same,
    /// Heads of so many channels, each to a multiple of 16.
    Heads(usize),
    /// Blocks of `from`, each to a multiple of `to`, their contents by heads of `per_head` where given.
    Blocks {
        from: usize,
        to: usize,
        per_head: Option<usize>,
    },
}

impl Side {
    const fn same(real: usize, wide: usize) -> Self {
        let place = Place::Same;
        Self { real, wide, place }
    }

    const fn at(&self, index: usize) -> usize {
        match self.place {
            Place::Same => index,
            Place::Heads(per_head) => attention_channel(index, per_head),
            Place::Blocks { from, to, per_head } => {
                let within = match per_head {
                    Some(per_head) => attention_channel(index % from, per_head),
                    None => index % from,
                };
                index / from * to + within
            }
        }
    }
}

/// The sides of a model's matrices.
struct Sides {
    query: Side,
    attended: Side,
    self_in: Side,
    ffn: Side,
    predicted: Side,
    prediction: Side,
    outputs: Side,
    classes: Side,
}

impl Sides {
    fn of(spec: &ModelSpec) -> Self {
        let head = &spec.head;
        let (hidden, narrow) = (head.hidden_channels, head.prediction_channels);
        let per_head = hidden / head.num_heads.max(1);
        let classes = spec.class_names.len();
        let blocks = |count: usize, from, to, per_head| Side {
            real: count * from,
            wide: count * to,
            place: Place::Blocks { from, to, per_head },
        };
        Self {
            query: Side::same(hidden, CHANNELS),
            attended: Side {
                real: hidden,
                wide: CHANNELS,
                place: Place::Heads(per_head),
            },
            self_in: blocks(3, hidden, CHANNELS, Some(per_head)),
            ffn: Side::same(head.ffn_channels, FFN),
            predicted: blocks(PREDICTION_HEADS, narrow, PREDICTION, None),
            prediction: Side::same(narrow, PREDICTION),
            outputs: Side::same(BOX_CHANNELS + classes, BOX_CHANNELS + classes),
            classes: Side::same(classes, classes),
        }
    }
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
    let side = Sides::of(spec);
    let (query, attended) = (&side.query, &side.attended);
    Ok(DecoderWeights {
        class_table: matrix(&narrow.class_table, &side.classes, query),
        position: [
            linear(&narrow.position[0], query, &Side::same(2, 2)),
            linear(&narrow.position[1], query, query),
        ],
        self_in: linear(&narrow.self_in, &side.self_in, query),
        self_out: linear(&narrow.self_out, query, attended),
        cross_query: linear(&narrow.cross_query, attended, query),
        cross_out: linear(&narrow.cross_out, query, attended),
        ffn: [
            linear(&narrow.ffn[0], &side.ffn, query),
            linear(&narrow.ffn[1], query, &side.ffn),
        ],
        norms: narrow.norms.each_ref().map(|norm| LinearWeights {
            weight: vector(&norm.weight, query),
            bias: vector(&norm.bias, query),
        }),
        heads_first: linear(&narrow.heads_first, &side.predicted, query),
        heads_second: linear(&narrow.heads_second, &side.outputs, &side.prediction),
    })
}

fn linear(narrow: &LinearWeights, out: &Side, input: &Side) -> LinearWeights {
    LinearWeights {
        weight: matrix(&narrow.weight, out, input),
        bias: vector(&narrow.bias, out),
    }
}

fn matrix(values: &[f32], out: &Side, input: &Side) -> Vec<f32> {
    let mut wide = vec![0.0; out.wide * input.wide];
    for (o, row) in values.chunks_exact(input.real).take(out.real).enumerate() {
        for (i, value) in row.iter().enumerate() {
            wide[out.at(o) * input.wide + input.at(i)] = *value;
        }
    }
    wide
}

fn vector(values: &[f32], out: &Side) -> Vec<f32> {
    let mut wide = vec![0.0; out.wide];
    for (o, value) in values.iter().take(out.real).enumerate() {
        wide[out.at(o)] = *value;
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::{Place, Side, attention_channel, matrix};

    #[test]
    fn heads_move_to_multiples_of_sixteen() {
        let places: Vec<usize> = (0..10).map(|c| attention_channel(c, 4)).collect();
        assert_eq!(places, [0, 1, 2, 3, 16, 17, 18, 19, 32, 33]);
        assert!((0..128).all(|c| attention_channel(c, 16) == c));
    }

    #[test]
    fn a_narrow_matrix_is_embedded_in_zeros() {
        let out = Side {
            real: 2,
            wide: 32,
            place: Place::Heads(1),
        };
        let wide = matrix(&[1.0, 2.0, 3.0, 4.0], &out, &Side::same(2, 3));
        assert_eq!(wide.len(), 96);
        assert_eq!(wide[..3], [1.0, 2.0, 0.0]);
        assert_eq!(wide[48..51], [3.0, 4.0, 0.0]);
        assert_eq!(wide.iter().filter(|value| **value > 0.0).count(), 4);
    }

    #[test]
    fn blocks_move_with_their_heads() {
        let side = Side {
            real: 24,
            wide: 384,
            place: Place::Blocks {
                from: 8,
                to: 128,
                per_head: Some(4),
            },
        };
        let places: Vec<usize> = [0, 3, 4, 8, 23].map(|i| side.at(i)).to_vec();
        assert_eq!(places, [0, 3, 16, 128, 275]);
    }
}
