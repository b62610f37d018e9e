//! Supports and weights of an axis in the form in which the image kernel multiplies.
//!
//! Every shown output column or row has an entry: the word of four source pixels in which its support
//! starts, then for each word of it three planes of four weight bytes, the lowest bits first; the highest
//! plane is signed. A row of the plain bilinear resize has its first source row, how far the second is, and
//! two weights instead.

use crate::reference::image::{Filter, LinearResampler, LinearTap, Resampler, visible};

use super::image_plan::{ImageGeometry, Resampling};

/// Pixels of a word.
pub(super) const WORD: usize = 4;
const PLANES: usize = 3;
const WEIGHT_LIMIT: i32 = 1 << 23;
const ENTRY_OF_PLAIN_ROW: usize = 3;

/// Entries of one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// First output index that the resized image covers.
    pub(super) first: usize,
    /// Longest support (words).
    pub(super) span: usize,
    /// Table words of an entry.
    pub(super) size: usize,
    /// Word in which each shown index starts.
    pub(super) starts: Vec<u32>,
    /// The rest of the entries, `size - 1` words each.
    weights: Vec<u32>,
}

impl Axis {
    /// Writes entry after entry.
    pub(super) fn write_rows(&self, table: &mut [u32]) {
        let weights = self.weights.chunks_exact(self.size - 1);
        let entries = self.starts.iter().zip(weights);
        for (entry, (start, rest)) in table.chunks_exact_mut(self.size).zip(entries) {
            entry[0] = *start;
            entry[1..].copy_from_slice(rest);
        }
    }

    /// Writes the words of all entries side by side: first words, then second ones, and so on.
    pub(super) fn write_columns(&self, table: &mut [u32]) {
        let count = self.starts.len();
        table[..count].copy_from_slice(&self.starts);
        for (index, rest) in self.weights.chunks_exact(self.size - 1).enumerate() {
            for (word, value) in rest.iter().enumerate() {
                table[(1 + word) * count + index] = *value;
            }
        }
    }

    /// Table words of all entries.
    pub(super) fn len(&self) -> usize {
        self.starts.len() * self.size
    }

    /// The source range that is read (px), as whole words.
    pub(super) fn range(&self) -> [usize; 2] {
        let start = |at: Option<&u32>| at.map_or(0, |word| *word as usize * WORD);
        let end = start(self.starts.last());
        let width = if self.starts.is_empty() {
            0
        } else {
            self.span * WORD
        };
        [start(self.starts.first()), end + width]
    }

    /// Words under the widest tile of `tile` outputs among `extent`.
    pub(super) fn room(&self, tile: usize, extent: usize) -> usize {
        if self.starts.is_empty() {
            return 0;
        }
        let start = |output: usize| {
            let entry = output.saturating_sub(self.first).min(self.starts.len() - 1);
            self.starts[entry] as usize
        };
        let words = |left: usize| start((left + tile).min(extent) - 1) + self.span - start(left);
        (0..extent).step_by(tile).map(words).max().unwrap_or(0)
    }

    /// From (first source pixel, weights) of each shown index.
    fn weighed<'a>(
        first: usize,
        taps: impl Iterator<Item = (usize, &'a [i32])> + Clone,
    ) -> Result<Self, String> {
        let words = |(at, weights): (usize, &[i32])| (at % WORD + weights.len()).div_ceil(WORD);
        let span = taps.clone().map(words).max().unwrap_or(1).max(1);
        let mut axis = Self {
            first,
            span,
            size: 1 + PLANES * span,
            starts: Vec::new(),
            weights: Vec::new(),
        };
        for (at, weights) in taps {
            axis.starts.push((at / WORD) as u32);
            let entry = axis.weights.len();
            axis.weights.resize(entry + PLANES * span, 0);
            for (place, weight) in (at % WORD..).zip(weights) {
                if !(-WEIGHT_LIMIT..WEIGHT_LIMIT).contains(weight) {
                    return Err(format!("a weight of {weight} is not below 2^23"));
                }
                let planes = &mut axis.weights[entry + place / WORD * PLANES..];
                for (plane, byte) in planes.iter_mut().zip(&weight.to_le_bytes()[..PLANES]) {
                    *plane |= u32::from(*byte) << (8 * (place % WORD));
                }
            }
        }
        Ok(axis)
    }

