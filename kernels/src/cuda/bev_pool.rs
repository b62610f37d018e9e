//! Launcher of `bev_pool.cu`: the sum of the lifted camera features in each cell.
//!
//! In: [`LiftedFeatures`] and the table set that the frame names. Out: fp16 NHWC map `[X·Y, pitch]`, a row per
//! cell x·Y + y, channel z·C + c from the slice's first one on. Sums are fp32, in an order that the tables fix:
//! the same tables and features give the same bits, and a camera of zeros changes none.
//!
//! Cells without runs are not written: the map must be zeros at first. When a frame uses a set of another
//! build than the one before, the cells that lost all runs are cleared.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::MapSlice;
use super::depth_image::ViewFrame;
use super::depth_softmax::LiftedFeatures;
use super::images;
use super::view_shape::RunFormat;
use super::view_tables::{HeldTables, SETS, SetParams, ViewTables};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

const THREADS: u32 = 128;
/// Blocks of a multiprocessor.
const BLOCKS: u32 = 4;
/// Channels of a block of the two kernels.
const WHOLE_CHANNELS: usize = 80;
const ANY_CHANNELS: usize = 64;

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    frame: u64,
    set: [SetParams; SETS],
    probability: u64,
    context: u64,
    out: u64,
    pooled: u64,
    written: u64,
    ticket: u64,
    format: RunFormat,
    cells: u32,
    levels: u32,
    depths: u32,
    channels: u32,
    rows: u32,
    pitch: u32,
}

/// The pooling, ready to be enqueued.
#[derive(Debug)]
pub struct BevPool {
    kernel: Function,
    launch: Launch,
    params: Params,
    _held: Held,
}

/// Memory that the kernel uses.
#[derive(Debug)]
struct Held {
    _tables: HeldTables,
    _frame: DeviceSlice<ViewFrame>,
    _lifted: LiftedFeatures,
    _out: MapSlice<u16>,
    _state: [DeviceSlice<u32>; 2],
}

impl BevPool {
    /// Takes memory and loads the kernel. Every run reads `lifted` and `frame` and writes into `out`, which
    /// must be zeros and written by nobody else.
    ///
    /// # Errors
    /// When extents do not belong together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        tables: &ViewTables,
        (lifted, frame): (&LiftedFeatures, &DeviceSlice<ViewFrame>),
        out: &MapSlice<u16>,
    ) -> Result<Self, DriverError> {
        let grid = &tables.config().grid;
        check(tables, lifted, out).map_err(refuse)?;
        let state = [
            arena.take_zeroed("pooled set", 2)?,
            arena.take_zeroed("pooled cells", grid.cells().div_ceil(32))?,
        ];
        let (name, block) = if lifted.channels.is_multiple_of(WHOLE_CHANNELS) {
            ("bev_pool_80", WHOLE_CHANNELS)
        } else {
            ("bev_pool_any", ANY_CHANNELS)
        };
        let module = Module::load(context, &images::BEV_POOL)?;
        let blocks = context.info().multiprocessors * BLOCKS;
        Ok(Self {
            kernel: module.function(name, 0)?.overlapping(),
            launch: Launch {
                grid: [blocks, lifted.channels.div_ceil(block) as u32, 1],
                threads: THREADS,
                shared_bytes: 0,
            },
            params: Params {
                frame: frame.address(),
                set: tables.set_params(),
                probability: lifted.probability.address(),
                context: lifted.context.address(),
                out: out.data.address() + 2 * out.channel as u64,
                pooled: state[0].address(),
                written: state[1].address(),
                ticket: state[0].address() + size_of::<u32>() as u64,
                format: tables.format(),
                cells: grid.cells() as u32,
                levels: grid.count[2] as u32,
                depths: lifted.shape.depths as u32,
                channels: lifted.channels as u32,
                rows: lifted.shape.padded_rows() as u32,
                pitch: out.pitch as u32,
            },
            _held: Held {
                _tables: tables.held(),
                _frame: frame.clone(),
                _lifted: lifted.clone(),
                _out: out.clone(),
                _state: state,
            },
        })
    }

    /// One launch.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors the kernel's parameter; its addresses are those of slices that `self`
        // holds, of the extents that `new` took or checked. Tables name cells and columns inside them.
        unsafe { self.kernel.launch(stream, self.launch, &self.params) }
    }
}

fn check(tables: &ViewTables, lifted: &LiftedFeatures, out: &MapSlice<u16>) -> Result<(), String> {
    let shape = tables.config().shape();
    let (channels, count) = (lifted.channels, tables.config().grid.count);
    let enough = lifted.probability.len() >= shape.probability_len()
        && lifted.context.len() >= shape.context_len(channels);
    if lifted.shape != shape || !enough {
        return Err(format!(
            "features of {:?} for tables of {shape:?}",
            lifted.shape
        ));
    }
    if channels == 0 || !channels.is_multiple_of(8) || channels > 256 {
        return Err(format!(
            "{channels} channels: multiples of 8 up to 256 are supported"
        ));
    }
    let fits = out.channel + channels * count[2] <= out.pitch
        && out.data.len() >= count[0] * count[1] * out.pitch;
    if !fits || !out.pitch.is_multiple_of(8) || !out.channel.is_multiple_of(8) {
        return Err(format!(
            "{channels} channels of {count:?} cells from channel {} of {}, {} values",
            out.channel,
            out.pitch,
            out.data.len()
        ));
    }
    Ok(())
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "bev pool",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn the_struct_has_the_size_that_the_kernel_assumes() {
        assert_eq!(size_of::<Params>(), 8 + 80 + 6 * 8 + 8 + 6 * 4);
    }
}
