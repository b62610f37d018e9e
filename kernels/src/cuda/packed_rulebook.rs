//! The packed form of a rulebook, as sparse convolutions on the device read it.
//!
//! `entry[tap][row]` with tap = kx·KY + ky and the row fastest, `row_stride` apart: (first input row ≪ 3) |
//! mask, where mask bit dz tells whether kernel offset (kx, ky, dz) has an input. Rows are sorted with z
//! fastest, so the inputs of a tap are consecutive: that at dz is first + the mask's bits below dz. No
//! input: 0. Rows from the count up to the next multiple of [`TILE_ROWS`] are 0.

use crate::reference::rulebook::{NO_INPUT, Rulebook};

/// Rows that a convolution may read at once.
pub const TILE_ROWS: usize = 128;
/// Bits of an entry's mask.
const MASK_BITS: u32 = 3;

/// Extents of a packed rulebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedShape {
    /// Kernel offsets along x and y together.
    pub taps: usize,
    /// Kernel offsets along z, at most 3.
    pub depth: usize,
    /// Entries from one tap to the next.
    pub row_stride: usize,
}

impl PackedShape {
    /// For a kernel and as many output rows.
    #[must_use]
    pub const fn new(kernel: [usize; 3], capacity: usize) -> Self {
        Self {
            taps: kernel[0] * kernel[1],
            depth: kernel[2],
            row_stride: capacity.next_multiple_of(TILE_ROWS),
        }
    }

    /// Number of entries.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.taps * self.row_stride
    }

    /// Packs a rulebook of the reference. `None` when it does not have this shape, or when inputs of a tap
    /// are not consecutive.
    #[must_use]
    pub fn pack(&self, rules: &Rulebook) -> Option<Vec<u32>> {
        let fits = rules.kernel_volume() == self.taps * self.depth
            && self.depth <= MASK_BITS as usize
            && rules.output_rows() <= self.row_stride;
        if !fits {
            return None;
        }
        let mut entries = vec![0; self.entries()];
        for tap in 0..self.taps {
            let columns: Vec<&[i32]> = (0..self.depth)
                .map(|dz| rules.column(tap * self.depth + dz))
                .collect();
            let packed = &mut entries[tap * self.row_stride..][..rules.output_rows()];
            for (row, entry) in packed.iter_mut().enumerate() {
                *entry = pack_entry(columns.iter().map(|column| column[row]))?;
            }
        }
        Some(entries)
    }

    /// Input rows, or [`NO_INPUT`], of the first `rows` output rows: `[kernel volume][rows]`. Entries that
    /// are missing count as 0.
    #[must_use]
    pub fn unpack(&self, entries: &[u32], rows: usize) -> Vec<i32> {
        let mut table = Vec::with_capacity(self.taps * self.depth * rows);
        for tap in 0..self.taps {
            for dz in 0..self.depth as u32 {
                table.extend((0..rows).map(|row| {
                    let entry = entries.get(tap * self.row_stride + row);
                    input_row(entry.copied().unwrap_or(0), dz)
                }));
            }
        }
        table
    }
}

fn pack_entry(inputs: impl Iterator<Item = i32>) -> Option<u32> {
    let (mut first, mut mask) = (0, 0_u32);
    for (dz, input) in inputs.enumerate() {
        let Ok(input) = u32::try_from(input) else {
            continue;
        };
        if mask == 0 {
            first = input;
        } else if input != first + mask.count_ones() {
            return None;
        }
        mask |= 1 << dz;
    }
    Some(first << MASK_BITS | mask)
}

fn input_row(entry: u32, dz: u32) -> i32 {
    if entry >> dz & 1 == 0 {
        return NO_INPUT;
    }
    let below = entry & ((1 << dz) - 1);
    ((entry >> MASK_BITS) + below.count_ones()) as i32
}

#[cfg(test)]
mod tests {
    use super::PackedShape;
    use crate::reference::rulebook::{ConvGeometry, Rulebook};
    use crate::reference::sites::Sites;

    #[test]
    fn packing_keeps_every_pair() {
        let coords: Vec<[i32; 3]> = (0..200)
            .map(|i| [i * 7 % 9, i * 5 % 8, i * 11 % 13])
            .collect();
        let mut distinct = coords;
        distinct.sort_unstable();
        distinct.dedup();
        let (mut input, mut output) = (Sites::default(), Sites::default());
        input
            .assign([9, 8, 13], &distinct, &mut Vec::new())
            .expect("inside");
        let geometry = ConvGeometry {
            kernel: [3, 2, 3],
            stride: [2, 1, 2],
            padding: [1, 1, 0],
        };
        let mut rules = Rulebook::default();
        rules.build_strided(&geometry, &input, &mut output);
        let shape = PackedShape::new(geometry.kernel, output.len());
        let packed = shape.pack(&rules).expect("consecutive");
        let table = shape.unpack(&packed, output.len());
        let columns = (0..rules.kernel_volume()).flat_map(|k| rules.column(k));
        assert!(rules.pairs() > output.len());
        assert!(table.iter().eq(columns));
        assert_eq!(PackedShape::new([3, 3, 3], 7).pack(&rules), None);
    }
}
