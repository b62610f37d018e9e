//! Extents of the view transform on the device, and how its arrays are laid out.
//!
//! A column is an image column u of a camera, camera · w + u. Depth probabilities are fp16
//! `[columns][D][rows]`, context is fp16 `[columns][C][rows]`, rows being the h image rows v and zeros up to a
//! multiple of 32: a tensor core sums over rows, so they are innermost.

use bytemuck::{Pod, Zeroable};

/// Cameras of a rig.
pub const MAX_CAMERAS: usize = 16;
/// Rows that a lane's two loads of a product cover.
const ROW_BLOCK: usize = 32;
/// Bits of a run: the word of all ones is none.
const RUN_BITS: u32 = 31;

/// Extents of the lifted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewShape {
    /// N.
    pub cameras: usize,
    /// h, w of the feature map.
    pub feature_size: [usize; 2],
    /// D.
    pub depths: usize,
}

impl ViewShape {
    /// Columns: N · w.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.cameras * self.feature_size[1]
    }

    /// Rows of a column with padding.
    #[must_use]
    pub const fn padded_rows(&self) -> usize {
        self.feature_size[0].next_multiple_of(ROW_BLOCK)
    }

    /// Frustum points.
    #[must_use]
    pub const fn points(&self) -> usize {
        self.columns() * self.depths * self.feature_size[0]
    }

    /// Values of the depth probabilities.
    #[must_use]
    pub const fn probability_len(&self) -> usize {
        self.columns() * self.depths * self.padded_rows()
    }

    /// Values of the context of `channels` channels.
    #[must_use]
    pub const fn context_len(&self, channels: usize) -> usize {
        self.columns() * channels * self.padded_rows()
    }

    /// How a run is packed.
    ///
    /// # Errors
    /// What is beyond the kernels.
    pub(super) fn run_format(&self) -> Result<RunFormat, String> {
        let [height, width] = self.feature_size;
        if self.cameras == 0 || self.cameras > MAX_CAMERAS {
            return Err(format!(
                "{} cameras, 1 to {MAX_CAMERAS} are supported",
                self.cameras
            ));
        }
        if height == 0
            || width == 0
            || self.depths == 0
            || height.max(width).max(self.depths) > 4096
        {
            return Err(format!(
                "{height}×{width} feature pixels and {} depths, 1 to 4096 are supported",
                self.depths
            ));
        }
        let format = RunFormat {
            row_bits: bits(height),
            depth_bits: bits(self.depths),
        };
        let all = bits(self.columns()) + format.depth_bits + 2 * format.row_bits;
        if all > RUN_BITS {
            return Err(format!(
                "{} columns of {height} rows and {} depths need {all} bits, there are {RUN_BITS}",
                self.columns(),
                self.depths
            ));
        }
        Ok(format)
    }
}

/// Bits that hold 0..`count`.
const fn bits(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// Mirrors the device's struct of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RunFormat {
    row_bits: u32,
    depth_bits: u32,
}

/// A stretch of rows of one column and depth that falls into one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// camera · w + u.
    pub column: usize,
    /// Depth bin.
    pub depth: usize,
    /// First row v.
    pub row: usize,
    /// Rows.
    pub rows: usize,
}

impl RunFormat {
    /// The run of a word.
    pub(super) fn unpack(self, word: u32) -> Run {
        let below = |bits: u32| (1_u32 << bits) - 1;
        let rows = (word & below(self.row_bits)) as usize + 1;
        let word = word >> self.row_bits;
        let row = (word & below(self.row_bits)) as usize;
        let word = word >> self.row_bits;
        Run {
            column: (word >> self.depth_bits) as usize,
            depth: (word & below(self.depth_bits)) as usize,
            row,
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Run, ViewShape, bits};

    #[test]
    fn bits_hold_every_index() {
        assert_eq!([1, 2, 3, 32, 33, 118, 129].map(bits), [0, 1, 2, 5, 6, 7, 8]);
    }

    #[test]
    fn words_hold_runs_of_the_published_models() -> Result<(), String> {
        for (cameras, feature_size, depths) in [(6, [32, 88], 118), (5, [48, 96], 129)] {
            let shape = ViewShape {
                cameras,
                feature_size,
                depths,
            };
            let format = shape.run_format()?;
            let run = Run {
                column: shape.columns() - 1,
                depth: depths - 1,
                row: 1,
                rows: feature_size[0] - 1,
            };
            let word = (run.column << format.depth_bits | run.depth) << format.row_bits | run.row;
            let word = word << format.row_bits | (run.rows - 1);
            assert_eq!(format.unpack(word as u32), run);
        }
        Ok(())
    }

    #[test]
    fn extents_beyond_a_word_are_refused() {
        let shape = ViewShape {
            cameras: 16,
            feature_size: [256, 512],
            depths: 512,
        };
        assert!(shape.run_format().is_err());
    }
}
