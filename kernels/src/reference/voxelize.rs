//! Deterministic hard voxelisation with the mean of each voxel.
//!
//! In: points `[n, columns]`, x, y, z (m) first. Out: voxels in the order of their first point, with
//! grid coordinates x, y, z, the number of points kept and their mean. The result is that of a walk
//! over the points in input order: a point whose cell has no voxel opens one, and is dropped when
//! `max_voxels` exist already, as are all later points of that cell; a voxel keeps its first
//! `max_points` points. The cell is ⌊(p − min) / size⌋ in float32, subtracted first.
//! Reference: the voxel op of mmdetection3d's BEVFusion, deterministic form.

use super::key_table::KeyTable;

/// Row of a cell that found no room.
const NO_VOXEL: u32 = u32::MAX;

/// Grid, caps and what to put out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoxelizeParams {
    /// Lower corner of the grid (m).
    pub min: [f32; 3],
    /// Edge lengths of a cell (m).
    pub size: [f32; 3],
    /// Cells along x, y, z.
    pub grid: [usize; 3],
    /// Points kept in a voxel, at least 1.
    pub max_points: usize,
    /// Voxels kept in a frame.
    pub max_voxels: usize,
    /// Whether the points themselves are wanted too.
    pub output: VoxelOutput,
}

/// What is written for each voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoxelOutput {
    /// Coordinates, count, mean.
    Mean,
    /// The same, and the kept points padded with zeros.
    MeanAndPoints,
}

/// The voxels of a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Voxels {
    /// Grid coordinates x, y, z.
    pub coords: Vec<[i32; 3]>,
    /// Points kept in each voxel.
    pub counts: Vec<u32>,
    /// `[len, columns]`: mean of the kept points, summed in point order.
    pub mean: Vec<f32>,
    /// `[len, max_points, columns]`, zero-padded; empty unless asked for.
    pub points: Vec<f32>,
    /// Values per point.
    pub columns: usize,
    /// What was left out.
    pub dropped: DroppedPoints,
}

/// What a frame lost on the way into voxels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedPoints {
    /// Points outside the grid, or not finite.
    pub outside: usize,
    /// Points of a voxel that already had `max_points`.
    pub voxel_full: usize,
    /// Points of cells that found `max_voxels` voxels.
    pub no_voxel: usize,
    /// Those cells.
    pub cells: usize,
}

impl Voxels {
    /// Number of voxels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.coords.len()
    }

    /// Whether there is no voxel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.coords.is_empty()
    }

    fn clear(&mut self, columns: usize) {
        self.coords.clear();
        self.counts.clear();
        self.mean.clear();
        self.points.clear();
        self.columns = columns;
        self.dropped = DroppedPoints::default();
    }
}

/// Working memory, kept from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct Voxelizer {
    table: KeyTable,
}

impl Voxelizer {
    /// Puts `points`, `[n, columns]` with `columns` at least 3, into voxels.
    pub fn run(
        &mut self,
        params: &VoxelizeParams,
        points: &[f32],
        columns: usize,
        out: &mut Voxels,
    ) {
        out.clear(columns);
        self.table.reset(points.len() / columns);
        for point in points.chunks_exact(columns) {
            match params.cell(point) {
                Some(cell) => self.add(params, point, cell, out),
                None => out.dropped.outside += 1,
            }
        }
        for (mean, count) in out.mean.chunks_exact_mut(columns).zip(&out.counts) {
            mean.iter_mut().for_each(|sum| *sum /= *count as f32);
        }
    }

    fn add(&mut self, params: &VoxelizeParams, point: &[f32], cell: [u32; 3], out: &mut Voxels) {
        let row = self.table.row_or_insert(params.key(cell), || {
            if out.coords.len() >= params.max_voxels {
                out.dropped.cells += 1;
                return NO_VOXEL;
            }
            let row = out.coords.len() as u32;
            out.coords.push(cell.map(|c| c as i32));
            out.counts.push(0);
            out.mean.resize(out.mean.len() + point.len(), 0.0);
            if params.output == VoxelOutput::MeanAndPoints {
                let slots = params.max_points * point.len();
                out.points.resize(out.points.len() + slots, 0.0);
            }
            row
        });
        if row == NO_VOXEL {
            out.dropped.no_voxel += 1;
            return;
        }
        let row = row as usize;
        let kept = out.counts[row] as usize;
        if kept == params.max_points {
            out.dropped.voxel_full += 1;
            return;
        }
        out.counts[row] += 1;
        let sums = &mut out.mean[row * point.len()..][..point.len()];
        sums.iter_mut().zip(point).for_each(|(sum, v)| *sum += v);
        if params.output == VoxelOutput::MeanAndPoints {
            let slot = row * params.max_points + kept;
            out.points[slot * point.len()..][..point.len()].copy_from_slice(point);
        }
    }
}

