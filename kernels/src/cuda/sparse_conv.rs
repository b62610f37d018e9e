//! Launcher of the sparse convolutions.
//!
//! In: features fp16 `[rows, channels]` in canonical order and a packed rulebook (see the rulebook
//! launcher). Out: features of the output rows, or the dense BEV map. Channel counts are padded: at most
//! 16, at most 32, then multiples of 64; the padding is zero on the way in and stays zero on the way out.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::ConvChoice;
use super::hopper_sparse_conv::{HopperPlan, HopperSparse};
use super::images;
use super::packing::{PackedShape, WeightAt, pack_sixteen, pack_streamed};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

/// Rulebook slots along z, whatever the kernel's extent.
pub const SLOTS_Z: usize = 3;
/// Most (kx, ky) offsets of a kernel.
const MOST_COLUMNS: usize = 9;
const RESIDENT_WARPS: usize = 8;
/// Rows that a block of a streamed kernel computes.
const STREAMED_ROWS: usize = 128;
const STAGES: usize = 4;

/// Channels of a tensor as the kernels hold them.
#[must_use]
pub const fn padded_channels(channels: usize) -> usize {
    match channels {
        0..=16 => 16,
        17..=32 => 32,
        _ => channels.next_multiple_of(64),
    }
}

/// What follows the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// Nothing.
    None = 0,
    /// max(x, 0).
    Relu = 1,
    /// x · Φ(x).
    Gelu = 2,
}

/// Weights of a convolution by position; the launcher pads, rounds and orders them.
pub struct SparseConvWeights<'a> {
    /// Real output channels.
    pub output: usize,
    /// Real input channels.
    pub input: usize,
    /// Kernel extents x, y, z.
    pub kernel: [usize; 3],
    /// `[output, kx, ky, kz, input]`, batch norm folded.
    pub weight: &'a [f32],
    /// `[output]`.
    pub bias: &'a [f32],
}

/// Buffers of one convolution.
#[derive(Clone, Debug)]
pub struct SparseConvBuffers {
    /// fp16 `[input rows, padded input channels]`.
    pub features: DeviceSlice<u16>,
    /// Packed rulebook `[kx·ky, entry_stride]`.
    pub entries: DeviceSlice<u32>,
    /// Output rows of one (kx, ky), a multiple of 128.
    pub entry_stride: usize,
    /// fp16 `[output rows, padded output channels]` to add.
    pub residual: Option<DeviceSlice<u16>>,
    /// Number of output rows, at least one element.
    pub rows: DeviceSlice<u32>,
    /// Where the result goes.
    pub target: SparseConvTarget,
}

/// Where the result of a convolution goes.
#[derive(Clone, Debug)]
pub enum SparseConvTarget {
    /// fp16 `[output rows, padded output channels]`.
    Rows(DeviceSlice<u16>),
    /// The dense map fp16 `[columns, pitch]`, zero where nothing is active, channel c·Z + z.
    Dense {
        /// The map.
        map: DeviceSlice<u16>,
        /// Elements of a column.
        pitch: usize,
        /// Where a column's channels start.
        channel: usize,
        /// Site of each output row: column · 64 + z.
        sites: DeviceSlice<u32>,
        /// Z.
        z_extent: usize,
    },
}

/// Mirrors `SparseConvParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Params {
    features: u64,
    entries: u64,
    weights: u64,
    bias: u64,
    residual: u64,
    out: u64,
    rows: u64,
    sites: u64,
    entry_stride: u32,
    taps_xy: u32,
    cin: u32,
    cout: u32,
    z_extent: u32,
    activation: u32,
    cell_pitch: u32,
    real_channels: u32,
}

/// The loaded kernels.
#[derive(Clone, Debug)]
pub struct SparseConvKernels {
    module: Arc<Module>,
    hopper: Option<Arc<Module>>,
    multiprocessors: usize,
}

impl SparseConvKernels {
    /// Loads them; with [`ConvChoice::Gather`] without those that only Hopper runs.
    ///
    /// # Errors
    /// When they cannot be loaded.
    pub fn load(context: &Arc<Context>, choice: ConvChoice) -> Result<Self, DriverError> {
        let info = context.info();
        let hopper = info.compute_capability == (9, 0) && choice != ConvChoice::Gather;
        let hopper = hopper.then(|| Module::load(context, &images::HOPPER_SPARSE_CONV));
        Ok(Self {
            module: Module::load(context, &images::SPARSE_CONV)?,
            hopper: hopper.transpose()?,
            multiprocessors: info.multiprocessors as usize,
        })
    }
}

/// One convolution, ready to be enqueued.
#[derive(Clone, Debug)]
pub struct SparseConv {
    kernel: Kernel,
    _weights: DeviceSlice<u16>,
    _bias: DeviceSlice<f32>,
    _buffers: SparseConvBuffers,
}

#[derive(Clone, Debug)]
enum Kernel {
    Plain(Function, Launch, Params),
    Hopper(Box<HopperSparse>),
}

