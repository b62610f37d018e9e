//! BEV pooling: the sum of the lifted camera features in each cell.
//!
//! In: depth probabilities `[N, D, h, w]` and context `[N, C, h, w]`; the lifted feature of a frustum
//! point is their product and is never stored. Out: `[Z·C, X, Y]` with channel z·C + c. Each cell sums
//! its points in ascending order in float32, so the result does not depend on the number of threads.
//! [`pool_features`] is the plain form on stored features `[K, C]`.

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::pool_table::{PoolGrid, PoolTable};

/// Extents of the lifted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiftShape {
    /// N.
    pub cameras: usize,
    /// D.
    pub depths: usize,
    /// h·w of the feature map.
    pub pixels: usize,
    /// C.
    pub channels: usize,
}

impl LiftShape {
    /// Values of the depth probabilities, and frustum points.
    #[must_use]
    pub const fn points(&self) -> usize {
        self.cameras * self.depths * self.pixels
    }

    /// Values of the context.
    #[must_use]
    pub const fn context(&self) -> usize {
        self.cameras * self.channels * self.pixels
    }
}

/// Buffers of the pooling, reused from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct BevPool {
    /// `[N, h·w, C]`.
    context: Vec<f32>,
    /// `[X, Y, Z, C]`.
    pooled: Vec<f32>,
}

impl BevPool {
    /// Pools without lifting; `out` becomes `[Z·C, X, Y]`.
    ///
    /// `table` was built over `grid` from the cells of `shape.points()` frustum points; `depth_prob`
    /// and `context` have the lengths of `shape`.
    pub fn run(
        &mut self,
        table: &PoolTable,
        grid: &PoolGrid,
        shape: LiftShape,
        (depth_prob, context): (&[f32], &[f32]),
        out: &mut Vec<f32>,
    ) {
        let LiftShape {
            depths,
            pixels,
            channels,
            ..
        } = shape;
        self.context.resize(shape.context(), 0.0);
        for (target, source) in self
            .context
            .chunks_exact_mut((pixels * channels).max(1))
            .zip(context.chunks_exact((pixels * channels).max(1)))
        {
            transpose(source, channels, pixels, target);
        }
        let rows = &self.context;
        sum_cells(table, channels, &mut self.pooled, |point, sums| {
            let camera = point / (depths * pixels);
            let start = (camera * pixels + point % pixels) * channels;
            let probability = depth_prob[point];
            for (sum, value) in sums.iter_mut().zip(&rows[start..start + channels]) {
                *sum += probability * value;
            }
        });
        channels_first(&self.pooled, grid, channels, out);
    }
}

/// Pools stored features `[K, C]`; `out` becomes `[Z·C, X, Y]`.
pub fn pool_features(
    features: &[f32],
    channels: usize,
    table: &PoolTable,
    grid: &PoolGrid,
    out: &mut Vec<f32>,
) {
    let mut pooled = Vec::new();
    sum_cells(table, channels, &mut pooled, |point, sums| {
        let start = point * channels;
        for (sum, value) in sums.iter_mut().zip(&features[start..start + channels]) {
            *sum += value;
        }
    });
    channels_first(&pooled, grid, channels, out);
}

/// Gradient of [`pool_features`]: each kept feature gets its cell's gradient, the others 0.
///
/// `out_gradient` is `[Z·C, X, Y]`, `cells` the cell of each feature; `out` becomes `[K, C]`.
pub fn pool_features_gradient(
    out_gradient: &[f32],
    channels: usize,
    cells: &[[i32; 3]],
    grid: &PoolGrid,
    out: &mut Vec<f32>,
) {
    let [nx, ny, nz] = grid.count;
    out.clear();
    out.resize(cells.len() * channels, 0.0);
    if channels == 0 {
        return;
    }
    out.par_chunks_exact_mut(channels)
        .zip(cells.par_iter())
        .for_each(|(gradient, cell)| {
            let Some(rank) = grid.rank(*cell) else {
                return;
            };
            let (column, level) = (rank / nz, rank % nz);
            for (channel, value) in gradient.iter_mut().enumerate() {
                *value = out_gradient[(level * channels + channel) * nx * ny + column];
            }
        });
}

