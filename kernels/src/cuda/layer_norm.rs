//! Launcher of `layer_norm.cu`: LayerNorm of tokens, and of 2×2 tokens joined.
//!
//! In and out: fp16 rows. Sums, scale and bias are float32.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::MapSlice;
use super::images;
use super::swin_maps::{address_of, check_map};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

const KERNEL: &str = "layer_norm";
const THREADS: usize = 128;
/// Channels of a row that one lane holds.
const LANE_CHANNELS: usize = 24;
/// Added to the variance.
pub const EPSILON: f32 = 1e-5;
/// Most channels of a row.
pub const MAX_CHANNELS: usize = THREADS * LANE_CHANNELS;

/// Scale and bias, `[channels]` each.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormWeights<'a> {
    /// Scale.
    pub scale: &'a [f32],
    /// Bias.
    pub bias: &'a [f32],
}

/// What becomes a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerNormRows {
    /// A token: as many rows as there are.
    Tokens(usize),
    /// The 2×2 tokens at (2y, 2x), one token's channels after another: (0, 0), (0, 1), (1, 0), (1, 1).
    /// Tokens beyond the map are zeros. A quarter of the channels is read from each.
    Joined {
        /// Images.
        images: usize,
        /// Rows, columns of the token map.
        size: [usize; 2],
    },
}

impl LayerNormRows {
    /// Rows that are read and rows that are written.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        match self {
            Self::Tokens(rows) => [*rows; 2],
            Self::Joined { images, size } => {
                let joined = size.map(|extent| extent.div_ceil(2));
                [size, &joined].map(|[rows, columns]| images * rows * columns)
            }
        }
    }
}

/// Mirrors the kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: u64,
    out: u64,
    scale: u64,
    bias: u64,
    in_pitch: u32,
    out_pitch: u32,
    rows: u32,
    channels: u32,
    height: u32,
    width: u32,
    epsilon: f32,
    unused: u32,
}

/// The loaded kernels.
#[derive(Clone, Debug)]
pub struct LayerNormKernels(Arc<Module>);

impl LayerNormKernels {
    /// Loads them.
    ///
    /// # Errors
    /// When they cannot be loaded.
    pub fn load(context: &Arc<Context>) -> Result<Self, DriverError> {
        Module::load(context, &images::LAYER_NORM).map(Self)
    }
}

/// One normalisation, ready to be enqueued: one launch.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    function: Function,
    launch: Launch,
    params: Params,
    _held: ([DeviceSlice<f32>; 2], MapSlice<u16>, MapSlice<u16>),
}

impl LayerNorm {
    /// Takes memory for the weights and fixes buffers and grid. The channels of a row are as many as there
    /// are weights, a multiple of 8 (of 32 where tokens are joined) up to [`MAX_CHANNELS`].
    ///
    /// # Errors
    /// When extents do not belong together.
    pub fn new(
        kernels: &LayerNormKernels,
        arena: &DeviceArena,
        rows: LayerNormRows,
        weights: &LayerNormWeights<'_>,
        input: MapSlice<u16>,
        out: MapSlice<u16>,
    ) -> Result<Self, DriverError> {
        let channels = weights.scale.len();
        let (parts, [height, width]) = match rows {
            LayerNormRows::Tokens(_) => (1, [0, 0]),
            LayerNormRows::Joined { size, .. } => (4, size),
        };
        let [read, written] = rows.counts();
        weights.check(8 * parts)?;
        check_map(KERNEL, &input, read, channels / parts)?;
        check_map(KERNEL, &out, written, channels)?;
        let lanes = lanes_of(channels);
        let scale = arena.take_with("norm scale", weights.scale)?;
        let bias = arena.take_with("norm bias", weights.bias)?;
        let params = Params {
            input: address_of(&input),
            out: address_of(&out),
            scale: scale.address(),
            bias: bias.address(),
            in_pitch: input.pitch as u32,
            out_pitch: out.pitch as u32,
            rows: written as u32,
            channels: channels as u32,
            height: height as u32,
            width: width as u32,
            epsilon: EPSILON,
            unused: 0,
        };
        Ok(Self {
            function: kernels.0.function(name_of(lanes, parts), 0)?.overlapping(),
            launch: Launch::cover(written * lanes, THREADS as u32),
            params,
            _held: ([scale, bias], input, out),
        })
    }

    /// Enqueues it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors the kernels' parameter; its addresses are those of slices that `self`
        // holds, checked against the extents by `new`.
        unsafe { self.function.launch(stream, self.launch, &self.params) }
    }
}

impl LayerNormWeights<'_> {
    fn check(&self, multiple: usize) -> Result<(), DriverError> {
        let (scale, bias) = (self.scale.len(), self.bias.len());
        if scale == bias && scale.is_multiple_of(multiple) && (1..=MAX_CHANNELS).contains(&scale) {
            return Ok(());
        }
        let kernel = KERNEL;
        let problem = format!("{scale} scales, {bias} biases, a multiple of {multiple} is needed");
        Err(DriverError::Arguments { kernel, problem })
    }
}

/// Lanes that share a row: the fewest that hold it.
const fn lanes_of(channels: usize) -> usize {
    let lanes = channels.div_ceil(LANE_CHANNELS).next_power_of_two();
    if lanes < 4 { 4 } else { lanes }
}

const fn name_of(lanes: usize, parts: usize) -> &'static str {
    match (parts, lanes) {
        (1, 4) => "layer_norm_4",
        (1, 8) => "layer_norm_8",
        (1, 16) => "layer_norm_16",
        (1, 32) => "layer_norm_32",
        (1, 64) => "layer_norm_64",
        (1, _) => "layer_norm_128",
        (_, 4) => "merge_norm_4",
        (_, 8) => "merge_norm_8",
        (_, 16) => "merge_norm_16",
        (_, 32) => "merge_norm_32",
        (_, 64) => "merge_norm_64",
        _ => "merge_norm_128",
    }
}

#[cfg(test)]
mod tests {
    use super::{LANE_CHANNELS, LayerNormRows, MAX_CHANNELS, lanes_of};

    #[test]
    fn the_lanes_of_a_row_hold_it() {
        for channels in (8..=MAX_CHANNELS).step_by(8) {
            let lanes = lanes_of(channels);
            assert!(lanes * LANE_CHANNELS >= channels && lanes <= 128);
        }
        assert_eq!([96, 192, 384, 768, 1536].map(lanes_of), [4, 8, 16, 32, 64]);
    }

    #[test]
    fn a_map_of_odd_size_gains_a_row_and_a_column() {
        let rows = LayerNormRows::Joined {
            images: 2,
            size: [5, 8],
        };
        assert_eq!(rows.counts(), [80, 24]);
    }
}
