//! Weights of the query decoder as the launcher takes them.
//!
//! float32, row-major `[out][in]`, batch norms folded, the attentions' scale d^−½ in the query's weights.

use crate::driver::DriverError;

/// Channels of a query.
pub const CHANNELS: usize = 128;
/// Hidden channels of the feed-forward part.
pub const FFN: usize = 256;
/// Hidden channels of a prediction head.
pub const PREDICTION: usize = 64;
/// Prediction heads: centre, height, extents, heading, velocity, classes.
pub const PREDICTION_HEADS: usize = 6;
/// Values of a box code.
pub const BOX_CHANNELS: usize = 10;

/// A linear layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinearWeights {
    /// `[out][in]`.
    pub weight: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// Everything between the proposals and the box codes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecoderWeights {
    /// Class encoding `[K][128]`, bias included.
    pub class_table: Vec<f32>,
    /// Position embedding: `[128][2]`, `[128][128]`.
    pub position: [LinearWeights; 2],
    /// Query (scaled), key and value of the self-attention: `[384][128]`.
    pub self_in: LinearWeights,
    /// Output of the self-attention.
    pub self_out: LinearWeights,
    /// Query of the cross-attention (scaled).
    pub cross_query: LinearWeights,
    /// Output of the cross-attention.
    pub cross_out: LinearWeights,
    /// Feed-forward: `[256][128]`, `[128][256]`.
    pub ffn: [LinearWeights; 2],
    /// Scale (`weight`) and bias of the three norms.
    pub norms: [LinearWeights; 3],
    /// First layers of the six prediction heads, stacked: `[384][128]`.
    pub heads_first: LinearWeights,
    /// Rows of their second layers in the order of the outputs: `[10 + K][64]`.
    pub heads_second: LinearWeights,
}

/// Where a layer lies among the packed values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) weight: usize,
    pub(super) bias: usize,
}

/// All values one after the other, each part at a multiple of 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) values: Vec<f32>,
    pub(super) layers: Vec<Place>,
}

impl DecoderWeights {
    /// Packs in the order of the kernels' parameter; the class table is first.
    pub(super) fn pack(&self, classes: usize) -> Result<Packed, DriverError> {
        let mut packed = Packed::default();
        let table = &self.class_table;
        if table.len() != classes * CHANNELS {
            return Err(misfit("class_table", table.len(), classes * CHANNELS));
        }
        packed.push(table);
        let [first, second] = &self.position;
        let [wide, narrow] = &self.ffn;
        let turned = [
            ("position.0", first, [CHANNELS, 2]),
            ("position.1", second, [CHANNELS, CHANNELS]),
            ("self_in", &self.self_in, [3 * CHANNELS, CHANNELS]),
            ("self_out", &self.self_out, [CHANNELS, CHANNELS]),
            ("cross_query", &self.cross_query, [CHANNELS, CHANNELS]),
            ("cross_out", &self.cross_out, [CHANNELS, CHANNELS]),
            ("ffn.0", wide, [FFN, CHANNELS]),
            ("ffn.1", narrow, [CHANNELS, FFN]),
        ];
        for (name, layer, shape) in turned {
            packed.layer(name, layer, shape, true)?;
        }
        for norm in &self.norms {
            packed.layer("norms", norm, [CHANNELS, 1], false)?;
        }
        let stacked = [PREDICTION_HEADS * PREDICTION, CHANNELS];
        packed.layer("heads_first", &self.heads_first, stacked, true)?;
        let rows = [BOX_CHANNELS + classes, PREDICTION];
        packed.layer("heads_second", &self.heads_second, rows, false)?;
        Ok(packed)
    }
}

impl Packed {
    fn push(&mut self, values: &[f32]) -> usize {
        let start = self.values.len();
        self.values.extend_from_slice(values);
        self.values
            .resize(self.values.len().next_multiple_of(4), 0.0);
        start
    }

    fn layer(
        &mut self,
        name: &str,
        layer: &LinearWeights,
        [out, inputs]: [usize; 2],
        turn: bool,
    ) -> Result<(), DriverError> {
        if layer.weight.len() != out * inputs {
            return Err(misfit(name, layer.weight.len(), out * inputs));
        }
        if layer.bias.len() != out {
            return Err(misfit(name, layer.bias.len(), out));
        }
        let weight = if turn {
            let columns = (0..inputs)
                .flat_map(|column| (0..out).map(move |row| layer.weight[row * inputs + column]));
            self.push(&columns.collect::<Vec<f32>>())
        } else {
            self.push(&layer.weight)
        };
        let bias = self.push(&layer.bias);
        self.layers.push(Place { weight, bias });
        Ok(())
    }
}

fn misfit(name: &str, found: usize, expected: usize) -> DriverError {
    DriverError::Arguments {
        kernel: "decoder",
        problem: format!("{name} has {found} values, expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{LinearWeights, Packed};

    #[test]
    fn a_layer_is_turned_and_its_parts_are_aligned() {
        let mut packed = Packed::default();
        let layer = LinearWeights {
            weight: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            bias: vec![7.0, 8.0, 9.0],
        };
        packed.layer("layer", &layer, [3, 2], true).expect("fits");
        assert_eq!(packed.values[..6], [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert_eq!(packed.values[packed.layers[0].bias..][..3], [7.0, 8.0, 9.0]);
        assert_eq!(packed.layers[0].bias % 4, 0);
        assert!(packed.layer("layer", &layer, [2, 2], true).is_err());
    }
}