/// Sums `add(point, sums)` over the points of each cell; `pooled` becomes `[cells, channels]`.
fn sum_cells(
    table: &PoolTable,
    channels: usize,
    pooled: &mut Vec<f32>,
    add: impl Fn(usize, &mut [f32]) + Sync,
) {
    const CELLS_PER_TASK: usize = 64;
    pooled.resize(table.cells() * channels, 0.0);
    if channels == 0 {
        return;
    }
    pooled
        .par_chunks_exact_mut(channels)
        .with_min_len(CELLS_PER_TASK)
        .enumerate()
        .for_each(|(cell, sums)| {
            sums.fill(0.0);
            for point in table.points_of(cell) {
                add(*point as usize, sums);
            }
        });
}

/// `[X, Y, Z·C]` to `[Z·C, X, Y]`.
fn channels_first(pooled: &[f32], grid: &PoolGrid, channels: usize, out: &mut Vec<f32>) {
    let columns = grid.count[0] * grid.count[1];
    out.resize(pooled.len(), 0.0);
    transpose(pooled, columns, grid.count[2] * channels, out);
}

/// `[rows, columns]` to `[columns, rows]`, in blocks of target rows so that source lines are read whole.
fn transpose(source: &[f32], rows: usize, columns: usize, target: &mut [f32]) {
    const BLOCK: usize = 16;
    if rows == 0 || columns == 0 {
        return;
    }
    target
        .par_chunks_mut(BLOCK * rows)
        .enumerate()
        .for_each(|(block, lines)| {
            let first = block * BLOCK;
            let width = lines.len() / rows;
            for row in 0..rows {
                let start = row * columns + first;
                for (line, value) in source[start..start + width].iter().enumerate() {
                    lines[line * rows + row] = *value;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::{BevPool, LiftShape, pool_features, pool_features_gradient};
    use crate::reference::pool_table::{PoolGrid, PoolTable, Rounding};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn grid() -> PoolGrid {
        PoolGrid::from_bounds(
            [[0.0, 4.0, 1.0], [0.0, 3.0, 1.0], [0.0, 2.0, 1.0]],
            Rounding::Truncate,
        )
    }

    fn table(cells: &[[i32; 3]]) -> PoolTable {
        let mut table = PoolTable::default();
        table.build(cells, &grid());
        table
    }

    proptest! {
        #[test]
        fn pooling_without_lifting_is_pooling_the_lifted_volume(
            cells in proptest::collection::vec(proptest::array::uniform3(-1_i32..5), 2 * 3 * 4),
            depth_prob in proptest::collection::vec(0.0_f32..1.0, 2 * 3 * 4),
            context in proptest::collection::vec(-1.0_f32..1.0, 2 * 5 * 4)
        ) {
            let shape = LiftShape { cameras: 2, depths: 3, pixels: 4, channels: 5 };
            let lifted: Vec<f32> = (0..shape.points()).flat_map(|point| {
                let (camera, pixel) = (point / 12, point % 4);
                let (probability, context) = (depth_prob[point], &context);
                (0..5).map(move |c| probability * context[(camera * 5 + c) * 4 + pixel])
            }).collect();
            let (mut direct, mut plain) = (Vec::new(), Vec::new());
            let table = table(&cells);
            BevPool::default().run(&table, &grid(), shape, (&depth_prob, &context), &mut direct);
            pool_features(&lifted, 5, &table, &grid(), &mut plain);
            prop_assert_eq!(direct, plain);
        }

        #[test]
        fn pooling_and_its_gradient_are_transposes(
            cells in proptest::collection::vec(proptest::array::uniform3(-1_i32..5), 20),
            features in proptest::collection::vec(-1.0_f32..1.0, 20 * 3),
            weights in proptest::collection::vec(-1.0_f32..1.0, 2 * 3 * 4 * 3)
        ) {
            let (mut pooled, mut gradient) = (Vec::new(), Vec::new());
            pool_features(&features, 3, &table(&cells), &grid(), &mut pooled);
            pool_features_gradient(&weights, 3, &cells, &grid(), &mut gradient);
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
            };
            prop_assert!((dot(&pooled, &weights) - dot(&features, &gradient)).abs() < 1e-4);
        }
    }

    #[test]
    fn heights_become_channels_level_by_level() {
        let mut out = Vec::new();
        pool_features(&[1.0, 2.0], 2, &table(&[[3, 1, 1]]), &grid(), &mut out);
        let mut want = vec![0.0; 2 * 2 * 12];
        want[2 * 12 + 3 * 3 + 1] = 1.0;
        want[3 * 12 + 3 * 3 + 1] = 2.0;
        assert_eq!(out, want);
    }
}
