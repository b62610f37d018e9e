//! Multi-head attention inside (shifted) windows of a token map, in double precision.
//!
//! The map is padded at the bottom and right to whole windows and rolled by (−shift, −shift). Tokens in the
//! padding are keys like any other. In a rolled window, keys that come from another side of the roll than
//! the query get [`MASKED`]. Scores are powers of two: the query carries the scale and log2 e.

use std::f64::consts::LOG2_E;

/// Added to the score of a query and a key that were no neighbours before the roll.
pub const MASKED: f64 = -100.0;

/// Extents of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAttentionShape {
    /// Images.
    pub images: usize,
    /// Rows, columns of the token map.
    pub size: [usize; 2],
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub depth: usize,
    /// Edge of a window (tokens).
    pub window: usize,
    /// Cyclic shift toward the top left (tokens), below `window`.
    pub shift: usize,
}

impl WindowAttentionShape {
    /// C = heads · depth.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.heads * self.depth
    }

    /// Tokens of all images.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.images * self.size[0] * self.size[1]
    }

    /// Windows along rows and columns.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        self.size.map(|extent| extent.div_ceil(self.window))
    }

    /// Windows of all images.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.images * self.counts().iter().product::<usize>()
    }

    /// Place of a window's token along an axis of the map, none in the padding, and which side of the roll
    /// it came from.
    fn place(&self, axis: usize, window: usize, within: usize) -> (Option<usize>, bool) {
        let count = self.counts()[axis];
        let rolled = window * self.window + within;
        let place = (rolled + self.shift) % (count * self.window);
        let wrapped = rolled + self.shift >= count * self.window;
        (Some(place).filter(|p| *p < self.size[axis]), wrapped)
    }

    /// Index of a token in the map, none in the padding, and the part of the window that it is in.
    fn token(&self, window: usize, within: usize) -> (Option<usize>, [bool; 2]) {
        let [rows, columns] = self.counts();
        let image = window / columns / rows;
        let (y, below) = self.place(0, window / columns % rows, within / self.window);
        let (x, beyond) = self.place(1, window % columns, within % self.window);
        let index = y
            .zip(x)
            .map(|(y, x)| (image * self.size[0] + y) * self.size[1] + x);
        (index, [below, beyond])
    }
}

/// The mixed values `[tokens, C]` of `qkv` `[tokens, 3 C]`; `padding` `[3 C]` is a token of the padding,
/// `position_bias` `[(2 window − 1)², heads]` is in units of e.
#[must_use]
pub fn window_attention(
    shape: &WindowAttentionShape,
    qkv: &[f32],
    padding: &[f32],
    position_bias: &[f32],
) -> Vec<f32> {
    let channels = shape.channels();
    let mut out = vec![0.0; shape.tokens() * channels];
    for window in 0..shape.windows() {
        let tokens: Vec<_> = (0..shape.window * shape.window)
            .map(|within| shape.token(window, within))
            .collect();
        let rows: Vec<&[f32]> = tokens
            .iter()
            .map(|(token, _)| token.map_or(padding, |t| &qkv[t * 3 * channels..][..3 * channels]))
            .collect();
        let bias = |query: usize, key: usize, head: usize| {
            let masked = f64::from(u8::from(tokens[key].1 != tokens[query].1)) * MASKED;
            let row = bias_row(shape.window, query, key);
            masked + f64::from(position_bias[row * shape.heads + head])
        };
        for pair in 0..tokens.len() * shape.heads {
            let (query, head) = (pair / shape.heads, pair % shape.heads);
            let Some(token) = tokens[query].0 else {
                continue;
            };
            let score = |key: usize| {
                product(shape, [rows[query], rows[key]], head) + bias(query, key, head) * LOG2_E
            };
            let scores: Vec<f64> = (0..rows.len()).map(score).collect();
            let first = token * channels + head * shape.depth;
            mix(shape, &scores, &rows, head, &mut out[first..]);
        }
    }
    out
}

/// Row of the position bias: (Δrow + window − 1) · (2 window − 1) + Δcolumn + window − 1.
fn bias_row(window: usize, query: usize, key: usize) -> usize {
    let delta = |query: usize, key: usize| query + window - 1 - key;
    let row = delta(query / window, key / window);
    row * (2 * window - 1) + delta(query % window, key % window)
}

/// query · key of a head.
fn product(shape: &WindowAttentionShape, [query, key]: [&[f32]; 2], head: usize) -> f64 {
    let query = &query[head * shape.depth..][..shape.depth];
    let key = &key[shape.channels() + head * shape.depth..];
    let products = query.iter().zip(key);
    products.map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
}

/// Values of all tokens in the proportions of 2^score.
fn mix(
    shape: &WindowAttentionShape,
    scores: &[f64],
    rows: &[&[f32]],
    head: usize,
    out: &mut [f32],
) {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp2()).collect();
    let sum: f64 = weights.iter().sum();
    let first = 2 * shape.channels() + head * shape.depth;
    for (channel, out) in out[..shape.depth].iter_mut().enumerate() {
        let mixed = weights.iter().zip(rows);
        let mixed: f64 = mixed
            .map(|(weight, row)| weight * f64::from(row[first + channel]))
            .sum();
        *out = (mixed / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::{WindowAttentionShape, window_attention};

    const SHAPE: WindowAttentionShape = WindowAttentionShape {
        images: 1,
        size: [3, 3],
        heads: 1,
        depth: 1,
        window: 2,
        shift: 0,
    };

    /// With equal scores the result is the mean of the window, of which padding is a part.
    #[test]
    fn padding_takes_part() {
        let qkv: Vec<f32> = (0..9).flat_map(|i| [0.0, 0.0, i as f32]).collect();
        let out = window_attention(&SHAPE, &qkv, &[0.0, 0.0, 100.0], &[0.0; 9]);
        assert!((out[0] - 2.0).abs() < 1e-6);
        assert!((out[2] - (2.0 + 5.0 + 200.0) / 4.0).abs() < 1e-4);
        assert!((out[8] - (8.0 + 300.0) / 4.0).abs() < 1e-4);
    }

    /// Rolled by one, the first row and column share a window with the padding, but do not see it.
    #[test]
    fn the_roll_brings_no_strangers_together() {
        let shape = WindowAttentionShape { shift: 1, ..SHAPE };
        let qkv: Vec<f32> = (0..9).flat_map(|i| [0.0, 0.0, i as f32]).collect();
        let out = window_attention(&shape, &qkv, &[0.0, 0.0, 100.0], &[0.0; 9]);
        assert!((out[0] - 0.0).abs() < 1e-6);
        assert!((out[1] - 1.5).abs() < 1e-6);
        assert!((out[4] - 6.0).abs() < 1e-6);
    }
}
