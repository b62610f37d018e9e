//! Which frustum points fall into which BEV cell.
//!
//! In: points `[N, D, h, w, 3]` (m, LiDAR frame) and the grid of the pooled map. Out: [`cells`]
//! `[N, D, h, w, 3]` (x, y, z indices) and [`PoolTable`], the kept points of each cell in compressed
//! rows. Built when the calibration changes, read every frame. Indices are computed in float32 as the
//! original does, because a rounding difference at a cell border moves a point to another cell.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Points per task: small enough to spread over the cores, large enough to be worth it.
const CHUNK: usize = 4096;

/// How a coordinate becomes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Toward zero: cell 0 also receives (−1, 0).
    Truncate,
    /// Toward minus infinity.
    Floor,
}

/// The grid that frustum points are pooled into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolGrid {
    /// Lower corner (m) of x, y, z.
    pub lower: [f32; 3],
    /// Cell edges (m).
    pub cell: [f32; 3],
    /// Cells along x, y, z.
    pub count: [usize; 3],
    /// How a coordinate becomes an index.
    pub rounding: Rounding,
}

impl PoolGrid {
    /// From lower bound, upper bound, step per axis (m), with the float32 roundings of the original's
    /// `dx` and `bx`.
    #[must_use]
    pub fn from_bounds(bounds: [[f64; 3]; 3], rounding: Rounding) -> Self {
        let cell = bounds.map(|[_, _, step]| step as f32);
        let center = bounds.map(|[lower, _, step]| (lower + step / 2.0) as f32);
        Self {
            lower: std::array::from_fn(|axis| center[axis] - cell[axis] / 2.0),
            cell,
            count: bounds.map(|[lower, upper, step]| ((upper - lower) / step) as usize),
            rounding,
        }
    }

    /// Cells in all.
    #[must_use]
    pub const fn cells(&self) -> usize {
        self.count[0] * self.count[1] * self.count[2]
    }

    /// Indices of a point, which may lie outside the grid; far away they saturate, and a coordinate
    /// that is not a number is outside.
    #[must_use]
    pub fn cell_of(&self, point: [f32; 3]) -> [i32; 3] {
        std::array::from_fn(|axis| {
            let place = (point[axis] - self.lower[axis]) / self.cell[axis];
            match self.rounding {
                _ if place.is_nan() => i32::MIN,
                Rounding::Truncate => place as i32,
                Rounding::Floor => place.floor() as i32,
            }
        })
    }

    /// Position of a cell in (x, y, z) order; `None` outside.
    #[must_use]
    pub fn rank(&self, cell: [i32; 3]) -> Option<usize> {
        let [nx, ny, nz] = self.count;
        let [x, y, z] = cell.map(|index| usize::try_from(index).ok());
        let (x, y, z) = (x?, y?, z?);
        (x < nx && y < ny && z < nz).then_some((x * ny + y) * nz + z)
    }
}

/// Cell of each point, `[points, 3]`, before the bounds test.
pub fn cells(points: &[f32], grid: &PoolGrid, out: &mut Vec<[i32; 3]>) {
    points
        .as_chunks::<3>()
        .0
        .into_par_iter()
        .with_min_len(CHUNK)
        .map(|point| grid.cell_of(*point))
        .collect_into_vec(out);
}

/// Which frustum points fall into which cell, cells in (x, y, z) order, points ascending in each: the
/// stable sort by rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTable {
    starts: Vec<u32>,
    points: Vec<u32>,
    ranks: Vec<u32>,
}

/// Rank of a point outside the grid.
const OUTSIDE: u32 = u32::MAX;

impl PoolTable {
    /// Sorts the points again by counting; buffers are reused. Points outside the grid are left out.
    pub fn build(&mut self, cells: &[[i32; 3]], grid: &PoolGrid) {
        cells
            .into_par_iter()
            .with_min_len(CHUNK)
            .map(|cell| grid.rank(*cell).map_or(OUTSIDE, |rank| rank as u32))
            .collect_into_vec(&mut self.ranks);
        self.starts.clear();
        self.starts.resize(grid.cells() + 1, 0);
        for rank in self.ranks.iter().filter(|rank| **rank != OUTSIDE) {
            self.starts[*rank as usize + 1] += 1;
        }
        let mut total = 0;
        for start in &mut self.starts {
            total += *start;
            *start = total;
        }
        self.points.clear();
        self.points.resize(total as usize, 0);
        // Filling moves each start to its cell's end, which is the next cell's start.
        for (point, rank) in (0_u32..).zip(&self.ranks) {
            if *rank != OUTSIDE {
                let next = &mut self.starts[*rank as usize];
                self.points[*next as usize] = point;
                *next += 1;
            }
        }
        self.starts.rotate_right(1);
        if let Some(first) = self.starts.first_mut() {
            *first = 0;
        }
    }

    /// Start of each cell's points, `[cells + 1]`.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Kept points by cell: flat indices over `[N, D, h, w]`.
    #[must_use]
    pub fn points(&self) -> &[u32] {
        &self.points
    }

    /// Number of cells; 0 before the first [`build`](Self::build).
    #[must_use]
    pub fn cells(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Points of a cell, ascending.
    #[must_use]
    pub fn points_of(&self, cell: usize) -> &[u32] {
        match self.starts.get(cell..cell + 2) {
            Some(&[start, end]) => &self.points[start as usize..end as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PoolGrid, PoolTable, Rounding};
    use proptest::prelude::{prop_assert_eq, proptest};

    const BOUNDS: [[f64; 3]; 3] = [[-4.0, 4.0, 1.0], [-3.0, 3.0, 0.5], [-10.0, 10.0, 20.0]];

    #[test]
    fn truncation_widens_cell_zero_and_flooring_does_not() {
        let below = [-4.5, -3.0, 0.0];
        let truncated = PoolGrid::from_bounds(BOUNDS, Rounding::Truncate);
        assert_eq!(truncated.cell_of(below), [0, 0, 0]);
        let floored = PoolGrid::from_bounds(BOUNDS, Rounding::Floor);
        assert_eq!(floored.cell_of(below), [-1, 0, 0]);
        assert_eq!(floored.rank([-1, 0, 0]), None);
    }

    #[test]
    fn points_that_are_not_numbers_are_outside() {
        let grid = PoolGrid::from_bounds(BOUNDS, Rounding::Truncate);
        for point in [[f32::NAN, 0.0, 0.0], [0.0, f32::INFINITY, 0.0]] {
            assert_eq!(grid.rank(grid.cell_of(point)), None);
        }
    }

    proptest! {
        #[test]
        fn the_table_is_the_stable_sort_by_rank(
            cells in proptest::collection::vec(proptest::array::uniform3(-1_i32..9), 0..300)
        ) {
            let grid = PoolGrid::from_bounds(BOUNDS, Rounding::Truncate);
            let mut table = PoolTable::default();
            table.build(&[[1, 1, 0]; 5], &grid);
            table.build(&cells, &grid);
            let mut want: Vec<(usize, u32)> = (0..).zip(&cells)
                .filter_map(|(point, cell)| grid.rank(*cell).map(|rank| (rank, point)))
                .collect();
            want.sort_by_key(|(rank, _)| *rank);
            let got: Vec<(usize, u32)> = (0..table.cells())
                .flat_map(|cell| table.points_of(cell).iter().map(move |point| (cell, *point)))
                .collect();
            prop_assert_eq!(got, want);
        }
    }
}
