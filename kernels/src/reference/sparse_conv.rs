//! Sparse convolution over a rulebook, output-stationary.
//!
//! `out[o] = act(bias + Σ_k W_k · in[rules[k][o]] (+ residual[o]))`. In: features `[input rows, in]`,
//! row-major. Out: `[output rows, out]`, written once.
//!
//! Tiles of output rows run in parallel. Inside a tile and for one kernel offset, the rows that have
//! an input meet a panel of weights, with AVX2 several at a time, so that a weight is read once for
//! all. Each output channel adds the products of the offsets in ascending order to the bias, so the result
//! depends neither on tiles nor on threads. With AVX2 and FMA, and on
//! AArch64, multiplication and addition are fused.

use std::ops::Range;

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::panel_product::add_row;
#[cfg(target_arch = "x86_64")]
use super::panel_product::add_rows_avx2;
use super::rulebook::Rulebook;
use super::sparse_weights::{LANES, PreparedWeights};

/// Output rows of a tile: the unit of parallel work.
const TILE: usize = 64;
/// Output rows in a register block.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 6;

/// What happens after the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0); a NaN stays a NaN.
    Relu,
}

/// The end of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Features `[output rows, out]` to add.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// Overwrites `out` with the convolution of `features`.
///
/// # Panics
/// When the weights, rulebook, features and residual do not belong together.
pub fn sparse_conv(
    weights: &PreparedWeights,
    rules: &Rulebook,
    features: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut Vec<f32>,
) {
    let shape = weights.shape();
    assert_eq!(shape.kernel_volume, rules.kernel_volume());
    assert_eq!(features.len(), rules.input_rows() * shape.input);
    let len = rules.output_rows() * shape.output;
    assert!(epilogue.residual.is_none_or(|r| r.len() == len));
    out.resize(len, 0.0);
    let convolution = Convolution {
        weights,
        rules,
        features,
        epilogue,
    };
    out.par_chunks_mut(TILE * shape.output)
        .enumerate()
        .for_each(|(tile, rows)| convolution.tile(tile * TILE, rows));
}

#[derive(Clone, Copy)]
struct Convolution<'a> {
    weights: &'a PreparedWeights,
    rules: &'a Rulebook,
    features: &'a [f32],
    epilogue: &'a Epilogue<'a>,
}

/// An output row of the tile and the input row that it sees.
#[derive(Clone, Copy, Default)]
struct Pair {
    output: u32,
    input: u32,
}

