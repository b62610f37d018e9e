//! Rulebooks: which input row feeds which output row through which kernel offset.
//!
//! In: canonical [`Sites`] and the geometry of a convolution. Out: for every kernel offset (row-major
//! kx, ky, kz) and every output row the input row, or −1; `[kernel volume, output rows]`, so that a
//! convolution writes each output row once. Cross-correlation: input = output·stride − padding + k.
//!
//! Both sides are sorted and, for one offset, the map from inputs to outputs is monotone. A table
//! column is therefore one merge of two sorted lists; no hash table. Columns are filled in parallel.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::sites::{Sites, pack};

/// Marks an output row that has no input at an offset.
pub const NO_INPUT: i32 = -1;

/// Kernel, stride and padding of a convolution along x, y, z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Kernel extents, at least 1.
    pub kernel: [usize; 3],
    /// Strides, at least 1.
    pub stride: [usize; 3],
    /// Zeros on each side.
    pub padding: [usize; 3],
}

impl ConvGeometry {
    /// Output sites are the input sites; the kernel, odd along every axis, is centred on them.
    #[must_use]
    pub fn submanifold(kernel: [usize; 3]) -> Self {
        Self {
            kernel,
            stride: [1; 3],
            padding: kernel.map(|extent| extent / 2),
        }
    }

    /// Number of kernel offsets.
    #[must_use]
    pub fn kernel_volume(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Extents of the output: ⌊(n + 2p − k) / s⌋ + 1, or 0 where the kernel does not fit.
    #[must_use]
    pub fn output_shape(&self, input: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| {
            (input[axis] + 2 * self.padding[axis])
                .checked_sub(self.kernel[axis])
                .map_or(0, |free| free / self.stride[axis] + 1)
        })
    }

    fn offset(&self, index: usize) -> [usize; 3] {
        let [_, ky, kz] = self.kernel;
        [index / (ky * kz), index / kz % ky, index % kz]
    }

    /// The output coordinate that sees `input` at `offset`.
    fn output_of(&self, input: i32, offset: usize, axis: usize, extent: usize) -> Option<i32> {
        let reach = (input as usize + self.padding[axis]).checked_sub(offset)?;
        let stride = self.stride[axis];
        let output = if stride == 1 { reach } else { reach / stride };
        (output * stride == reach && output < extent).then_some(output as i32)
    }

    /// The output coordinates that see `input` at any offset.
    fn outputs_of(&self, input: i32, axis: usize, extent: usize) -> std::ops::Range<i32> {
        let reach = input as usize + self.padding[axis];
        let stride = self.stride[axis];
        let first = (reach + 1)
            .saturating_sub(self.kernel[axis])
            .div_ceil(stride);
        let end = (reach / stride + 1).min(extent);
        first as i32..end as i32
    }

    fn propose_outputs(&self, [x, y, z]: [i32; 3], output: &mut Sites) {
        let [size_x, size_y, size_z] = output.shape();
        for out_x in self.outputs_of(x, 0, size_x) {
            for out_y in self.outputs_of(y, 1, size_y) {
                for out_z in self.outputs_of(z, 2, size_z) {
                    output.propose([out_x, out_y, out_z]);
                }
            }
        }
    }
}

/// The table of one convolution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rulebook {
    kernel_volume: usize,
    input_rows: usize,
    output_rows: usize,
    table: Vec<i32>,
}

impl Rulebook {
    /// Number of kernel offsets.
    #[must_use]
    pub fn kernel_volume(&self) -> usize {
        self.kernel_volume
    }

    /// Rows of the input features.
    #[must_use]
    pub fn input_rows(&self) -> usize {
        self.input_rows
    }

    /// Rows of the output features.
    #[must_use]
    pub fn output_rows(&self) -> usize {
        self.output_rows
    }

    /// Input row, or [`NO_INPUT`], of every output row at kernel offset `index`.
    #[must_use]
    pub fn column(&self, index: usize) -> &[i32] {
        &self.table[index * self.output_rows..][..self.output_rows]
    }