impl VoxelizeParams {
    fn cell(&self, point: &[f32]) -> Option<[u32; 3]> {
        let mut cell = [0; 3];
        for axis in 0..3 {
            let index = ((point[axis] - self.min[axis]) / self.size[axis]).floor();
            // False for NaN.
            let inside = index >= 0.0 && index < self.grid[axis] as f32;
            if !inside {
                return None;
            }
            cell[axis] = index as u32;
        }
        Some(cell)
    }

    fn key(&self, [x, y, z]: [u32; 3]) -> u64 {
        let [_, size_y, size_z] = self.grid.map(|extent| extent as u64);
        (u64::from(x) * size_y + u64::from(y)) * size_z + u64::from(z)
    }
}

#[cfg(test)]
mod tests {
    use super::{DroppedPoints, VoxelOutput, VoxelizeParams, Voxelizer, Voxels};
    use proptest::prelude::{prop_assert_eq, proptest};

    const PARAMS: VoxelizeParams = VoxelizeParams {
        min: [-1.0, 0.0, -0.5],
        size: [0.5, 0.25, 1.0],
        grid: [4, 3, 2],
        max_points: 3,
        max_voxels: 6,
        output: VoxelOutput::MeanAndPoints,
    };

    /// The words of the specification, quadratic in the number of points.
    fn naive(params: &VoxelizeParams, points: &[[f32; 4]]) -> Voxels {
        let mut out = Voxels {
            columns: 4,
            ..Voxels::default()
        };
        let mut members: Vec<Vec<[f32; 4]>> = Vec::new();
        let mut refused: Vec<[i32; 3]> = Vec::new();
        for point in points {
            let cell: [i32; 3] = std::array::from_fn(|j| {
                ((point[j] - params.min[j]) / params.size[j]).floor() as i32
            });
            let inside = (0..3).all(|j| cell[j] >= 0 && cell[j] < params.grid[j] as i32);
            if !inside || point[..3].iter().any(|v| v.is_nan()) {
                out.dropped.outside += 1;
                continue;
            }
            match out.coords.iter().position(|c| *c == cell) {
                Some(row) if members[row].len() == params.max_points => out.dropped.voxel_full += 1,
                Some(row) => members[row].push(*point),
                None if out.coords.len() == params.max_voxels => {
                    out.dropped.no_voxel += 1;
                    refused.push(cell);
                }
                None => {
                    out.coords.push(cell);
                    members.push(vec![*point]);
                }
            }
        }
        refused.sort_unstable();
        refused.dedup();
        out.dropped.cells = refused.len();
        for kept in &members {
            out.counts.push(kept.len() as u32);
            let sum = |j: usize| kept.iter().fold(0.0, |sum: f32, p| sum + p[j]);
            out.mean.extend((0..4).map(|j| sum(j) / kept.len() as f32));
            out.points.extend(kept.as_flattened());
            let empty = 4 * (params.max_points - kept.len());
            out.points.extend(std::iter::repeat_n(0.0, empty));
        }
        out
    }

    proptest! {
        #[test]
        fn voxels_are_those_of_the_sequential_rule(
            points in proptest::collection::vec(proptest::array::uniform4(-1.5_f32..2.0), 0..120),
        ) {
            let (mut voxelizer, mut out) = (Voxelizer::default(), Voxels::default());
            // The second round finds used memory.
            for half in [&points[..], &points[points.len() / 2..]] {
                voxelizer.run(&PARAMS, half.as_flattened(), 4, &mut out);
                prop_assert_eq!(&out, &naive(&PARAMS, half));
            }
        }
    }

    #[test]
    fn borders_belong_to_the_upper_cell_and_broken_points_to_none() {
        let points = [
            [-0.5, 0.25, 0.5, 1.0],
            [1.0, 0.0, 0.0, 1.0],
            [f32::NAN, 0.0, 0.0, 1.0],
            [f32::NEG_INFINITY, 0.0, 0.0, 1.0],
        ];
        let mut out = Voxels::default();
        Voxelizer::default().run(&PARAMS, points.as_flattened(), 4, &mut out);
        assert_eq!(out.coords, [[1, 1, 1]]);
        let lost = DroppedPoints {
            outside: 3,
            ..DroppedPoints::default()
        };
        assert_eq!(out.dropped, lost);
    }
}
