//! Launcher of `proposals.cu`: the best P values of the class heatmaps.
//!
//! In: logits f32 `[X·Y][stride]`, a row per cell x·Y + y, one column per class and padding. Out, `[P]` each:
//! flat index class·X·Y + cell, class, sigmoid of the logit; best first, equal scores by ascending index.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::images;
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

/// Classes of a cell with padding.
const LANES: usize = 16;
/// Cells of a block of the first kernel along x and y.
const TILE: [usize; 2] = [8, 16];
const BINS: usize = 4096;
/// Largest P.
pub const MAX_PROPOSALS: usize = 1024;
/// Largest window of the local maximum: its tile fits the shared memory of every supported GPU.
const MAX_WINDOW: usize = 23;
/// Blocks of the kernel that ranks: as many candidates as usual fit one round.
const RANK_BLOCKS: u32 = 32;

/// What a proposal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalConfig {
    /// X, Y (cells).
    pub size: [usize; 2],
    /// Logits from one cell to the next; a multiple of 4.
    pub stride: usize,
    /// For every class whether only its local maxima count.
    pub pooled: Vec<bool>,
    /// Window of the local maximum (cells); odd.
    pub window: usize,
    /// Whether windows are cut at the border, instead of giving up its cells.
    pub keep_border: bool,
    /// P.
    pub proposals: usize,
}

/// Mirrors the kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    logits: u64,
    keys: u64,
    histogram: u64,
    candidates: u64,
    picked: u64,
    index: u64,
    label: u64,
    score: u64,
    rows: u32,
    columns: u32,
    classes: u32,
    stride: u32,
    radius: u32,
    keep_border: u32,
    pooled: u32,
    proposals: u32,
}

/// The proposals of a frame: three launches.
#[derive(Debug)]
pub struct Proposals {
    kernels: [(Function, Launch); 3],
    params: Params,
    index: DeviceSlice<i32>,
    label: DeviceSlice<i32>,
    score: DeviceSlice<f32>,
    _held: (DeviceSlice<f32>, [DeviceSlice<u32>; 3], DeviceSlice<u64>),
}

impl Proposals {
    /// Takes memory and loads the kernels; `logits` is read by every run.
    ///
    /// # Errors
    /// When the configuration is beyond the kernels, `logits` is too short, or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        config: &ProposalConfig,
        logits: &DeviceSlice<f32>,
    ) -> Result<Self, DriverError> {
        config.check(logits.len())?;
        let [rows, columns] = config.size;
        let (cells, classes) = (rows * columns, config.pooled.len());
        let keys = arena.take_zeroed("head keys", cells * LANES)?;
        let histogram = arena.take_zeroed("head histogram", BINS)?;
        let picked = arena.take_zeroed("head picked", 1)?;
        let candidates: DeviceSlice<u64> = arena.take("head candidates", cells * classes)?;
        let index = arena.take_zeroed("head proposal index", config.proposals)?;
        let label = arena.take_zeroed("head proposal label", config.proposals)?;
        let score = arena.take_zeroed("head proposal score", config.proposals)?;
        let flags = config.pooled.iter().enumerate();
        let params = Params {
            logits: logits.address(),
            keys: keys.address(),
            histogram: histogram.address(),
            candidates: candidates.address(),
            picked: picked.address(),
            index: index.address(),
            label: label.address(),
            score: score.address(),
            rows: rows as u32,
            columns: columns as u32,
            classes: classes as u32,
            stride: config.stride as u32,
            radius: (config.window / 2) as u32,
            keep_border: config.keep_border.into(),
            pooled: flags.fold(0, |bits, (class, on)| bits | u32::from(*on) << class),
            proposals: config.proposals as u32,
        };
        Ok(Self {
            kernels: kernels(context, config)?,
            params,
            index,
            label,
            score,
            _held: (logits.clone(), [keys, histogram, picked], candidates),
        })
    }

    /// Flat indices class·X·Y + cell `[P]`.
    #[must_use]
    pub const fn index(&self) -> &DeviceSlice<i32> {
        &self.index
    }

    /// Classes `[P]`.
    #[must_use]
    pub const fn label(&self) -> &DeviceSlice<i32> {
        &self.label
    }

    /// Heatmap values `[P]`, descending.
    #[must_use]
    pub const fn score(&self) -> &DeviceSlice<f32> {
        &self.score
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        for (kernel, launch) in &self.kernels {
            // SAFETY: `Params` mirrors the kernels' parameter; its addresses are those of slices that
            // `self` holds, of the extents that `new` took or checked.
            unsafe { kernel.launch(stream, *launch, &self.params) }?;
        }
        Ok(())
    }
}

fn kernels(
    context: &Arc<Context>,
    config: &ProposalConfig,
) -> Result<[(Function, Launch); 3], DriverError> {
    let module = Module::load(context, &images::PROPOSALS)?;
    let ring = config.window - 1;
    let tile = (TILE[0] + ring) * (TILE[1] + ring) * LANES * size_of::<f32>();
    let blocks = |axis: usize| config.size[axis].div_ceil(TILE[axis]) as u32;
    let heat = Launch {
        grid: [blocks(1), blocks(0), 1],
        threads: 256,
        shared_bytes: tile as u32,
    };
    let heat_name = match config.window {
        3 => "proposals_heat_3",
        _ => "proposals_heat",
    };
    // The histogram is in shared memory beside the tile, and the limit counts both.
    let heat_bytes = tile + BINS * size_of::<u32>();
    Ok([
        (module.function(heat_name, heat_bytes)?.overlapping(), heat),
        (
            module.function("proposals_pick", 0)?.overlapping(),
            Launch::row(context.info().multiprocessors, 256),
        ),
        (
            module.function("proposals_rank", 0)?.overlapping(),
            Launch::row(RANK_BLOCKS, 512),
        ),
    ])
}

impl ProposalConfig {
    fn check(&self, logits: usize) -> Result<(), DriverError> {
        let [rows, columns] = self.size;
        let (cells, classes) = (rows * columns, self.pooled.len());
        let problem = if classes == 0
            || classes > LANES
            || !self.stride.is_multiple_of(4)
            || self.stride < classes.next_multiple_of(4)
        {
            format!("{classes} classes with a stride of {}", self.stride)
        } else if cells == 0 || rows.max(columns) > 1 << 13 {
            format!("a map of {rows}×{columns} cells")
        } else if self.proposals == 0 || self.proposals > MAX_PROPOSALS.min(cells * classes) {
            format!("{} proposals", self.proposals)
        } else if self.window.is_multiple_of(2) || self.window > MAX_WINDOW {
            format!("a window of {}", self.window)
        } else if logits < cells * self.stride {
            format!("{logits} logits for {cells} cells")
        } else {
            return Ok(());
        };
        let kernel = "proposals";
        Err(DriverError::Arguments { kernel, problem })
    }
}
