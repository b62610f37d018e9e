//! Launcher of `voxelize.cu`: occupied cells become voxels in canonical order, with features.
//!
//! In: what [`Sweep`] leaves. Out, on the device: `site` (column · 64 + z, ascending), the rank of each
//! column's first site, fp16 features `[max_voxels, channels]` and the counts. `rows[0]` of the counts is
//! the number of voxels.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::frame::{FrameCounts, MAX_COLUMNS};
use super::images;
use super::sweep::{CHUNK, Sweep, SweepBuffers};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};
use crate::reference::fourier::FourierParams;

const THREADS: u32 = 256;
const RANK_THREADS: u32 = 1024;
const DROP_THREADS: u32 = 512;
const MEAN_THREADS: u32 = 128;
/// Blocks that share the work of a frame with too many cells, and leave at once otherwise.
const DROP_BLOCKS: u32 = 64;
const DROP_STATE_WORDS: usize = 8;

/// Caps and what is put out.
#[derive(Clone, Copy, Debug)]
pub struct VoxelizeConfig<'a> {
    /// Points kept in a voxel, at least 1.
    pub max_points: usize,
    /// Voxels kept in a frame, at least 1.
    pub max_voxels: usize,
    /// Feature channels, a multiple of 8; those beyond the features are zero.
    pub channels: usize,
    /// Fourier features of the means; `None` puts out the means.
    pub fourier: Option<FourierParams<'a>>,
    /// Whether the means are also wanted as float32.
    pub means: bool,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct VoxelizeParams {
    counts: u64,
    words: u64,
    prefix: u64,
    chunk_counts: u64,
    cell: u64,
    points: u64,
    slots: u64,
    site: u64,
    origin: u64,
    drop: u64,
    first_counts: u64,
    keep_counts: u64,
    means: u64,
    features: u64,
    order: u64,
    lower: [f32; MAX_COLUMNS],
    upper: [f32; MAX_COLUMNS],
    slot_stride: u32,
    columns: u32,
    max_points: u32,
    max_voxels: u32,
    channels: u32,
    frequencies: u32,
}

/// What voxelisation leaves on the device.
#[derive(Clone, Debug)]
pub struct VoxelBuffers {
    /// Occupancy of level 0: cells that are voxels.
    pub words: DeviceSlice<u64>,
    /// Row of a column's first voxel; of unknown contents where the column has none.
    pub prefix: DeviceSlice<u32>,
    /// `[max_voxels]`: column · 64 + z, ascending.
    pub site: DeviceSlice<u32>,
    /// `[max_voxels, channels]`, fp16.
    pub features: DeviceSlice<u16>,
    /// `[max_voxels, columns]`, where asked for.
    pub means: Option<DeviceSlice<f32>>,
    /// The counts of the frame.
    pub counts: DeviceSlice<FrameCounts>,
}

/// Memory that only the kernels use.
#[derive(Debug)]
struct Scratch {
    slots: DeviceSlice<u32>,
    origin: DeviceSlice<u32>,
    drop: DeviceSlice<u32>,
    first_counts: DeviceSlice<u32>,
    keep_counts: DeviceSlice<u32>,
    order: DeviceSlice<u32>,
}

/// Voxelises a frame.
#[derive(Debug)]
pub struct Voxelize {
    functions: [(Function, Launch); 4],
    params: VoxelizeParams,
    sparse_shape: [usize; 3],
    max_voxels: usize,
    buffers: VoxelBuffers,
    _sweep: SweepBuffers,
    _scratch: Scratch,
}

impl Voxelize {
    /// Takes memory and loads the kernels.
    ///
    /// # Errors
    /// When extents do not fit together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        sweep: &Sweep,
        config: &VoxelizeConfig<'_>,
    ) -> Result<Self, DriverError> {
        check_config(sweep.columns(), config)?;
        let from = sweep.buffers();
        let voxels = config.max_voxels;
        let take_means = || arena.take("voxel means", voxels * sweep.columns());
        let buffers = VoxelBuffers {
            words: from.words.clone(),
            prefix: arena.take("ranks 0", from.words.len())?,
            site: arena.take("sites 0", voxels)?,
            features: arena.take("voxel features", voxels * config.channels)?,
            means: config.means.then(take_means).transpose()?,
            counts: from.counts.clone(),
        };
        let scratch = Scratch::take(arena, sweep.point_capacity(), config)?;
        let module = Module::load(context, &images::VOXELIZE)?;
        let points = Launch::cover(sweep.point_capacity(), THREADS);
        Ok(Self {
            functions: [
                (
                    module.function("voxelize_rank", 0)?,
                    Launch::row((from.words.len() / CHUNK) as u32, RANK_THREADS),
                ),
                (module.function("voxelize_assign", 0)?, points),
                (
                    module.function("voxelize_drop", 0)?,
                    Launch::row(DROP_BLOCKS, DROP_THREADS),
                ),
                (
                    module.function("voxelize_mean", 0)?,
                    Launch::cover(voxels, MEAN_THREADS),
                ),
            ],
            params: params(sweep, config, &buffers, &scratch),
            sparse_shape: sweep.sparse_shape(),
            max_voxels: voxels,
            buffers,
            _sweep: from.clone(),
            _scratch: scratch,
        })
    }

    /// What it leaves on the device.
    #[must_use]
    pub const fn buffers(&self) -> &VoxelBuffers {
        &self.buffers
    }

    /// Extents of level 0.
    #[must_use]
    pub const fn sparse_shape(&self) -> [usize; 3] {
        self.sparse_shape
    }

    /// Voxels that fit in.
    #[must_use]
    pub const fn max_voxels(&self) -> usize {
        self.max_voxels
    }

    /// Four launches: [`enqueue_ranks`](Self::enqueue_ranks) and
    /// [`enqueue_features`](Self::enqueue_features).
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        self.enqueue_ranks(stream)?;
        self.enqueue_features(stream)
    }

    /// Which voxels there are, which is all that the levels of the rulebooks need; three launches.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_ranks(&self, stream: &Stream) -> Result<(), DriverError> {
        self.launch(stream, &self.functions[..3])
    }

    /// Their sites and features, which the maps of the rulebooks need; one launch.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_features(&self, stream: &Stream) -> Result<(), DriverError> {
        self.launch(stream, &self.functions[3..])
    }

    fn launch(&self, stream: &Stream, functions: &[(Function, Launch)]) -> Result<(), DriverError> {
        for (function, launch) in functions {
            // SAFETY: the struct mirrors the kernels'; its addresses belong to slices of `self`, with room
            // for as many cells as there can be points.
            unsafe { function.launch(stream, *launch, &self.params) }?;
        }
        Ok(())
    }
}

