//! Launcher of `sweep.cu`: the points of all clouds of a frame, their cells and the occupied cells.
//!
//! In: a [`FrameHeader`] and the clouds it names. Out, on the device: `points` `[capacity, columns]` float32
//! in the order of clouds then points (zeros where one was dropped), `cell` `[capacity]`, the
//! occupancy of the grid and [`FrameCounts`].

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::frame::{
    CloudData, CloudHeader, FrameCounts, FrameHeader, FramePlan, MAX_CLOUDS, MAX_COLUMNS, RowLayout,
};
use super::images;
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, PinnedSlice, Stream,
};
use crate::reference::sweep::CloudPlacement;

/// Threads of a block.
const THREADS: u32 = 256;
/// Columns of the grid whose cells are counted together.
pub(super) const CHUNK: usize = 16 * 1024;
/// Cells of a column: bits of a word.
pub(super) const COLUMN_CELLS: usize = 64;
/// `source` of a column that holds the time lag, and of one that is read from the cloud.
const SOURCE_TIME: u32 = 3;
const SOURCE_RAW: u32 = 4;

/// The voxel grid and the sparse tensor that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointGrid {
    /// Lower corner (m).
    pub min: [f32; 3],
    /// Edge lengths of a cell (m).
    pub size: [f32; 3],
    /// Cells along x, y, z.
    pub grid: [usize; 3],
    /// Extents of level 0 of the sparse encoder, not below `grid`.
    pub sparse_shape: [usize; 3],
}

/// What stays of a frame's points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepConfig<'a> {
    /// Points of all clouds together; the rest is left out and counted.
    pub point_capacity: usize,
    /// Columns that go on, x, y, z first.
    pub use_dim: &'a [usize],
    /// Column that holds the time lag.
    pub time_column: usize,
    /// x, y, z lower then upper bounds (m), both exclusive.
    pub range: [f32; 6],
    /// Where cells are.
    pub grid: PointGrid,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct BeginParams {
    header: u64,
    plan: u64,
    counts: u64,
    words: u64,
    cell: u64,
    stale_points: u64,
    chunk_counts: u64,
    chunks: u32,
    point_capacity: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct GatherParams {
    plan: u64,
    counts: u64,
    points: u64,
    cell: u64,
    stale_points: u64,
    words: u64,
    range: [f32; 6],
    min: [f32; 3],
    size: [f32; 3],
    grid: [f32; 3],
    shape_y: u32,
    columns: u32,
    source: [u32; MAX_COLUMNS],
    spare: u32,
}

/// What the sweep leaves on the device.
#[derive(Clone, Debug)]
pub struct SweepBuffers {
    /// `[capacity, columns]`; zeros where `cell` is [`NO_POINT`](super::frame::NO_POINT).
    pub points: DeviceSlice<f32>,
    /// `[capacity]`: column · 64 + z, [`NO_POINT`](super::frame::NO_POINT) or
    /// [`NO_CELL`](super::frame::NO_CELL). Not to be written: the next frame clears the columns that it
    /// names.
    pub cell: DeviceSlice<u32>,
    /// One word per (x, y) column of the sparse shape, y fastest: bit z is a cell with points.
    pub words: DeviceSlice<u64>,
    /// Zero for each chunk of columns.
    pub(super) chunk_counts: DeviceSlice<u32>,
    /// One struct, zeroed at the start of a frame.
    pub counts: DeviceSlice<FrameCounts>,
}

/// Gathers a frame's points.
#[derive(Debug)]
pub struct Sweep {
    begin: Function,
    gather: Function,
    begin_params: BeginParams,
    gather_params: GatherParams,
    clear_blocks: u32,
    point_capacity: usize,
    columns: usize,
    sparse_shape: [usize; 3],
    used: Vec<Option<usize>>,
    _plan: DeviceSlice<FramePlan>,
    _stale_points: DeviceSlice<u32>,
    buffers: SweepBuffers,
}

impl Sweep {
    /// Takes memory and loads the kernels.
    ///
    /// # Errors
    /// When extents do not fit together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        config: &SweepConfig<'_>,
    ) -> Result<Self, DriverError> {
        check_config(config)?;
        let [shape_x, shape_y, _] = config.grid.sparse_shape;
        let (capacity, columns) = (config.point_capacity, config.use_dim.len());
        let chunks = (shape_x * shape_y).div_ceil(CHUNK);
        let buffers = SweepBuffers {
            points: arena.take("points", capacity * columns)?,
            cell: arena.take("cells of points", capacity)?,
            words: arena.take_zeroed("occupancy 0", chunks * CHUNK)?,
            chunk_counts: arena.take_zeroed("cells of chunks", chunks)?,
            counts: arena.take_zeroed("frame counts", 1)?,
        };
        let plan = arena.take_zeroed("frame plan", 1)?;
        // Points whose cells the next frame clears.
        let stale_points = arena.take_zeroed("points of the frame before", 1)?;
        let module = Module::load(context, &images::SWEEP)?;
        Ok(Self {
            begin: module.function("sweep_begin", 0)?,
            gather: module.function("sweep_gather", 0)?,
            begin_params: BeginParams {
                header: 0,
                plan: plan.address(),
                counts: buffers.counts.address(),
                words: buffers.words.address(),
                cell: buffers.cell.address(),
                stale_points: stale_points.address(),
                chunk_counts: buffers.chunk_counts.address(),
                chunks: chunks as u32,
                point_capacity: capacity as u32,
            },
            gather_params: gather_params(
                config,
                [plan.address(), stale_points.address()],
                &buffers,
            ),
            clear_blocks: capacity.max(chunks).div_ceil(THREADS as usize) as u32,
            point_capacity: capacity,
            columns,
            sparse_shape: config.grid.sparse_shape,
            used: used_columns(config),
            _plan: plan,
            _stale_points: stale_points,
            buffers,
        })
    }

    /// A cloud of the frame, as the header wants it. The address must stay readable for the device until
    /// the frame is done.
    ///
    /// # Errors
    /// When a used column is not in the rows.
    pub fn cloud(
        &self,
        data: CloudData,
        layout: &RowLayout,
        placement: &CloudPlacement,
    ) -> Result<CloudHeader, DriverError> {
        CloudHeader::new(data, layout, &self.used, placement)
    }

    /// What it leaves on the device.
    #[must_use]
    pub const fn buffers(&self) -> &SweepBuffers {
        &self.buffers
    }

    /// Values of a point.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Points that fit in.
    #[must_use]
    pub const fn point_capacity(&self) -> usize {
        self.point_capacity
    }

    /// Extents of level 0.
    #[must_use]
    pub const fn sparse_shape(&self) -> [usize; 3] {
        self.sparse_shape
    }

    /// Two launches. `header` has one element; it is read when they run and must outlive that.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
    ) -> Result<(), DriverError> {
        let begin = BeginParams {
            header: header.device_address(),
            ..self.begin_params
        };
        // The first block reads the header.
        let clear = Launch::row(self.clear_blocks + 1, THREADS);
        // SAFETY: the struct mirrors the kernel's; its addresses belong to slices of `self`, with a place
        // for every column of every chunk.
        unsafe { self.begin.launch(stream, clear, &begin) }?;
        // Each cloud starts a block of its own.
        let blocks = self.point_capacity.div_ceil(THREADS as usize) + MAX_CLOUDS;
        let points = Launch::row(blocks as u32, THREADS);
        // SAFETY: as above; points beyond the capacity are not touched, and cells are inside the grid.
        unsafe { self.gather.launch(stream, points, &self.gather_params) }
    }
}