impl SparseConv {
    /// Packs the weights and fixes buffers and grid.
    ///
    /// # Errors
    /// When extents do not belong together, or there is no kernel for these channels.
    pub fn new(
        kernels: &SparseConvKernels,
        arena: &DeviceArena,
        weights: &SparseConvWeights<'_>,
        buffers: SparseConvBuffers,
        activation: Activation,
    ) -> Result<Self, DriverError> {
        let shape = check(weights, &buffers).map_err(refuse)?;
        let dense = matches!(buffers.target, SparseConvTarget::Dense { .. });
        let plan = Plan::choose(shape, dense).ok_or_else(|| {
            let (i, o) = (weights.input, weights.output);
            refuse(format!("no kernel takes {i} channels to {o}"))
        })?;
        let hopper = kernels
            .hopper
            .as_ref()
            .zip(HopperPlan::choose(shape, dense));
        let value = weight_at(weights);
        let packed = match &hopper {
            Some((_, hopper)) => hopper.pack(&value),
            None => plan.pack(&value),
        };
        let packed = arena.take_with("sparse weights", &packed)?;
        let mut bias = weights.bias.to_vec();
        bias.resize(shape.columns, 0.0);
        let bias = arena.take_with("sparse bias", &bias)?;
        let params = Params {
            weights: packed.address(),
            bias: bias.address(),
            real_channels: weights.output as u32,
            activation: activation as u32,
            ..buffer_params(shape, &buffers)
        };
        let capacity = buffers.entry_stride;
        let kernel = match hopper {
            Some((module, hopper)) => {
                let ready = HopperSparse::new(module, &hopper, &packed, params, capacity)?;
                Kernel::Hopper(Box::new(ready))
            }
            None => {
                let function = kernels
                    .module
                    .function(plan.kernel, plan.shared_bytes)?
                    .overlapping();
                let launch = plan.launch(&function, kernels.multiprocessors, capacity)?;
                Kernel::Plain(function, launch, params)
            }
        };
        Ok(Self {
            kernel,
            _weights: packed,
            _bias: bias,
            _buffers: buffers,
        })
    }

    /// Enqueues it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        match &self.kernel {
            // SAFETY: `Params` mirrors `SparseConvParams`; the buffers are held by `self` and were checked
            // against the extents in `new`.
            Kernel::Plain(function, launch, params) => unsafe {
                function.launch(stream, *launch, params)
            },
            Kernel::Hopper(hopper) => hopper.enqueue(stream),
        }
    }
}

/// Which kernel runs a convolution and how its weights are packed.
struct Plan {
    kernel: &'static str,
    shape: PackedShape,
    resident: bool,
    chunk: usize,
    block: usize,
    threads: usize,
    shared_bytes: usize,
}

impl Plan {
    fn choose(shape: PackedShape, dense: bool) -> Option<Self> {
        let streamed = |kernel, chunk, block, threads| Self {
            kernel,
            shape,
            resident: false,
            chunk,
            block,
            threads,
            shared_bytes: STAGES * chunk * block * 2 + shape.taps / SLOTS_Z * STREAMED_ROWS * 4,
        };
        let entries = MOST_COLUMNS * 32 * 4 * RESIDENT_WARPS;
        let resident = |kernel| Self {
            kernel,
            shape,
            resident: true,
            chunk: shape.inputs,
            block: shape.columns,
            threads: RESIDENT_WARPS * 32,
            shared_bytes: MOST_COLUMNS * SLOTS_Z * shape.inputs * shape.columns * 2 + entries,
        };
        let wide = shape.columns.is_multiple_of(128);
        let of = |rows, map| if dense { map } else { rows };
        let small = |rows, map| Some(resident(of(rows, map)));
        let large =
            |rows, map, chunk, block| Some(streamed(of(rows, map), chunk, block, block * 2));
        match (shape.inputs, shape.columns) {
            (16, 16) => small(
                "sparse_conv_resident_16_16",
                "sparse_conv_resident_16_16_dense",
            ),
            (16, 32) => small(
                "sparse_conv_resident_16_32",
                "sparse_conv_resident_16_32_dense",
            ),
            (32, 16) => small(
                "sparse_conv_resident_32_16",
                "sparse_conv_resident_32_16_dense",
            ),
            (32, 32) => small(
                "sparse_conv_resident_32_32",
                "sparse_conv_resident_32_32_dense",
            ),
            // Voxels with Fourier features.
            (64.., 16) => Some(streamed(
                of("sparse_conv_64_16", "sparse_conv_64_16_dense"),
                64,
                16,
                STREAMED_ROWS,
            )),
            (32, 64) => large("sparse_conv_32_64", "sparse_conv_32_64_dense", 32, 64),
            (64.., 64..) if wide => {
                large("sparse_conv_64_128", "sparse_conv_64_128_dense", 64, 128)
            }
            (64.., 64..) => large("sparse_conv_64_64", "sparse_conv_64_64_dense", 64, 64),
            _ => None,
        }
    }

