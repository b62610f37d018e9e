//! Launcher of `view_tables.cu`: which frustum points fall into which cell of the pooled map.
//!
//! In: the matrices of a rig ([`ViewRecord`]) in pinned memory. Out: one of two table sets on the device. A
//! frame names its set in the header, so that the other one can be built meanwhile; a set must not be built
//! while a frame that uses it may run.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::images;
use super::view_record::ViewRecord;
use super::view_shape::{Run, RunFormat, ViewShape};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, PinnedSlice, Stream,
};
use crate::reference::frustum::{FrustumParams, frustum};
use crate::reference::pool_table::{PoolGrid, Rounding};

const THREADS: u32 = 256;
const WALK_THREADS: u32 = 128;
const SCAN_THREADS: u32 = 1024;
/// Counts that a block sums.
const CHUNK: usize = 8 * SCAN_THREADS as usize;
/// Blocks of the first kernel, and of the one that sorts long lists.
const BLOCKS: u32 = 256;
/// Cells of a tile of the pooling.
pub(super) const TILE_CELLS: usize = 16;
/// Table sets.
pub const SETS: usize = 2;

/// What the tables are of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewTablesConfig {
    /// Cameras of the rig.
    pub cameras: usize,
    /// Image, feature map and depths of a camera.
    pub frustum: FrustumParams,
    /// The grid that is pooled into.
    pub grid: PoolGrid,
}

impl ViewTablesConfig {
    /// N, h, w and D.
    #[must_use]
    pub const fn shape(&self) -> ViewShape {
        ViewShape {
            cameras: self.cameras,
            feature_size: self.frustum.feature_size,
            depths: self.frustum.depths,
        }
    }
}

/// Mirrors `SetCounts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SetCounts {
    /// 0 before the first build; no two builds have the same.
    pub generation: u32,
    /// Runs of all cells.
    pub runs: u32,
    /// Cells with runs.
    pub cells: u32,
    /// Of these, cells with many.
    pub long_cells: u32,
    big_cells: u32,
    spare: [u32; 3],
}

/// Mirrors `ViewSet`.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SetParams {
    pub(super) record: u64,
    pub(super) counts: u64,
    pub(super) starts: u64,
    pub(super) runs: u64,
    pub(super) list: u64,
}

/// Mirrors `ViewTablesParams`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: u64,
    set: SetParams,
    ranks: u64,
    u_px: u64,
    v_px: u64,
    depth_m: u64,
    generation: u64,
    counts: u64,
    cursors: u64,
    count_chunks: u64,
    key_words: u64,
    key_prefix: u64,
    key_chunks: u64,
    orders: u64,
    big_cells: u64,
    chunks: u32,
    key_chunk_count: u32,
    half_words: u32,
    cells: u32,
    cameras: u32,
    width: u32,
    height: u32,
    depths: u32,
    grid: [u32; 3],
    lower: [f32; 3],
    cell: [f32; 3],
    floors: u32,
    format: RunFormat,
}

/// One table set on the device.
#[derive(Clone, Debug)]
struct TableSet {
    record: DeviceSlice<ViewRecord>,
    counts: DeviceSlice<SetCounts>,
    starts: DeviceSlice<u32>,
    runs: DeviceSlice<u32>,
    list: DeviceSlice<[u32; 4]>,
}

impl TableSet {
    fn new(arena: &DeviceArena, shape: &ViewShape, padded: usize) -> Result<Self, DriverError> {
        Ok(Self {
            record: arena.take_zeroed("view matrices", 1)?,
            counts: arena.take_zeroed("view counts", 1)?,
            starts: arena.take_zeroed("view cell starts", padded + 1)?,
            runs: arena.take("view runs", shape.points())?,
            list: arena.take("view cells", padded + TILE_CELLS)?,
        })
    }

    const fn params(&self) -> SetParams {
        SetParams {
            record: self.record.address(),
            counts: self.counts.address(),
            starts: self.starts.address(),
            runs: self.runs.address(),
            list: self.list.address(),
        }
    }
}

/// Memory that builds share.
#[derive(Debug)]
struct Scratch {
    positions: [DeviceSlice<f32>; 3],
    generation: DeviceSlice<u32>,
    counts: DeviceSlice<u32>,
    cursors: DeviceSlice<u32>,
    count_chunks: DeviceSlice<u32>,
    key_words: DeviceSlice<u32>,
    key_prefix: DeviceSlice<u32>,
    key_chunks: DeviceSlice<u32>,
    orders: DeviceSlice<u32>,
    big_cells: DeviceSlice<u32>,
}

/// The two table sets and what builds them. Clones of its parts are held by those that read them.
#[derive(Debug)]
pub struct ViewTables {
    kernels: Vec<(Function, Launch)>,
    params: Params,
    sets: [TableSet; SETS],
    config: ViewTablesConfig,
    _scratch: Scratch,
}