fn gather_params(
    config: &SweepConfig<'_>,
    [plan, stale_points]: [u64; 2],
    buffers: &SweepBuffers,
) -> GatherParams {
    let source = |column: usize| match column {
        _ if column == config.time_column => SOURCE_TIME,
        0..3 => column as u32,
        _ => SOURCE_RAW,
    };
    GatherParams {
        plan,
        counts: buffers.counts.address(),
        points: buffers.points.address(),
        cell: buffers.cell.address(),
        stale_points,
        words: buffers.words.address(),
        range: config.range,
        min: config.grid.min,
        size: config.grid.size,
        grid: config.grid.grid.map(|extent| extent as f32),
        shape_y: config.grid.sparse_shape[1] as u32,
        columns: config.use_dim.len() as u32,
        source: std::array::from_fn(|j| config.use_dim.get(j).map_or(0, |c| source(*c))),
        spare: 0,
    }
}

fn used_columns(config: &SweepConfig<'_>) -> Vec<Option<usize>> {
    let read = |column: &usize| *column >= 3 && *column != config.time_column;
    let used = config.use_dim.iter();
    used.map(|column| read(column).then_some(*column)).collect()
}

fn check_config(config: &SweepConfig<'_>) -> Result<(), DriverError> {
    let fail = |problem: String| {
        Err(DriverError::Arguments {
            kernel: "sweep",
            problem,
        })
    };
    let PointGrid {
        grid, sparse_shape, ..
    } = config.grid;
    if !config.use_dim.starts_with(&[0, 1, 2]) || config.use_dim.len() > MAX_COLUMNS {
        let columns = config.use_dim;
        return fail(format!(
            "columns {columns:?}: x, y, z (0, 1, 2) must come first, with {MAX_COLUMNS} in all at most"
        ));
    }
    if config.time_column < 3 {
        return fail("the time column cannot be x, y or z".to_owned());
    }
    if sparse_shape[2] > COLUMN_CELLS {
        let extent = sparse_shape[2];
        return fail(format!(
            "the sparse shape has {extent} cells along z; at most {COLUMN_CELLS} are supported"
        ));
    }
    if (0..3).any(|axis| grid[axis] == 0 || grid[axis] > sparse_shape[axis]) {
        return fail(format!(
            "grid {grid:?} does not fit sparse shape {sparse_shape:?}"
        ));
    }
    let columns = sparse_shape[0].saturating_mul(sparse_shape[1]);
    if columns >= 1 << 26 {
        return fail(format!("{columns} columns; fewer than 2^26 are supported"));
    }
    if config.point_capacity == 0 || config.point_capacity >= 1 << 29 {
        let capacity = config.point_capacity;
        return fail(format!("point capacity {capacity} is not in 1..2^29"));
    }
    Ok(())
}
