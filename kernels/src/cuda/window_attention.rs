//! Launcher of `window_attention.cu`: multi-head attention inside (shifted) windows of a token map.
//!
//! In: query, key and value of every token, fp16. Out: the mixed values, fp16; the projection is not part
//! of it. Scores are powers of two: the caller folds [`query_scale`] into weights and bias of the query.
//! Windows of 7×7 tokens with heads of 32 channels run on tensor cores; edges up to 8 and heads of up to 64
//! channels by a plain kernel.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::dense_conv::MapSlice;
use super::images;
use super::swin_maps::{address_of, check_map};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};
pub use crate::reference::window_attention::WindowAttentionShape;

const KERNEL: &str = "window_attention";
/// What the kernel for tensor cores is made for: window edge, channels of a head, warps of a block.
const EDGE: usize = 7;
const DEPTH: usize = 32;
const UNITS: usize = 4;
/// Largest window edge and head of the kernel for other shapes.
const MAX_EDGE: usize = 8;
const MAX_DEPTH: usize = 64;
const ANY_THREADS: u32 = 128;

/// What weights and bias of the query are multiplied by: the scale of the scores and log2 e.
#[must_use]
pub fn query_scale(head_channels: usize) -> f64 {
    std::f64::consts::LOG2_E / (head_channels as f64).sqrt()
}

/// Learned values of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct WindowAttentionWeights<'a> {
    /// Query, key, value of a token in the padding: the bias of the layer that makes them, `[3 C]`, the
    /// query's part times [`query_scale`].
    pub padding: &'a [f32],
    /// Relative position bias `[(2 window − 1)², heads]`, row (Δrow + window − 1) · (2 window − 1) + Δcolumn +
    /// window − 1 with Δ = query − key. The fast kernel rounds it, times log2 e, to fp16.
    pub position_bias: &'a [f32],
}

/// Buffers of an attention layer; rows are tokens, row-major over the map, images one after another.
#[derive(Clone, Debug)]
pub struct WindowAttentionMaps {
    /// 3 C channels: query (times [`query_scale`]), key, value, each of all heads one after another.
    pub qkv: MapSlice<u16>,
    /// C channels.
    pub out: MapSlice<u16>,
}

/// Mirrors the kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    qkv: u64,
    padding: u64,
    bias: u64,
    out: u64,
    qkv_pitch: u32,
    out_pitch: u32,
    height: u32,
    width: u32,
    rows: u32,
    columns: u32,
    heads: u32,
    shift: u32,
    units: u32,
    window: u32,
    depth: u32,
    unused: u32,
}

/// The loaded kernels.
#[derive(Clone, Debug)]
pub struct WindowAttentionKernels(Arc<Module>);

impl WindowAttentionKernels {
    /// Loads them.
    ///
    /// # Errors
    /// When they cannot be loaded.
    pub fn load(context: &Arc<Context>) -> Result<Self, DriverError> {
        Module::load(context, &images::WINDOW_ATTENTION).map(Self)
    }
}

/// One attention layer, ready to be enqueued: one launch.
#[derive(Clone, Debug)]
pub struct WindowAttention {
    function: Function,
    launch: Launch,
    params: Params,
    _held: (DeviceSlice<u16>, DeviceSlice<u16>, WindowAttentionMaps),
}