impl Convolution<'_> {
    /// Computes the output rows from `first` on, as many as `out` holds.
    fn tile(&self, first: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the two features that the function is compiled for were detected just above.
            unsafe { self.tile_avx2(first, out) };
            return;
        }
        self.tile_portable(first, out);
    }

    fn tile_portable(&self, first: usize, out: &mut [f32]) {
        self.tile_by(first, out, |pairs, panel, channel, out| {
            for pair in pairs {
                self.add_to_row(*pair, panel, channel, out);
            }
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn tile_avx2(&self, first: usize, out: &mut [f32]) {
        self.tile_by(first, out, |pairs, panel, channel, out| {
            for group in pairs.chunks(ROWS) {
                self.add_to_group_avx2(group, panel, channel, out);
            }
        });
    }

    /// `add(pairs, panel, channel, out)` adds one panel to the channels from `channel` on.
    #[inline(always)]
    fn tile_by(
        &self,
        first: usize,
        out: &mut [f32],
        add: impl Fn(&[Pair], &[[f32; LANES]], usize, &mut [f32]),
    ) {
        let channels = self.weights.shape().output;
        for row in out.chunks_exact_mut(channels) {
            row.copy_from_slice(self.weights.bias());
        }
        let rows = out.len() / channels;
        let mut buffer = [Pair::default(); TILE];
        for offset in 0..self.rules.kernel_volume() {
            let column = &self.rules.column(offset)[first..first + rows];
            let pairs = collect_pairs(column, &mut buffer);
            for (block, panel) in self.weights.panels(offset).enumerate() {
                add(pairs, panel, block * LANES, out);
            }
        }
        self.finish(first * channels, out);
    }

    fn add_to_row(&self, pair: Pair, panel: &[[f32; LANES]], channel: usize, out: &mut [f32]) {
        let sums = &mut out[self.window(pair, channel)];
        let mut lanes = load(sums);
        add_row(self.input(pair), panel, &mut lanes);
        store(&lanes, sums);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add_to_group_avx2(
        &self,
        group: &[Pair],
        panel: &[[f32; LANES]],
        channel: usize,
        out: &mut [f32],
    ) {
        match *group {
            [a, b, c, d, e, f] => self.add_avx2([a, b, c, d, e, f], panel, channel, out),
            [a, b, c, d, e] => self.add_avx2([a, b, c, d, e], panel, channel, out),
            [a, b, c, d] => self.add_avx2([a, b, c, d], panel, channel, out),
            [a, b, c] => self.add_avx2([a, b, c], panel, channel, out),
            [a, b] => self.add_avx2([a, b], panel, channel, out),
            [a] => self.add_avx2([a], panel, channel, out),
            _ => {}
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add_avx2<const N: usize>(
        &self,
        pairs: [Pair; N],
        panel: &[[f32; LANES]],
        channel: usize,
        out: &mut [f32],
    ) {
        let inputs = pairs.map(|pair| self.input(pair));
        let mut sums = [[0.0; LANES]; N];
        for (lanes, pair) in sums.iter_mut().zip(pairs) {
            *lanes = load(&out[self.window(pair, channel)]);
        }
        add_rows_avx2(&inputs, panel, &mut sums);
        for (lanes, pair) in sums.iter().zip(pairs) {
            store(lanes, &mut out[self.window(pair, channel)]);
        }
    }

    #[inline(always)]
    fn input(&self, pair: Pair) -> &[f32] {
        let depth = self.weights.shape().input;
        &self.features[pair.input as usize * depth..][..depth]
    }

    /// Where the channels from `channel` on of the pair's output row lie in the tile.
    #[inline(always)]
    fn window(&self, pair: Pair, channel: usize) -> Range<usize> {
        let channels = self.weights.shape().output;
        let start = pair.output as usize * channels + channel;
        start..start + LANES.min(channels - channel)
    }

    fn finish(&self, start: usize, out: &mut [f32]) {
        if let Some(residual) = self.epilogue.residual {
            let residual = &residual[start..start + out.len()];
            out.iter_mut().zip(residual).for_each(|(v, r)| *v += r);
        }
        if self.epilogue.activation == Activation::Relu {
            // A NaN stays one: a broken frame must not look like an empty one.
            out.iter_mut()
                .for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        }
    }
}

#[inline(always)]
fn collect_pairs<'a>(column: &[i32], buffer: &'a mut [Pair; TILE]) -> &'a [Pair] {
    let mut count = 0;
    for (output, input) in column.iter().enumerate() {
        if *input >= 0 {
            buffer[count] = Pair {
                output: output as u32,
                input: *input as u32,
            };
            count += 1;
        }
    }
    &buffer[..count]
}

/// Reads up to [`LANES`] values, the rest zero.
#[inline(always)]
fn load(values: &[f32]) -> [f32; LANES] {
    values.as_array().copied().unwrap_or_else(|| {
        let mut lanes = [0.0; LANES];
        lanes[..values.len()].copy_from_slice(values);
        lanes
    })
}

#[inline(always)]
fn store(lanes: &[f32; LANES], values: &mut [f32]) {
    match values.as_mut_array() {
        Some(whole) => *whole = *lanes,
        None => values.copy_from_slice(&lanes[..values.len()]),
    }
}

#[cfg(test)]
#[path = "sparse_conv_tests.rs"]
mod tests;