    /// Pairs of input and output row.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.table.iter().filter(|row| **row != NO_INPUT).count()
    }

    /// Fills the table of a submanifold convolution, whose sites stay.
    pub fn build_submanifold(&mut self, kernel: [usize; 3], sites: &Sites) {
        self.build(&ConvGeometry::submanifold(kernel), sites, sites);
    }

    /// Finds the output sites of a strided convolution, every one with an input under its kernel,
    /// and fills its table.
    pub fn build_strided(&mut self, geometry: &ConvGeometry, input: &Sites, output: &mut Sites) {
        let shape = geometry.output_shape(input.shape());
        output.clear(shape);
        for coord in input.coords() {
            geometry.propose_outputs(*coord, output);
        }
        output.settle();
        self.build(geometry, input, output);
    }

    fn build(&mut self, geometry: &ConvGeometry, input: &Sites, output: &Sites) {
        self.resize(geometry.kernel_volume(), input.len(), output.len());
        self.table
            .par_chunks_exact_mut(output.len().max(1))
            .enumerate()
            .for_each(|(index, column)| {
                fill_column(geometry, geometry.offset(index), [input, output], column);
            });
    }

    fn resize(&mut self, kernel_volume: usize, input_rows: usize, output_rows: usize) {
        self.kernel_volume = kernel_volume;
        self.input_rows = input_rows;
        self.output_rows = output_rows;
        self.table.clear();
        self.table.resize(kernel_volume * output_rows, NO_INPUT);
    }

    /// Fills `self` with the table of the transposed convolution: outputs become inputs. An input
    /// row meets at most one output row at an offset, so the result is a rulebook again.
    pub fn build_transposed(&mut self, forward: &Self) {
        self.resize(
            forward.kernel_volume,
            forward.output_rows,
            forward.input_rows,
        );
        let columns = self.table.chunks_exact_mut(forward.input_rows.max(1));
        for (index, column) in columns.enumerate() {
            for (output, input) in forward.column(index).iter().enumerate() {
                if let Ok(input) = usize::try_from(*input) {
                    column[input] = output as i32;
                }
            }
        }
    }
}

fn fill_column(
    geometry: &ConvGeometry,
    offset: [usize; 3],
    [input, output]: [&Sites; 2],
    column: &mut [i32],
) {
    let (keys, shape) = (output.keys(), output.shape());
    let mut row = 0;
    for (input_row, coord) in input.coords().iter().enumerate() {
        let along = |axis: usize| geometry.output_of(coord[axis], offset[axis], axis, shape[axis]);
        let (Some(x), Some(y), Some(z)) = (along(0), along(1), along(2)) else {
            continue;
        };
        let key = pack([x, y, z]);
        row += keys[row..].iter().take_while(|known| **known < key).count();
        if keys.get(row) == Some(&key) {
            column[row] = input_row as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConvGeometry, NO_INPUT, Rulebook};
    use crate::reference::sites::Sites;

    fn sites(shape: [usize; 3], coords: &[[i32; 3]]) -> Sites {
        let mut sites = Sites::default();
        sites
            .assign(shape, coords, &mut Vec::new())
            .expect("valid sites");
        sites
    }

    #[test]
    fn submanifold_neighbours_do_not_wrap_around_rows() {
        let sites = sites([3, 3, 3], &[[0, 0, 2], [0, 1, 0], [0, 1, 1]]);
        let mut rules = Rulebook::default();
        rules.build_submanifold([3, 3, 3], &sites);
        assert_eq!(rules.column(13), [0, 1, 2]);
        assert_eq!(rules.column(14), [NO_INPUT, 2, NO_INPUT]);
        assert_eq!(rules.column(12), [NO_INPUT, NO_INPUT, 1]);
        // (0, +1, -1): from (0, 0, 2) to (0, 1, 1).
        assert_eq!(rules.column(15), [2, NO_INPUT, NO_INPUT]);
        assert_eq!(rules.pairs(), 7);
    }

    #[test]
    fn z_extents_follow_the_encoder() {
        let stride_2 = |padding| ConvGeometry {
            kernel: [3; 3],
            stride: [2; 3],
            padding,
        };
        let first = stride_2([1, 1, 1]).output_shape([1440, 1440, 41]);
        let second = stride_2([1, 1, 1]).output_shape(first);
        let third = stride_2([1, 1, 0]).output_shape(second);
        let last = ConvGeometry {
            kernel: [1, 1, 3],
            stride: [1, 1, 2],
            padding: [0; 3],
        };
        assert_eq!([first[2], second[2], third[2]], [21, 11, 5]);
        assert_eq!(last.output_shape(third), [180, 180, 2]);
        assert_eq!(last.output_shape([4, 4, 2]), [4, 4, 0]);
    }

    #[test]
    fn no_sites_give_an_empty_table() {
        let (input, mut output) = (sites([8, 8, 8], &[]), Sites::default());
        let mut rules = Rulebook::default();
        let geometry = ConvGeometry {
            kernel: [3; 3],
            stride: [2; 3],
            padding: [1; 3],
        };
        rules.build_strided(&geometry, &input, &mut output);
        assert_eq!((rules.output_rows(), rules.pairs()), (0, 0));
        assert_eq!(output.shape(), [4, 4, 4]);
    }

    #[test]
    fn the_transpose_of_the_transpose_is_the_rulebook() {
        let input = sites([6, 5, 4], &[[0, 0, 0], [1, 3, 2], [5, 4, 3], [5, 0, 1]]);
        let geometry = ConvGeometry {
            kernel: [3, 2, 3],
            stride: [2, 1, 2],
            padding: [1, 0, 1],
        };
        let (mut rules, mut output) = (Rulebook::default(), Sites::default());
        rules.build_strided(&geometry, &input, &mut output);
        let (mut transposed, mut back) = (Rulebook::default(), Rulebook::default());
        transposed.build_transposed(&rules);
        back.build_transposed(&transposed);
        assert_eq!(back, rules);
        assert!(rules.pairs() > input.len());
    }
}