impl ViewTables {
    /// Takes memory for both sets, empty at first, and loads the kernels.
    ///
    /// # Errors
    /// When extents are beyond the kernels or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        config: &ViewTablesConfig,
    ) -> Result<Self, DriverError> {
        let shape = config.shape();
        let format = check(config).map_err(refuse)?;
        let chunks = config.grid.cells().div_ceil(CHUNK);
        let half_words = shape.points().div_ceil(32);
        let key_chunks = (2 * half_words).div_ceil(CHUNK);
        let scratch = Scratch::new(arena, config, [chunks, key_chunks])?;
        let sets = [
            TableSet::new(arena, &shape, chunks * CHUNK)?,
            TableSet::new(arena, &shape, chunks * CHUNK)?,
        ];
        let [u_px, v_px, depth_m] = &scratch.positions;
        let params = Params {
            input: 0,
            set: SetParams::default(),
            ranks: 0,
            u_px: u_px.address(),
            v_px: v_px.address(),
            depth_m: depth_m.address(),
            generation: scratch.generation.address(),
            counts: scratch.counts.address(),
            cursors: scratch.cursors.address(),
            count_chunks: scratch.count_chunks.address(),
            key_words: scratch.key_words.address(),
            key_prefix: scratch.key_prefix.address(),
            key_chunks: scratch.key_chunks.address(),
            orders: scratch.orders.address(),
            big_cells: scratch.big_cells.address(),
            chunks: chunks as u32,
            key_chunk_count: key_chunks as u32,
            half_words: half_words as u32,
            cells: config.grid.cells() as u32,
            cameras: shape.cameras as u32,
            width: shape.feature_size[1] as u32,
            height: shape.feature_size[0] as u32,
            depths: shape.depths as u32,
            grid: config.grid.count.map(|count| count as u32),
            lower: config.grid.lower,
            cell: config.grid.cell,
            floors: u32::from(config.grid.rounding == Rounding::Floor),
            format,
        };
        Ok(Self {
            kernels: kernels(context, config, [chunks, key_chunks])?,
            params,
            sets,
            config: *config,
            _scratch: scratch,
        })
    }

    /// Builds set `set` (0 or 1) from `record`, which has one element, is read when the work runs and must
    /// outlive that. Builds must run one after the other, and no frame that uses the set beside its build.
    ///
    /// # Errors
    /// When there is no such set or the driver refuses.
    pub fn build(
        &self,
        stream: &Stream,
        set: usize,
        record: &PinnedSlice<ViewRecord>,
    ) -> Result<(), DriverError> {
        self.launch(stream, set, record, 0)
    }

    /// As [`build`](Self::build) with given cells in place of the computed ones, to compare implementations
    /// closely: `ranks` `[N, D, h, w]`, (x · Y + y) · Z + z, or negative outside.
    ///
    /// # Errors
    /// When there is no such set, `ranks` has other extents, or the driver refuses.
    pub fn build_from_ranks(
        &self,
        stream: &Stream,
        set: usize,
        record: &PinnedSlice<ViewRecord>,
        ranks: &DeviceSlice<i32>,
    ) -> Result<(), DriverError> {
        let points = self.config.shape().points();
        if ranks.len() != points {
            return Err(refuse(format!("{} ranks for {points} points", ranks.len())));
        }
        self.launch(stream, set, record, ranks.address())
    }

    fn launch(
        &self,
        stream: &Stream,
        set: usize,
        record: &PinnedSlice<ViewRecord>,
        ranks: u64,
    ) -> Result<(), DriverError> {
        let Some(table) = self.sets.get(set).filter(|_| record.len() == 1) else {
            let records = record.len();
            return Err(refuse(format!("table set {set}, {records} records")));
        };
        let params = Params {
            input: record.device_address(),
            set: table.params(),
            ranks,
            ..self.params
        };
        for (kernel, launch) in &self.kernels {
            // SAFETY: the struct mirrors the kernels'; its addresses are those of slices that `self` holds,
            // taken for the configured extents, and of `record` and `ranks`, whose extents were checked.
            unsafe { kernel.launch(stream, *launch, &params) }?;
        }
        Ok(())
    }

    /// What the tables are of.
    #[must_use]
    pub const fn config(&self) -> &ViewTablesConfig {
        &self.config
    }

    pub(super) const fn format(&self) -> RunFormat {
        self.params.format
    }

    pub(super) const fn set_params(&self) -> [SetParams; SETS] {
        [self.sets[0].params(), self.sets[1].params()]
    }

    /// The memory of both sets, to be held by who reads it.
    pub(super) fn held(&self) -> HeldTables {
        HeldTables {
            _sets: self.sets.clone(),
        }
    }

    /// Waits and fetches a set; for tests and tools.
    ///
    /// # Errors
    /// When there is no such set or the driver refuses.
    pub fn download(&self, set: usize) -> Result<TableContents, DriverError> {
        let Some(table) = self.sets.get(set) else {
            return Err(refuse(format!("table set {set}")));
        };
        let counts = table.counts.download()?;
        let counts = counts.first().copied().unwrap_or_default();
        let runs = table.runs.part(0, counts.runs as usize).download()?;
        let short = counts.cells.saturating_sub(counts.long_cells) as usize;
        let long = counts.long_cells as usize;
        let mut list = table.list.part(0, long).download()?;
        let rest = table.list.part(long.next_multiple_of(TILE_CELLS), short);
        list.extend(rest.download()?);
        let format = self.format();
        Ok(TableContents {
            counts,
            starts: table
                .starts
                .part(0, self.config.grid.cells() + 1)
                .download()?,
            runs: runs.iter().map(|word| format.unpack(*word)).collect(),
            list,
        })
    }
}