impl Scratch {
    fn take(
        arena: &DeviceArena,
        cells: usize,
        config: &VoxelizeConfig<'_>,
    ) -> Result<Self, DriverError> {
        let chunks = cells.div_ceil(DROP_THREADS as usize);
        Ok(Self {
            slots: arena.take("points of voxels", cells * slot_stride(config))?,
            origin: arena.take("ranks among all sites", config.max_voxels)?,
            drop: arena.take_zeroed("drop state", DROP_STATE_WORDS)?,
            first_counts: arena.take("first points of chunks", chunks)?,
            keep_counts: arena.take("kept cells of chunks", chunks)?,
            order: arena.take_zeroed("started blocks", 1)?,
        })
    }
}

/// Slots are read by fours.
const fn slot_stride(config: &VoxelizeConfig<'_>) -> usize {
    config.max_points.next_multiple_of(4)
}

fn params(
    sweep: &Sweep,
    config: &VoxelizeConfig<'_>,
    buffers: &VoxelBuffers,
    scratch: &Scratch,
) -> VoxelizeParams {
    let from = sweep.buffers();
    let bounds = |pick: for<'a> fn(&FourierParams<'a>) -> &'a [f32]| {
        let given = config.fourier.as_ref().map_or(&[][..], pick);
        std::array::from_fn(|j| given.get(j).copied().unwrap_or(0.0))
    };
    VoxelizeParams {
        counts: buffers.counts.address(),
        words: buffers.words.address(),
        prefix: buffers.prefix.address(),
        chunk_counts: from.chunk_counts.address(),
        cell: from.cell.address(),
        points: from.points.address(),
        slots: scratch.slots.address(),
        site: buffers.site.address(),
        origin: scratch.origin.address(),
        drop: scratch.drop.address(),
        first_counts: scratch.first_counts.address(),
        keep_counts: scratch.keep_counts.address(),
        means: buffers.means.as_ref().map_or(0, DeviceSlice::address),
        features: buffers.features.address(),
        order: scratch.order.address(),
        lower: bounds(|fourier| fourier.min),
        upper: bounds(|fourier| fourier.max),
        slot_stride: slot_stride(config) as u32,
        columns: sweep.columns() as u32,
        max_points: config.max_points as u32,
        max_voxels: config.max_voxels as u32,
        channels: config.channels as u32,
        frequencies: config.fourier.map_or(0, |f| f.num_frequencies as u32),
    }
}

fn check_config(columns: usize, config: &VoxelizeConfig<'_>) -> Result<(), DriverError> {
    let fail = |problem: String| {
        Err(DriverError::Arguments {
            kernel: "voxelize",
            problem,
        })
    };
    if !(1..=256).contains(&config.max_points) {
        return fail(format!(
            "{} points per voxel, 1 to 256 are supported",
            config.max_points
        ));
    }
    if config.max_voxels == 0 || config.max_voxels >= 1 << 29 {
        return fail(format!(
            "max_voxels {} is not in 1..2^29",
            config.max_voxels
        ));
    }
    if let Some(fourier) = &config.fourier {
        let given = [fourier.min.len(), fourier.max.len()];
        if given != [columns; 2] || fourier.num_frequencies == 0 {
            return fail(format!(
                "Fourier bounds for {given:?} columns, points have {columns}"
            ));
        }
    }
    let wide = config.fourier.map_or(columns, |f| f.output_columns());
    if config.channels < wide || !config.channels.is_multiple_of(8) {
        let channels = config.channels;
        return fail(format!(
            "{channels} channels for {wide} features: a multiple of 8 is needed"
        ));
    }
    Ok(())
}
