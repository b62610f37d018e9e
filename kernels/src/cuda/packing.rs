//! Weights in the order in which tensor cores read them.
//!
//! In: a function `value(column, tap, input channel)` of float32 weights. Out: fp16 bits, padded with zeros.
//! A lane of a product holds columns 2t and 2t + 1 of each block of 8; columns are renumbered so that over
//! `group` neighbouring blocks these are 2 · `group` consecutive channels, which it then stores at once.

use half::f16;

/// Extents of packed weights, all padded: columns to the kernel's block, inputs to its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedShape {
    /// Columns: output channels, for each part of a transposed convolution.
    pub(crate) columns: usize,
    /// Kernel offsets.
    pub(crate) taps: usize,
    /// Input channels.
    pub(crate) inputs: usize,
}

/// A weight by column, tap and input channel; zero beyond the real extents.
pub(crate) type WeightAt<'a> = dyn Fn(usize, usize, usize) -> f32 + 'a;

/// The channel that column `column` of the product stands for.
pub(crate) const fn channel_of_column(column: usize, group: usize) -> usize {
    let (block, within) = (column / 8, column % 8);
    block / group * group * 8 + within / 2 * 2 * group + block % group * 2 + within % 2
}

/// For `StreamGemm`: `[tap][chunk][column block][32 channels][8 columns][lane][8 channels]`.
pub(crate) fn pack_streamed(
    shape: PackedShape,
    [chunk, block]: [usize; 2],
    group: usize,
    value: &WeightAt<'_>,
) -> Vec<u16> {
    let mut packed = Vec::with_capacity(shape.columns * shape.taps * shape.inputs);
    let steps = (0..shape.taps).flat_map(|tap| {
        let inputs = (0..shape.inputs).step_by(chunk);
        inputs.flat_map(move |input| {
            let columns = (0..shape.columns).step_by(block);
            columns.map(move |column| [tap, input, column])
        })
    });
    for [tap, first_input, first_column] in steps {
        for half in (first_input..first_input + chunk).step_by(32) {
            for eight in (first_column..first_column + block).step_by(8) {
                push_lanes(&mut packed, [eight, tap, half], group, value);
            }
        }
    }
    packed
}

/// What the 32 lanes read for 8 columns and 32 channels.
fn push_lanes(
    packed: &mut Vec<u16>,
    [column, tap, input]: [usize; 3],
    group: usize,
    value: &WeightAt<'_>,
) {
    for lane in 0..32 {
        let channel = channel_of_column(column + lane / 4, group);
        let first = input + lane % 4 * 8;
        packed.extend((first..first + 8).map(|i| bits(value(channel, tap, i))));
    }
}

/// For the resident kernels of 16 input channels: `[tap][16 columns][lane][2 blocks][4 channels]`.
pub(crate) fn pack_sixteen(shape: PackedShape, value: &WeightAt<'_>) -> Vec<u16> {
    let mut packed = Vec::with_capacity(shape.columns * shape.taps * shape.inputs);
    for tap in 0..shape.taps {
        for sixteen in (0..shape.columns).step_by(16) {
            for lane in 0..32 {
                for block in 0..2 {
                    let channel = channel_of_column(sixteen + block * 8 + lane / 4, 2);
                    let first = lane % 4 * 4;
                    packed.extend((first..first + 4).map(|i| bits(value(channel, tap, i))));
                }
            }
        }
    }
    packed
}

/// For warpgroup products: `[tap][column][input]`.
pub(crate) fn pack_rows(shape: PackedShape, group: usize, value: &WeightAt<'_>) -> Vec<u16> {
    let mut packed = Vec::with_capacity(shape.columns * shape.taps * shape.inputs);
    for tap in 0..shape.taps {
        for column in 0..shape.columns {
            let channel = channel_of_column(column, group);
            packed.extend((0..shape.inputs).map(|i| bits(value(channel, tap, i))));
        }
    }
    packed
}

fn bits(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

#[cfg(test)]
mod tests {
    use super::{PackedShape, channel_of_column, pack_rows, pack_sixteen, pack_streamed};

    #[test]
    fn columns_are_a_permutation_that_gives_each_lane_neighbours() {
        for group in [2, 4] {
            let mut seen: Vec<usize> = (0..64).map(|c| channel_of_column(c, group)).collect();
            for lane in 0..4 {
                let own = (0..group).flat_map(|j| [8 * j + 2 * lane, 8 * j + 2 * lane + 1]);
                let channels: Vec<usize> = own.map(|c| channel_of_column(c, group)).collect();
                let first = lane * 2 * group;
                assert_eq!(channels, (first..first + 2 * group).collect::<Vec<_>>());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_packing_holds_every_weight_once() {
        let shape = PackedShape {
            columns: 64,
            taps: 3,
            inputs: 64,
        };
        // Integers up to 2048 are exact in fp16.
        let value = |column: usize, tap: usize, input: usize| {
            ((column * 3 + tap) * 64 + input) as f32 % 2048.0
        };
        let sixteen = PackedShape {
            inputs: 16,
            ..shape
        };
        let mut want: Vec<u16> = pack_rows(shape, 4, &value);
        let mut streamed = pack_streamed(shape, [32, 64], 4, &value);
        want.sort_unstable();
        streamed.sort_unstable();
        assert_eq!(streamed, want);
        let mut want = pack_rows(sixteen, 2, &value);
        let mut resident = pack_sixteen(sixteen, &value);
        want.sort_unstable();
        resident.sort_unstable();
        assert_eq!(resident, want);
    }
}
