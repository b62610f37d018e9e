//! Dense 2D convolutions on NHWC fp16 maps: one description, two kernels.
//!
//! On Hopper the convolution runs by warpgroup products ([`hopper_conv`](super::hopper_conv)), elsewhere by
//! gathered rows ([`gather_conv`](super::gather_conv)).
//! Bias, a residual or constant map, activation, concatenation and pixel shuffle are in the epilogue.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::gather_conv::GatherConv;
use super::hopper_conv::HopperConv;
use super::images;
use super::sparse_conv::Activation;
use crate::driver::{Context, DeviceArena, DeviceSlice, DriverError, Module, Stream};

/// Extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseConvShape {
    /// Images.
    pub images: usize,
    /// Rows, columns of the input.
    pub input: [usize; 2],
    /// Input channels that are read, a multiple of 32 (missing weights count as zero).
    pub input_channels: usize,
    /// Real output channels.
    pub output_channels: usize,
    /// Channels of an output pixel that are written, zeros beyond the real ones: a multiple of 16.
    pub padded_output: usize,
    /// Kernel rows, columns; at most 32 offsets.
    pub kernel: [usize; 2],
    /// Along rows and columns.
    pub stride: usize,
    /// Zeros on every side.
    pub padding: usize,
    /// 1, or u: a transposed convolution with kernel and stride u, given as u² parts of output channels.
    pub upsample: usize,
}

impl DenseConvShape {
    /// Rows, columns of the output before upsampling.
    #[must_use]
    pub fn gemm_size(&self) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let room = (self.input[axis] + 2 * self.padding).saturating_sub(self.kernel[axis]);
            room / self.stride + 1
        })
    }

    /// Rows, columns of the output.
    #[must_use]
    pub fn output_size(&self) -> [usize; 2] {
        self.gemm_size().map(|extent| extent * self.upsample)
    }

    /// Columns of the product.
    pub(super) const fn columns(&self) -> usize {
        self.padded_output * self.upsample * self.upsample
    }

    pub(super) const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// A slice of the channels of an NHWC map.
#[derive(Clone, Debug)]
pub struct MapSlice<T> {
    /// The whole map.
    pub data: DeviceSlice<T>,
    /// Elements per pixel.
    pub pitch: usize,
    /// First channel, a multiple of 8.
    pub channel: usize,
}

/// Where the result goes.
#[derive(Clone, Debug)]
pub enum DenseTarget {
    /// fp16.
    Half(MapSlice<u16>),
    /// float32.
    Float(MapSlice<f32>),
}

/// Buffers of a convolution.
#[derive(Clone, Debug)]
pub struct DenseConvBuffers {
    /// fp16 input.
    pub input: MapSlice<u16>,
    /// fp16 map of the output's pixels that is added before the activation.
    pub addend: Option<MapSlice<u16>>,
    /// Output.
    pub target: DenseTarget,
}

/// Weights by position: `weight(output channel or part · channels + channel, tap, input channel)`.
pub struct DenseConvWeights<'a> {
    /// Batch norm folded; asked for real channels only. The first index counts real output channels:
    /// part · `output_channels` + channel.
    pub weight: &'a dyn Fn(usize, usize, usize) -> f32,
    /// Real input channels.
    pub input_channels: usize,
    /// `[output_channels]`, the same for all parts; empty: none.
    pub bias: &'a [f32],
}

/// Which kernel family to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvChoice {
    /// The faster one for the GPU and shape.
    Auto,
    /// Gathered rows, on every GPU.
    Gather,
    /// Warpgroup products; refused where they cannot run.
    Hopper,
}

/// Mirrors `DenseOutput`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct OutputParams {
    bias: u64,
    addend: u64,
    out: u64,
    addend_pitch: u32,
    out_pitch: u32,
    out_channel: u32,
    out_height: u32,
    out_width: u32,
    channels: u32,
    upsample: u32,
    activation: u32,
    is_float: u32,
    padding: u32,
}

