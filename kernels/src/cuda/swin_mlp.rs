//! Launcher of `swin_mlp.cu`: LayerNorm, both linear layers with GELU between, and the residual of a Swin
//! block in one kernel, for the token widths whose hidden channels cost more to move than to compute.
//!
//! In and out: fp16 tokens. Weights are fp16 with the norm's scale in them, sums float32; hidden values are
//! rounded to fp16.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::MapSlice;
use super::images;
use super::layer_norm::{EPSILON, LayerNormWeights};
use super::packing::{PackedShape, pack_streamed};
use super::swin_maps::{address_of, check_map};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

const KERNEL: &str = "swin_mlp";
const THREADS: u32 = 256;
const WARPS: usize = 8;
/// Parts of the weights that are in shared memory at a time, and hidden channels of a part.
const STAGES: usize = 3;
const CHUNK: usize = 32;
/// Hidden channels over token channels.
const RATIO: usize = 4;
/// Blocks of columns whose channels are interleaved.
const GROUP: usize = 4;

/// Learned values of the second half of a block: C channels, 4 C hidden ones.
#[derive(Clone, Copy, Debug)]
pub struct SwinMlpWeights<'a> {
    /// Its LayerNorm, `[C]`.
    pub norm: LayerNormWeights<'a>,
    /// First layer `[4 C, C]`.
    pub hidden: &'a [f32],
    /// Its bias `[4 C]`.
    pub hidden_bias: &'a [f32],
    /// Second layer `[C, 4 C]`.
    pub out: &'a [f32],
    /// Its bias `[C]`.
    pub out_bias: &'a [f32],
}

/// Mirrors the kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: u64,
    weights: u64,
    hidden_bias: u64,
    out_bias: u64,
    out: u64,
    in_pitch: u32,
    out_pitch: u32,
    rows: u32,
    epsilon: f32,
}

/// The loaded kernels.
#[derive(Clone, Debug)]
pub struct SwinMlpKernels(Arc<Module>);

impl SwinMlpKernels {
    /// Loads them.
    ///
    /// # Errors
    /// When they cannot be loaded.
    pub fn load(context: &Arc<Context>) -> Result<Self, DriverError> {
        Module::load(context, &images::SWIN_MLP).map(Self)
    }
}

/// x + MLP(LayerNorm(x)) for rows of tokens, ready to be enqueued: one launch.
#[derive(Clone, Debug)]
pub struct SwinMlp {
    function: Function,
    launch: Launch,
    params: Params,
    _held: (DeviceSlice<u16>, [DeviceSlice<f32>; 2], [MapSlice<u16>; 2]),
}

impl SwinMlp {
    /// Whether there is a kernel for tokens of so many channels (96 and 192).
    #[must_use]
    pub const fn supports(channels: usize) -> bool {
        matches!(channels, 96 | 192)
    }

    /// Packs the weights and fixes buffers and grid. `input` and `out` may be the same slice.
    ///
    /// # Errors
    /// When extents do not belong together or there is no kernel for them.
    pub fn new(
        kernels: &SwinMlpKernels,
        arena: &DeviceArena,
        rows: usize,
        weights: &SwinMlpWeights<'_>,
        input: MapSlice<u16>,
        out: MapSlice<u16>,
    ) -> Result<Self, DriverError> {
        let channels = weights.norm.scale.len();
        weights.check(channels)?;
        check_map(KERNEL, &input, rows, channels)?;
        check_map(KERNEL, &out, rows, channels)?;
        let packed = arena.take_with("mlp weights", &weights.packed(channels))?;
        let hidden_bias = arena.take_with("mlp bias", &weights.folded_bias(channels))?;
        let out_bias = arena.take_with("mlp bias", weights.out_bias)?;
        let (name, tiles) = match channels {
            96 => ("swin_mlp_96", 2),
            _ => ("swin_mlp_192", 1),
        };
        let stage = 2 * channels * CHUNK * size_of::<u16>();
        let shared = STAGES * stage + RATIO * channels * size_of::<f32>();
        let params = Params {
            input: address_of(&input),
            weights: packed.address(),
            hidden_bias: hidden_bias.address(),
            out_bias: out_bias.address(),
            out: address_of(&out),
            in_pitch: input.pitch as u32,
            out_pitch: out.pitch as u32,
            rows: rows as u32,
            epsilon: EPSILON,
        };
        Ok(Self {
            function: kernels.0.function(name, shared)?.overlapping(),
            launch: Launch {
                grid: [rows.div_ceil(WARPS * tiles * 16).max(1) as u32, 1, 1],
                threads: THREADS,
                shared_bytes: shared as u32,
            },
            params,
            _held: (packed, [hidden_bias, out_bias], [input, out]),
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

impl SwinMlpWeights<'_> {
    fn check(&self, channels: usize) -> Result<(), DriverError> {
        let found = [
            self.norm.bias.len(),
            self.hidden.len(),
            self.hidden_bias.len(),
            self.out.len(),
            self.out_bias.len(),
        ];
        let (hidden, all) = (RATIO * channels, RATIO * channels * channels);
        if SwinMlp::supports(channels) && found == [channels, all, hidden, all, channels] {
            return Ok(());
        }
        let kernel = KERNEL;
        let problem = format!("{channels} channels with weights of {found:?} values");
        Err(DriverError::Arguments { kernel, problem })
    }

    /// For each 32 hidden channels their part of the first layer, then of the second.
    fn packed(&self, channels: usize) -> Vec<u16> {
        let hidden = RATIO * channels;
        let shape = |columns, inputs| PackedShape {
            columns,
            taps: 1,
            inputs,
        };
        let first = |column: usize, _: usize, input: usize| {
            self.hidden[column * channels + input] * self.norm.scale[input]
        };
        let second = |column: usize, _: usize, input: usize| self.out[column * hidden + input];
        let first = pack_streamed(shape(hidden, channels), [channels, CHUNK], GROUP, &first);
        let second = pack_streamed(shape(channels, hidden), [CHUNK, channels], GROUP, &second);
        let part = channels * CHUNK;
        let parts = first.chunks_exact(part).zip(second.chunks_exact(part));
        parts
            .flat_map(|(first, second)| [first, second].concat())
            .collect()
    }

    /// Bias of the hidden channels with what the norm's bias adds.
    fn folded_bias(&self, channels: usize) -> Vec<f32> {
        let rows = self.hidden.chunks_exact(channels).zip(self.hidden_bias);
        rows.map(|(row, bias)| {
            let products = row.iter().zip(self.norm.bias);
            let added: f64 = products.map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
            (f64::from(*bias) + added) as f32
        })
        .collect()
    }
}