    fn plain_rows(first: usize, taps: &[LinearTap]) -> Self {
        let words = |tap: &LinearTap| (tap.at[0] % WORD + tap.at[1] - tap.at[0]) / WORD + 1;
        let mut axis = Self {
            first,
            span: taps.iter().map(words).max().unwrap_or(1),
            size: ENTRY_OF_PLAIN_ROW,
            starts: Vec::new(),
            weights: Vec::new(),
        };
        for LinearTap { at, weights } in taps {
            axis.starts.push((at[0] / WORD) as u32);
            axis.weights
                .push(((at[0] % WORD) | ((at[1] - at[0]) << 16)) as u32);
            axis.weights
                .push((weights[0] | (weights[1] << 16)).cast_unsigned());
        }
        axis
    }
}

/// Columns and rows of what a geometry shows.
pub(super) fn axes(geometry: &ImageGeometry) -> Result<[Axis; 2], String> {
    let ImageGeometry {
        raw, resized, crop, ..
    } = *geometry;
    let (left, width) = visible(crop.left, crop.width, resized[0]);
    let (top, height) = visible(crop.top, crop.height, resized[1]);
    let from = |shown: usize, window: isize| shown.saturating_add_signed(window.saturating_neg());
    let (first_column, first_row) = (from(left, crop.left), from(top, crop.top));
    match geometry.resampling {
        Resampling::Pillow => {
            let resampler = Resampler::new(raw, resized, Filter::Bicubic);
            let columns = (left..left + width).map(|target| resampler.column(target));
            let rows = (top..top + height).map(|target| resampler.row(target));
            Ok([
                Axis::weighed(first_column, columns)?,
                Axis::weighed(first_row, rows)?,
            ])
        }
        Resampling::OpenCv => {
            let resampler = LinearResampler::new(raw, resized);
            let columns = resampler.columns()[left..left + width].iter();
            // Where both places are one, the second weight is 0.
            let columns = columns.map(|tap| (tap.at[0], &tap.weights[..1 + tap.at[1] - tap.at[0]]));
            Ok([
                Axis::weighed(first_column, columns)?,
                Axis::plain_rows(first_row, &resampler.rows()[top..top + height]),
            ])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn weights_are_split_into_bytes_at_their_place() {
        let weights = [-2, 0x12_3456, 7];
        let axis = Axis::weighed(0, [(6, &weights[..]), (9, &weights[..1])].into_iter());
        let axis = axis.expect("small weights");
        assert_eq!((axis.span, axis.size), (2, 7));
        let mut rows = vec![0; axis.len()];
        axis.write_rows(&mut rows);
        assert_eq!(
            rows[..7],
            [1, 0x56fe_0000, 0x34ff_0000, 0x12ff_0000, 7, 0, 0]
        );
        assert_eq!(rows[7..], [2, 0xfe00, 0xff00, 0xff00, 0, 0, 0]);
        let mut columns = vec![0; axis.len()];
        axis.write_columns(&mut columns);
        assert_eq!(columns[..4], [1, 2, 0x56fe_0000, 0xfe00]);
        assert_eq!(axis.range(), [4, 16]);
        assert!(Axis::weighed(0, [(0, &[1 << 23][..])].into_iter()).is_err());
    }

    #[test]
    fn room_is_that_of_the_widest_tile() {
        let weights = [1; 4];
        let taps = [0, 1, 5, 20, 40].map(|at| (at, &weights[..]));
        let axis = Axis::weighed(1, taps.into_iter()).expect("small weights");
        // Outputs 0 to 6 start in words 0, 0, 0, 1, 5, 10, 10, each two words long.
        assert_eq!(axis.room(4, 7), 7);
        assert_eq!(axis.room(2, 7), 7);
        assert_eq!(axis.room(1, 7), 2);
    }
}
