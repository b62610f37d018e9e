//! What the CPU twins make of a frame, in the order and the form of the device.
//!
//! The device cuts points beyond its capacity in input order and sites beyond a level's capacity in
//! canonical order; here the inputs of the twins are cut likewise.

use bevfusion_kernels::cuda::rulebook::StridedLevel;
use bevfusion_kernels::reference::fourier::fourier_features;
use bevfusion_kernels::reference::rulebook::Rulebook;
use bevfusion_kernels::reference::sites::{SiteError, Sites};
use bevfusion_kernels::reference::sweep::{CloudLayout, GatheredPoints, PointCounts, append_cloud};
use bevfusion_kernels::reference::voxelize::{
    DroppedPoints, VoxelOutput, VoxelizeParams, Voxelizer, Voxels,
};

use super::rig::Setup;
use super::scene::{COLUMNS, Cloud};

/// Twin results.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) input: usize,
    pub(super) counts: PointCounts,
    pub(super) dropped: DroppedPoints,
    /// Kept points, row by row.
    pub(super) points: Vec<f32>,
    pub(super) means: Vec<f32>,
    /// Unpadded.
    pub(super) features: Vec<f32>,
    /// Coordinates of each level's rows.
    pub(super) levels: Vec<Vec<[i32; 3]>>,
    /// Sites of each level before the cut.
    pub(super) uncut: Vec<usize>,
    /// `[kernel volume][rows]`, submanifold ones first.
    pub(super) tables: Vec<Vec<i32>>,
}

pub(super) fn expected(setup: &Setup, clouds: &[Cloud]) -> Result<Expected, SiteError> {
    let gathered = gather(setup, clouds);
    let voxels = voxelized(setup, &gathered);
    let (mut sites, mut order) = (Sites::default(), Vec::new());
    sites.assign(setup.grid.sparse_shape, &voxels.coords, &mut order)?;
    let columns = gathered.columns;
    let means: Vec<f32> = order
        .iter()
        .flat_map(|row| &voxels.mean[*row as usize * columns..][..columns])
        .copied()
        .collect();
    let mut features = Vec::new();
    match &setup.fourier {
        Some(fourier) => fourier_features(&fourier.params(), &means, &mut features),
        None => features.clone_from(&means),
    }
    let mut levels = Levels::new(sites, voxels.len() + voxels.dropped.cells);
    for strided in &setup.strided {
        levels.add(strided)?;
    }
    let submanifold = setup.submanifold.iter().zip(&levels.sites);
    let mut tables: Vec<Vec<i32>> = submanifold
        .filter_map(|(kernel, sites)| Some(submanifold_table((*kernel)?, sites)))
        .collect();
    tables.append(&mut levels.tables);
    Ok(Expected {
        input: clouds.iter().map(Cloud::points).sum(),
        counts: gathered.counts,
        dropped: voxels.dropped,
        points: gathered.values,
        means,
        features,
        levels: levels.sites.iter().map(|s| s.coords().to_vec()).collect(),
        uncut: levels.uncut,
        tables,
    })
}

fn gather(setup: &Setup, clouds: &[Cloud]) -> GatheredPoints {
    let layout = CloudLayout {
        columns: COLUMNS,
        use_dim: &setup.use_dim,
        time_column: setup.time_column,
        range: setup.range,
    };
    let mut gathered = GatheredPoints::default();
    gathered.clear(setup.use_dim.len());
    let mut room = setup.point_capacity;
    for cloud in clouds {
        let taken = cloud.points().min(room);
        room -= taken;
        let rows = &cloud.rows[..taken * COLUMNS];
        append_cloud(&layout, &cloud.placement, rows, &mut gathered);
    }
    gathered
}

fn voxelized(setup: &Setup, gathered: &GatheredPoints) -> Voxels {
    let params = VoxelizeParams {
        min: setup.grid.min,
        size: setup.grid.size,
        grid: setup.grid.grid,
        max_points: setup.max_points,
        max_voxels: setup.max_voxels,
        output: VoxelOutput::Mean,
    };
    let mut voxels = Voxels::default();
    Voxelizer::default().run(&params, &gathered.values, gathered.columns, &mut voxels);
    voxels
}

/// Levels one after the other.
struct Levels {
    sites: Vec<Sites>,
    uncut: Vec<usize>,
    tables: Vec<Vec<i32>>,
}

impl Levels {
    fn new(first: Sites, uncut: usize) -> Self {
        Self {
            sites: vec![first],
            uncut: vec![uncut],
            tables: Vec::new(),
        }
    }

    fn add(&mut self, strided: &StridedLevel) -> Result<(), SiteError> {
        let (mut rules, mut output) = (Rulebook::default(), Sites::default());
        if let Some(input) = self.sites.last() {
            rules.build_strided(&strided.geometry, input, &mut output);
        }
        self.uncut.push(output.len());
        let rows = output.len().min(strided.capacity);
        // A row's inputs do not depend on the rows after it.
        self.tables.push(table(&rules, rows));
        let kept = output.coords()[..rows].to_vec();
        output.assign(output.shape(), &kept, &mut Vec::new())?;
        self.sites.push(output);
        Ok(())
    }
}

fn submanifold_table(kernel: [usize; 3], sites: &Sites) -> Vec<i32> {
    let mut rules = Rulebook::default();
    rules.build_submanifold(kernel, sites);
    table(&rules, sites.len())
}

fn table(rules: &Rulebook, rows: usize) -> Vec<i32> {
    let columns = (0..rules.kernel_volume()).map(|index| &rules.column(index)[..rows]);
    columns.flatten().copied().collect()
}
