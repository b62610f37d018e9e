//! Launcher of `depth_features.cu`: the first two layers on the depth images.
//!
//! In: the map of a [`DepthImage`]. Out: fp16 NHWC `[N, ceil(H/4), ceil(W/4), pitch]`, 32 channels from the
//! slice's first one on. 1×1 convolution to 8 channels, then 5×5 with stride 4 and padding 2 to 32, batch norm
//! folded, each with bias and `ReLU`.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::dense_conv::MapSlice;
use super::depth_image::DepthImage;
use super::images;
use super::packing::channel_of_column;
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

/// Channels of the first layer.
pub const FIRST_CHANNELS: usize = 8;
/// Channels of the second.
pub const SECOND_CHANNELS: usize = 32;
/// Taps of the second layer: 5×5.
pub const TAPS: usize = 25;
const STRIDE: usize = 4;
const STEPS: usize = TAPS.div_ceil(2);
/// Output pixels of a block.
const TILE: [usize; 2] = [8, 16];
const THREADS: u32 = 128;

/// Weights of both layers, batch norm folded.
#[derive(Clone, Copy, Debug)]
pub struct DepthFeatureWeights<'a> {
    /// Of the first layer, `[8]`.
    pub first_weight: &'a [f32; FIRST_CHANNELS],
    /// `[8]`.
    pub first_bias: &'a [f32; FIRST_CHANNELS],
    /// Of the second layer, `[32, 8, 5, 5]`.
    pub second_weight: &'a [f32],
    /// `[32]`.
    pub second_bias: &'a [f32; SECOND_CHANNELS],
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    map: u64,
    weights: u64,
    out: u64,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    pitch: u32,
    spare: u32,
    first_weight: [f32; FIRST_CHANNELS],
    first_bias: [f32; FIRST_CHANNELS],
    bias: [f32; SECOND_CHANNELS],
}

/// The two layers, ready to be enqueued.
#[derive(Debug)]
pub struct DepthFeatures {
    kernel: Function,
    launch: Launch,
    params: Params,
    _held: (DeviceSlice<u64>, DeviceSlice<u16>, DeviceSlice<u16>),
}

impl DepthFeatures {
    /// Packs the weights; every run reads the map of `image` and writes into `out`.
    ///
    /// # Errors
    /// When extents do not belong together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        image: &DepthImage,
        weights: &DepthFeatureWeights<'_>,
        out: &MapSlice<u16>,
    ) -> Result<Self, DriverError> {
        let [images, height, width] = image.shape();
        let [out_height, out_width] = Self::output_size([height, width]);
        check(weights, out, images * out_height * out_width).map_err(refuse)?;
        let packed = arena.take_with("depth feature weights", &pack(weights.second_weight))?;
        let module = Module::load(context, &images::DEPTH_FEATURES)?;
        Ok(Self {
            kernel: module.function("depth_features", 0)?,
            launch: Launch {
                grid: [
                    out_width.div_ceil(TILE[1]) as u32,
                    out_height.div_ceil(TILE[0]) as u32,
                    images as u32,
                ],
                threads: THREADS,
                shared_bytes: 0,
            },
            params: Params {
                map: image.map().address(),
                weights: packed.address(),
                out: out.data.address() + 2 * out.channel as u64,
                height: height as u32,
                width: width as u32,
                out_height: out_height as u32,
                out_width: out_width as u32,
                pitch: out.pitch as u32,
                spare: 0,
                first_weight: *weights.first_weight,
                first_bias: *weights.first_bias,
                bias: *weights.second_bias,
            },
            _held: (image.map().clone(), packed, out.data.clone()),
        })
    }

    /// Height, width of the output for images of `size`.
    #[must_use]
    pub const fn output_size([height, width]: [usize; 2]) -> [usize; 2] {
        [height.div_ceil(STRIDE), width.div_ceil(STRIDE)]
    }

    /// One launch, after the depth images.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors the kernel's parameter; its addresses are those of slices that `self`
        // holds, of the extents that `new` took or checked.
        unsafe { self.kernel.launch(stream, self.launch, &self.params) }
    }
}

/// `[step][lane][4 column blocks][2 taps][2 channels]`: what a lane of the product reads.
fn pack(weight: &[f32]) -> Vec<u16> {
    let value = |output: usize, tap: usize, input: usize| {
        let place = (output * FIRST_CHANNELS + input) * TAPS + tap;
        let inside = tap < TAPS;
        weight
            .get(place)
            .copied()
            .filter(|_| inside)
            .unwrap_or_default()
    };
    let mut packed = Vec::with_capacity(STEPS * 32 * 16);
    for (step, lane) in (0..STEPS).flat_map(|step| (0..32).map(move |lane| (step, lane))) {
        for (block, which) in [0, 1, 2, 3].iter().flat_map(|b| [(b, 0), (b, 1)]) {
            let output = channel_of_column(8 * block + lane / 4, 4);
            let first = lane % 4 * 2;
            packed.extend((first..first + 2).map(|input| {
                let weight = value(output, 2 * step + which, input);
                f16::from_f32(weight).to_bits()
            }));
        }
    }
    packed
}

fn check(
    weights: &DepthFeatureWeights<'_>,
    out: &MapSlice<u16>,
    pixels: usize,
) -> Result<(), String> {
    let wanted = SECOND_CHANNELS * FIRST_CHANNELS * TAPS;
    if weights.second_weight.len() != wanted {
        let given = weights.second_weight.len();
        return Err(format!("{given} weights, expected {wanted}"));
    }
    let MapSlice {
        data,
        pitch,
        channel,
    } = out;
    let fits = channel + SECOND_CHANNELS <= *pitch && data.len() >= pixels * pitch;
    if !fits || !pitch.is_multiple_of(8) || !channel.is_multiple_of(8) {
        let values = data.len();
        return Err(format!(
            "channels from {channel} of {pitch}, {values} values for {pixels} pixels"
        ));
    }
    Ok(())
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "depth features",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::{Params, STEPS, pack};
    use half::f16;

    #[test]
    fn the_struct_has_the_size_that_the_kernel_assumes() {
        assert_eq!(size_of::<Params>(), 24 + 24 + 48 * 4);
    }

    #[test]
    fn lanes_hold_every_weight_once_and_zeros_for_the_last_tap() {
        let weight: Vec<f32> = (0..32 * 8 * 25).map(|i| (i % 2000 + 1) as f32).collect();
        let packed = pack(&weight);
        assert_eq!(packed.len(), STEPS * 32 * 16);
        let at = |step: usize, lane: usize, place: usize| {
            f16::from_bits(packed[(step * 32 + lane) * 16 + place]).to_f32()
        };
        // Lane 5: column 1 of each block, channels 2 and 3. Column 1 of block 2 is output 5.
        let want = |tap: usize| ((5 * 8 + 3) * 25 + tap) % 2000 + 1;
        assert!((at(3, 5, 2 * 4 + 1) - want(6) as f32).abs() < 0.5);
        assert!((at(3, 5, 2 * 4 + 3) - want(7) as f32).abs() < 0.5);
        let zeros = packed.iter().filter(|bits| **bits == 0).count();
        assert_eq!(zeros, 32 * 8);
        assert!(at(12, 5, 2).abs() < 0.5);
    }
}