impl OutputParams {
    /// Whether GELU follows.
    pub(super) const fn is_gelu(&self) -> bool {
        self.activation == Activation::Gelu as u32
    }

    /// The same for a map that counts its pixels otherwise.
    pub(super) const fn of_size(self, [rows, columns]: [usize; 2]) -> Self {
        Self {
            out_height: rows as u32,
            out_width: columns as u32,
            ..self
        }
    }
}

/// The loaded kernels.
#[derive(Clone, Debug)]
pub struct DenseConvKernels {
    pub(super) gather: Arc<Module>,
    pub(super) hopper: Option<Arc<Module>>,
    pub(super) multiprocessors: usize,
}

impl DenseConvKernels {
    /// Loads them.
    ///
    /// # Errors
    /// When they cannot be loaded, or Hopper's are asked for on another GPU.
    pub fn load(context: &Arc<Context>, choice: ConvChoice) -> Result<Self, DriverError> {
        let info = context.info();
        let is_hopper = info.compute_capability == (9, 0);
        if choice == ConvChoice::Hopper && !is_hopper {
            let problem = format!("{} has no warpgroup products", info.name);
            return Err(refuse(problem));
        }
        let hopper = is_hopper && choice != ConvChoice::Gather;
        let hopper = hopper.then(|| Module::load(context, &images::HOPPER_CONV));
        Ok(Self {
            gather: Module::load(context, &images::GATHER_CONV)?,
            hopper: hopper.transpose()?,
            multiprocessors: info.multiprocessors as usize,
        })
    }
}

/// One convolution, ready to be enqueued.
#[derive(Clone, Debug)]
pub enum DenseConv {
    /// By gathered rows.
    Gather(Box<GatherConv>),
    /// By warpgroup products.
    Hopper(Box<HopperConv>),
}

impl DenseConv {
    /// Packs the weights and fixes buffers and grid.
    ///
    /// # Errors
    /// When extents do not belong together.
    pub fn new(
        kernels: &DenseConvKernels,
        arena: &DeviceArena,
        shape: &DenseConvShape,
        weights: &DenseConvWeights<'_>,
        buffers: DenseConvBuffers,
        activation: Activation,
    ) -> Result<Self, DriverError> {
        check(shape, weights, &buffers).map_err(refuse)?;
        let mut bias = vec![0.0; shape.columns()];
        for part in bias.chunks_exact_mut(shape.padded_output) {
            part[..weights.bias.len()].copy_from_slice(weights.bias);
        }
        let bias = arena.take_with("conv bias", &bias)?;
        let output = output_params(shape, &bias, &buffers, activation);
        let ready = Prepared {
            shape: *shape,
            bias,
            output,
            buffers,
        };
        match &kernels.hopper {
            Some(module) => HopperConv::new(module, kernels.multiprocessors, arena, weights, ready)
                .map(|conv| Self::Hopper(Box::new(conv))),
            None => GatherConv::new(&kernels.gather, arena, weights, ready)
                .map(|conv| Self::Gather(Box::new(conv))),
        }
    }

    /// Enqueues it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        match self {
            Self::Gather(conv) => conv.enqueue(stream),
            Self::Hopper(conv) => conv.enqueue(stream),
        }
    }
}

/// What both kernels start from.
pub(super) struct Prepared {
    pub(super) shape: DenseConvShape,
    pub(super) bias: DeviceSlice<f32>,
    pub(super) output: OutputParams,
    pub(super) buffers: DenseConvBuffers,
}

/// Columns that a block of gathered rows computes.
pub(super) const fn column_block(shape: &DenseConvShape) -> usize {
    match shape.padded_output {
        n if n.is_multiple_of(128) => 128,
        n if n.is_multiple_of(64) => 64,
        _ => 16,
    }
}

/// Consecutive blocks of 8 columns whose channels are interleaved.
pub(super) const fn interleave(block: usize) -> usize {
    if block.is_multiple_of(32) { 4 } else { 2 }
}