impl WindowAttention {
    /// Packs the bias and fixes buffers and grid.
    ///
    /// # Errors
    /// When extents do not belong together or are beyond the kernels.
    pub fn new(
        kernels: &WindowAttentionKernels,
        arena: &DeviceArena,
        shape: &WindowAttentionShape,
        weights: &WindowAttentionWeights<'_>,
        maps: WindowAttentionMaps,
    ) -> Result<Self, DriverError> {
        check(shape)?;
        weights.check(shape)?;
        check_map(KERNEL, &maps.qkv, shape.tokens(), 3 * shape.channels())?;
        check_map(KERNEL, &maps.out, shape.tokens(), shape.channels())?;
        let padding: Vec<u16> = weights.padding.iter().map(|v| half_bits(*v)).collect();
        let padding = arena.take_with("attention padding", &padding)?;
        let bias = if is_fast(shape) {
            arena.take_with("attention bias", &packed_bias(weights, shape.heads))?
        } else {
            let bias = plain_bias(weights, shape.heads);
            arena.take_with("attention bias", &bias)?.cast::<u16>()
        };
        let (function, launch) = kernel(kernels, shape)?;
        let [rows, columns] = shape.counts();
        let params = Params {
            qkv: address_of(&maps.qkv),
            padding: padding.address(),
            bias: bias.address(),
            out: address_of(&maps.out),
            qkv_pitch: maps.qkv.pitch as u32,
            out_pitch: maps.out.pitch as u32,
            height: shape.size[0] as u32,
            width: shape.size[1] as u32,
            rows: rows as u32,
            columns: columns as u32,
            heads: shape.heads as u32,
            shift: shape.shift as u32,
            units: units(shape) as u32,
            window: shape.window as u32,
            depth: shape.depth as u32,
            unused: 0,
        };
        Ok(Self {
            function,
            launch,
            params,
            _held: (padding, bias, maps),
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

impl WindowAttentionWeights<'_> {
    fn check(&self, shape: &WindowAttentionShape) -> Result<(), DriverError> {
        let side = 2 * shape.window - 1;
        let wanted = [3 * shape.channels(), side * side * shape.heads];
        let found = [self.padding.len(), self.position_bias.len()];
        if found == wanted {
            return Ok(());
        }
        let problem = format!("padding and bias of {found:?} values instead of {wanted:?}");
        Err(refuse(problem))
    }
}

/// Whether the kernel for tensor cores is made for it.
const fn is_fast(shape: &WindowAttentionShape) -> bool {
    shape.window == EDGE && shape.depth == DEPTH
}

/// Windows of all images times heads.
fn units(shape: &WindowAttentionShape) -> usize {
    shape.windows() * shape.heads
}

fn check(shape: &WindowAttentionShape) -> Result<(), DriverError> {
    let problem = if shape.window == 0 || shape.window > MAX_EDGE || shape.shift >= shape.window {
        let (window, shift) = (shape.window, shape.shift);
        format!("windows of {window}×{window} tokens shifted by {shift}")
    } else if shape.depth == 0 || shape.depth > MAX_DEPTH || shape.channels() > 1 << 16 {
        format!("{} heads of {} channels", shape.heads, shape.depth)
    } else if units(shape) == 0 || i32::try_from(units(shape)).is_err() {
        let [height, width] = shape.size;
        format!("{} images of {height}×{width} tokens", shape.images)
    } else {
        return Ok(());
    };
    Err(refuse(problem))
}

fn kernel(
    kernels: &WindowAttentionKernels,
    shape: &WindowAttentionShape,
) -> Result<(Function, Launch), DriverError> {
    if is_fast(shape) {
        let blocks = units(shape).div_ceil(UNITS);
        let launch = Launch::row(blocks as u32, UNITS as u32 * 32);
        return Ok((
            kernels.0.function("window_attention_7", 0)?.overlapping(),
            launch,
        ));
    }
    let floats = 3 * shape.window * shape.window * (shape.depth + 1);
    let shared = floats * size_of::<f32>();
    let launch = Launch {
        grid: [units(shape) as u32, 1, 1],
        threads: ANY_THREADS,
        shared_bytes: shared as u32,
    };
    // The weights of four queries are in shared memory too, and the limit counts both.
    let all = shared + ANY_THREADS as usize / 32 * MAX_EDGE * MAX_EDGE * size_of::<f32>();
    Ok((
        kernels
            .0
            .function("window_attention_any", all)?
            .overlapping(),
        launch,
    ))
}

/// `[head][(2 window − 1)²]` in powers of two.
fn plain_bias(weights: &WindowAttentionWeights<'_>, heads: usize) -> Vec<f32> {
    let table = weights.position_bias;
    let of_head = |head: usize| table.iter().skip(head).step_by(heads);
    (0..heads)
        .flat_map(of_head)
        .map(|v| v * std::f32::consts::LOG2_E)
        .collect()
}

/// fp16 `[head][4 tiles of 16 queries][832]` in powers of two, in the order of the lanes' scores.
fn packed_bias(weights: &WindowAttentionWeights<'_>, heads: usize) -> Vec<u16> {
    let table = weights.position_bias;
    let value = |head: usize, query: usize, key: usize| {
        if query >= EDGE * EDGE {
            return 0;
        }
        let delta = |a: usize, b: usize| a + EDGE - 1 - b;
        let row = delta(query / EDGE, key / EDGE) * (2 * EDGE - 1);
        let row = row + delta(query % EDGE, key % EDGE);
        half_bits(table[row * heads + head] * std::f32::consts::LOG2_E)
    };
    let mut packed = Vec::with_capacity(heads * 4 * 832);
    for tile in 0..heads * 4 {
        let (head, first) = (tile / 4, tile % 4 * 16);
        for pair in 0..3 {
            for lane in 0..32 {
                // Two tiles of keys; of each, two keys of the lower and of the upper query.
                packed.extend((0..8).map(|i| {
                    let query = first + lane / 4 + i / 2 % 2 * 8;
                    let key = pair * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2;
                    value(head, query, key)
                }));
            }
        }
        for lane in 0..32 {
            let query = first + lane / 4;
            packed.extend([query, query + 8].map(|query| value(head, query, EDGE * EDGE - 1)));
        }
    }
    packed
}

fn half_bits(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

fn refuse(problem: String) -> DriverError {
    let kernel = KERNEL;
    DriverError::Arguments { kernel, problem }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::{WindowAttentionWeights, packed_bias};

    /// Each score that a lane holds starts with the bias of its query and key.
    #[test]
    fn the_bias_lies_where_lanes_hold_scores() {
        let heads = 3;
        let table: Vec<f32> = (0..169 * heads).map(|i| i as f32 / 64.0).collect();
        let weights = WindowAttentionWeights {
            padding: &[],
            position_bias: &table,
        };
        let packed = packed_bias(&weights, heads);
        assert_eq!(packed.len(), heads * 4 * 832);
        let (head, lane) = (2, 13);
        // Query 16 + 3 + 8 = 27 of tile 1, key 24 + 2 = 26 of tiles 2 and 3: position (3, 6) and (3, 5).
        let at = ((head * 4 + 1) * 832) + (32 + lane) * 8 + 4 + 2;
        let row = 6 * 13 + 6 + 1;
        let want = f16::from_f32(table[row * heads + head] * std::f32::consts::LOG2_E);
        assert_eq!(packed[at], want.to_bits());
        // The 49th key of query 11.
        let at = head * 4 * 832 + 768 + lane * 2 + 1;
        let row = 13 + 4;
        let want = f16::from_f32(table[row * heads + head] * std::f32::consts::LOG2_E);
        assert_eq!(packed[at], want.to_bits());
    }
}