    fn pack(&self, value: &WeightAt<'_>) -> Vec<u16> {
        if self.shape.inputs == 16 {
            pack_sixteen(self.shape, value)
        } else {
            let group = if self.block == 16 { 2 } else { 4 };
            pack_streamed(self.shape, [self.chunk, self.block], group, value)
        }
    }

    fn launch(
        &self,
        function: &Function,
        multiprocessors: usize,
        capacity: usize,
    ) -> Result<Launch, DriverError> {
        let blocks = if self.resident {
            let fit = function.blocks_per_multiprocessor(self.threads, self.shared_bytes)?;
            let all = capacity.div_ceil(RESIDENT_WARPS * 32);
            all.min(fit * multiprocessors).max(1)
        } else {
            capacity.div_ceil(STREAMED_ROWS).max(1)
        };
        Ok(Launch {
            grid: [blocks as u32, (self.shape.columns / self.block) as u32, 1],
            threads: self.threads as u32,
            shared_bytes: self.shared_bytes as u32,
        })
    }
}

/// Everything of the parameters that the buffers decide.
fn buffer_params(shape: PackedShape, buffers: &SparseConvBuffers) -> Params {
    let (out, sites, z_extent, cell_pitch) = match &buffers.target {
        SparseConvTarget::Rows(rows) => (rows.address(), 0, 1, 0),
        SparseConvTarget::Dense {
            map,
            pitch,
            channel,
            sites,
            z_extent,
        } => {
            let first = map.address() + 2 * *channel as u64;
            (first, sites.address(), *z_extent, *pitch)
        }
    };
    Params {
        features: buffers.features.address(),
        entries: buffers.entries.address(),
        residual: buffers.residual.as_ref().map_or(0, DeviceSlice::address),
        out,
        rows: buffers.rows.address(),
        sites,
        entry_stride: buffers.entry_stride as u32,
        taps_xy: (shape.taps / SLOTS_Z) as u32,
        cin: shape.inputs as u32,
        cout: shape.columns as u32,
        z_extent: z_extent as u32,
        cell_pitch: cell_pitch as u32,
        ..Params::zeroed()
    }
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "sparse_conv",
        problem,
    }
}

/// The weight of a padded column, rulebook slot and input; zero in the padding.
fn weight_at<'a>(weights: &'a SparseConvWeights<'a>) -> impl Fn(usize, usize, usize) -> f32 + 'a {
    let [_, _, kz] = weights.kernel;
    let volume: usize = weights.kernel.iter().product();
    move |column, tap, input| {
        let (xy, z) = (tap / SLOTS_Z, tap % SLOTS_Z);
        let exists = column < weights.output && z < kz && input < weights.input;
        if exists && xy * kz + z < volume {
            weights.weight[(column * volume + xy * kz + z) * weights.input + input]
        } else {
            0.0
        }
    }
}

/// The padded extents, if weights and buffers belong together.
fn check(
    weights: &SparseConvWeights<'_>,
    buffers: &SparseConvBuffers,
) -> Result<PackedShape, String> {
    let [kx, ky, kz] = weights.kernel;
    let shape = PackedShape {
        columns: padded_channels(weights.output),
        taps: kx * ky * SLOTS_Z,
        inputs: padded_channels(weights.input),
    };
    if kz > SLOTS_Z || kx * ky > MOST_COLUMNS {
        let kernel = weights.kernel;
        return Err(format!("kernel {kernel:?} is larger than 3 x 3 x 3"));
    }
    let wanted = weights.output * kx * ky * kz * weights.input;
    if weights.weight.len() != wanted || weights.bias.len() != weights.output {
        let (w, b) = (weights.weight.len(), weights.bias.len());
        return Err(format!("{w} weights and {b} biases, expected {wanted}"));
    }
    check_buffers(shape, buffers)?;
    if let SparseConvTarget::Dense {
        pitch,
        channel,
        z_extent,
        ..
    } = &buffers.target
    {
        let end = channel + weights.output * z_extent;
        if end > *pitch || *z_extent == 0 {
            return Err(format!(
                "channels up to {end} in a dense map of pitch {pitch}"
            ));
        }
    }
    Ok(shape)
}

fn check_buffers(shape: PackedShape, buffers: &SparseConvBuffers) -> Result<(), String> {
    let stride = buffers.entry_stride;
    let columns = shape.taps / SLOTS_Z;
    if !stride.is_multiple_of(STREAMED_ROWS) || buffers.entries.len() < stride * columns {
        let found = buffers.entries.len();
        return Err(format!(
            "{found} rulebook entries for {columns} x {stride} rows"
        ));
    }
    if buffers.rows.is_empty() {
        return Err("no row count".to_owned());
    }
    let rows = |slice: &DeviceSlice<u16>| slice.len() / shape.columns;
    let room = match &buffers.target {
        SparseConvTarget::Rows(out) => rows(out),
        SparseConvTarget::Dense { sites, .. } => sites.len(),
    };
    let least = buffers.residual.as_ref().map_or(room, rows).min(room);
    if least + STREAMED_ROWS <= stride {
        return Err(format!("{least} output rows, the rulebook has {stride}"));
    }
    Ok(())
}