/// The weight behind a padded column, tap and input; zero in the padding.
pub(super) fn weight_at<'a>(
    shape: &'a DenseConvShape,
    weights: &'a DenseConvWeights<'a>,
) -> impl Fn(usize, usize, usize) -> f32 + 'a {
    let padded = shape.padded_output;
    move |column, tap, input| {
        let (part, channel) = (column / padded, column % padded);
        if channel < shape.output_channels && input < weights.input_channels {
            (weights.weight)(part * shape.output_channels + channel, tap, input)
        } else {
            0.0
        }
    }
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "dense_conv",
        problem,
    }
}

fn output_params(
    shape: &DenseConvShape,
    bias: &DeviceSlice<f32>,
    buffers: &DenseConvBuffers,
    activation: Activation,
) -> OutputParams {
    let (out, out_pitch, out_channel, is_float) = match &buffers.target {
        DenseTarget::Half(map) => (map.data.address(), map.pitch, map.channel, 0),
        DenseTarget::Float(map) => (map.data.address(), map.pitch, map.channel, 1),
    };
    let addend = buffers.addend.as_ref().map_or((0, 0), |map| {
        (map.data.address() + 2 * map.channel as u64, map.pitch)
    });
    let [out_height, out_width] = shape.output_size();
    OutputParams {
        bias: bias.address(),
        addend: addend.0,
        out,
        addend_pitch: addend.1 as u32,
        out_pitch: out_pitch as u32,
        out_channel: out_channel as u32,
        out_height: out_height as u32,
        out_width: out_width as u32,
        channels: shape.padded_output as u32,
        upsample: shape.upsample as u32,
        activation: activation as u32,
        is_float,
        padding: 0,
    }
}

fn check(
    shape: &DenseConvShape,
    weights: &DenseConvWeights<'_>,
    buffers: &DenseConvBuffers,
) -> Result<(), String> {
    if shape.stride == 0 || shape.upsample == 0 || shape.taps() == 0 || shape.taps() > 32 {
        return Err(format!("{shape:?}: no such convolution"));
    }
    if !shape.input_channels.is_multiple_of(32) || weights.input_channels > shape.input_channels {
        let channels = shape.input_channels;
        return Err(format!(
            "{channels} input channels, a multiple of 32 is needed"
        ));
    }
    if !shape.padded_output.is_multiple_of(16) || shape.padded_output < shape.output_channels {
        let (padded, real) = (shape.padded_output, shape.output_channels);
        return Err(format!(
            "{real} output channels padded to {padded}, a multiple of 16 is needed"
        ));
    }
    if !weights.bias.is_empty() && weights.bias.len() != shape.output_channels {
        let (found, wanted) = (weights.bias.len(), shape.output_channels);
        return Err(format!("{found} biases for {wanted} channels"));
    }
    let pixels = |[rows, columns]: [usize; 2]| shape.images * rows * columns;
    fits(&buffers.input, pixels(shape.input), shape.input_channels)?;
    let written = (pixels(shape.output_size()), shape.padded_output);
    match &buffers.target {
        DenseTarget::Half(map) => fits(map, written.0, written.1)?,
        DenseTarget::Float(map) => fits(map, written.0, written.1)?,
    }
    buffers
        .addend
        .as_ref()
        .map_or(Ok(()), |map| fits(map, written.0, written.1))
}

fn fits<T>(map: &MapSlice<T>, pixels: usize, channels: usize) -> Result<(), String> {
    let aligned = map.channel.is_multiple_of(8) && map.pitch.is_multiple_of(8);
    if !aligned || map.channel + channels > map.pitch || map.data.len() < pixels * map.pitch {
        let (first, pitch, len) = (map.channel, map.pitch, map.data.len());
        return Err(format!(
            "channels {first}..{} of {pixels} pixels in a map of pitch {pitch} and {len} elements",
            first + channels
        ));
    }
    Ok(())
}