/// Keeps the memory of both sets alive.
#[derive(Clone, Debug)]
pub(super) struct HeldTables {
    _sets: [TableSet; SETS],
}

/// A table set on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContents {
    /// Its counts.
    pub counts: SetCounts,
    /// Where each cell's runs begin, `[cells + 1]`.
    pub starts: Vec<u32>,
    /// Runs by cell, ascending in each.
    pub runs: Vec<Run>,
    /// Cells in the order of work: rank, first run, runs, word of the first run.
    pub list: Vec<[u32; 4]>,
}

impl Scratch {
    fn new(
        arena: &DeviceArena,
        config: &ViewTablesConfig,
        [chunks, key_chunks]: [usize; 2],
    ) -> Result<Self, DriverError> {
        let params = &config.frustum;
        let [height, width] = params.feature_size;
        let points = frustum(params);
        let at = |index: usize, axis: usize| points.get(3 * index + axis).copied().unwrap_or(0.0);
        let u: Vec<f32> = (0..width).map(|u| at(u, 0)).collect();
        let v: Vec<f32> = (0..height).map(|v| at(v * width, 1)).collect();
        let bins = 0..params.depths;
        let depth: Vec<f32> = bins.map(|bin| at(bin * height * width, 2)).collect();
        Ok(Self {
            positions: [
                arena.take_with("view columns", &u)?,
                arena.take_with("view rows", &v)?,
                arena.take_with("view depths", &depth)?,
            ],
            generation: arena.take_zeroed("view generation", 1)?,
            counts: arena.take("view runs of cells", chunks * CHUNK)?,
            cursors: arena.take("view cursors", chunks * CHUNK)?,
            count_chunks: arena.take("view runs of chunks", chunks)?,
            key_words: arena.take("view cell keys", key_chunks * CHUNK)?,
            key_prefix: arena.take("view cell order", key_chunks * CHUNK)?,
            key_chunks: arena.take("view cells of chunks", key_chunks)?,
            orders: arena.take_zeroed("view started blocks", 2)?,
            big_cells: arena.take("view big cells", config.grid.cells())?,
        })
    }
}

fn kernels(
    context: &Arc<Context>,
    config: &ViewTablesConfig,
    [chunks, key_chunks]: [usize; 2],
) -> Result<Vec<(Function, Launch)>, DriverError> {
    let module = Module::load(context, &images::VIEW_TABLES)?;
    let walks = config.shape().columns() * config.frustum.depths;
    let walk = Launch::cover(walks, WALK_THREADS);
    let cells = Launch::cover(config.grid.cells(), THREADS);
    let few = Launch::row(BLOCKS, THREADS);
    let launches = [
        ("view_tables_begin", few),
        ("view_tables_count", walk),
        (
            "view_tables_starts",
            Launch::row(chunks as u32, SCAN_THREADS),
        ),
        ("view_tables_scatter", walk),
        ("view_tables_sort", cells),
        ("view_tables_sort_big", few),
        (
            "view_tables_order",
            Launch::row(key_chunks as u32, SCAN_THREADS),
        ),
        ("view_tables_list", cells),
    ];
    let loaded = launches.map(|(name, launch)| Ok((module.function(name, 0)?, launch)));
    loaded.into_iter().collect()
}

fn check(config: &ViewTablesConfig) -> Result<RunFormat, String> {
    let format = config.shape().run_format()?;
    let grid = &config.grid;
    let cells = grid
        .count
        .iter()
        .try_fold(1_usize, |cells, count| cells.checked_mul(*count));
    if !cells.is_some_and(|cells| (1..1 << 26).contains(&cells)) {
        let count = grid.count;
        return Err(format!("a grid of {count:?} cells, 1 to 2^26 - 1 fit in"));
    }
    if config.shape().points() >= 1 << 29 {
        let points = config.shape().points();
        return Err(format!("{points} frustum points, at most 2^29 - 1 fit in"));
    }
    Ok(format)
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "view tables",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::{Params, SetCounts, SetParams};

    #[test]
    fn the_structs_have_the_sizes_that_the_kernels_assume() {
        assert_eq!(size_of::<SetCounts>(), 32);
        assert_eq!(size_of::<SetParams>(), 40);
        assert_eq!(size_of::<Params>(), 8 + 40 + 13 * 8 + 8 * 4 + 9 * 4 + 12);
    }
}
