//! Launcher of `decoder.cu`: from proposals to box codes and scores.
//!
//! In: shared features fp16 `[X·Y][128]`, projected keys and values of the cross-attention fp16
//! `[X·Y][256]` (keys first), proposals. Out: codes f32 `[10][P]` (centre x, y in cells, z in m, ln l, ln w,
//! ln h, sin, cos, vx, vy), scores f32 `[P]`, classes i32 `[P]`.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::decoder_weights::{BOX_CHANNELS, CHANNELS, DecoderWeights, Packed, Place};
use super::images;
use super::proposals::{MAX_PROPOSALS, Proposals};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

/// Heads of both attentions.
const HEADS: usize = 8;
/// Queries of a tile of the cross-attention.
const TILE: usize = 16;
/// Cells that the cross-attention takes at a time.
const STEP: usize = 32;
/// Parts that the cells are cut into at most: what the last kernel has shared memory for.
const MAX_SPLITS: usize = 96;

/// Extents of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderConfig {
    /// X, Y (cells).
    pub size: [usize; 2],
    /// K.
    pub classes: usize,
    /// P.
    pub proposals: usize,
    /// How many queries a block of the cross-attention takes.
    pub cross: CrossShape,
}

/// Shape of a block of the cross-attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossShape {
    /// 64 queries, two blocks a multiprocessor.
    Narrow,
    /// 112 queries, one block a multiprocessor: keys and values are read less often.
    #[default]
    Wide,
}

/// What the decoder reads of every frame.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs<'a> {
    /// Shared features fp16 `[X·Y][128]`.
    pub shared: &'a DeviceSlice<u16>,
    /// Keys and values fp16 `[X·Y][256]`.
    pub key_values: &'a DeviceSlice<u16>,
    /// Where the queries start.
    pub proposals: &'a Proposals,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Dense {
    weight: u64,
    bias: u64,
}

/// Mirrors the kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    shared: u64,
    key_values: u64,
    index: u64,
    label: u64,
    heat: u64,
    class_table: u64,
    layers: [Dense; 13],
    query: u64,
    placed: u64,
    self_qkv: u64,
    attended: u64,
    cross: u64,
    part: u64,
    part_sum: u64,
    after_cross: u64,
    out: u64,
    boxes: u64,
    score: u64,
    label_out: u64,
    proposals: u32,
    cells: u32,
    columns: u32,
    classes: u32,
    splits: u32,
    pad: u32,
}

/// What the decoder leaves behind on the device.
#[derive(Clone, Debug)]
pub struct DecoderOutputs {
    /// Queries after the self-attention and its norm `[P][128]`.
    pub after_self_attn: DeviceSlice<f32>,
    /// Queries after the cross-attention and its norm `[P][128]`.
    pub after_cross_attn: DeviceSlice<f32>,
    /// Queries after the layer `[P][128]`.
    pub decoder_out: DeviceSlice<f32>,
    /// Box codes `[10][P]`.
    pub bbox_pred: DeviceSlice<f32>,
    /// Scores `[P]`.
    pub score: DeviceSlice<f32>,
    /// Classes `[P]`.
    pub label: DeviceSlice<i32>,
}

/// The query decoder: four launches.
#[derive(Debug)]
pub struct Decoder {
    kernels: [(Function, Launch); 4],
    params: Params,
    outputs: DecoderOutputs,
    _held: Held,
}

#[derive(Debug)]
struct Held {
    _floats: Vec<DeviceSlice<f32>>,
    _halves: [DeviceSlice<u16>; 2],
    _indices: [DeviceSlice<i32>; 2],
}

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Queries of a block of the row kernels.
    rows: usize,
    /// Most tiles of a block of the cross-attention.
    tiles: usize,
    /// Blocks along the queries of the cross-attention.
    blocks: usize,
    /// Parts of the cells.
    splits: usize,
}

impl Cut {
    fn of(config: &DecoderConfig, multiprocessors: usize) -> Self {
        let (tiles, resident) = match config.cross {
            CrossShape::Narrow => (4, 2 * multiprocessors),
            CrossShape::Wide => (7, multiprocessors),
        };
        let blocks = config.proposals.div_ceil(TILE).div_ceil(tiles);
        let steps = (config.size[0] * config.size[1]).div_ceil(STEP);
        Self {
            rows: if config.proposals <= 2 * multiprocessors {
                4
            } else {
                8
            },
            tiles,
            blocks,
            splits: (resident / blocks).clamp(1, MAX_SPLITS).min(steps),
        }
    }
}

impl Decoder {
    /// Uploads the weights, takes memory and loads the kernels; the inputs are read by every run.
    ///
    /// # Errors
    /// When extents do not belong together, or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        config: &DecoderConfig,
        weights: &DecoderWeights,
        inputs: &DecoderInputs<'_>,
    ) -> Result<Self, DriverError> {
        config.check(inputs)?;
        let packed = weights.pack(config.classes)?;
        let values = arena.take_with("head decoder weights", &packed.values)?;
        let cut = Cut::of(config, context.info().multiprocessors as usize);
        let buffers = Buffers::take(arena, config.proposals, cut.splits)?;
        let params = params(config, cut.splits, (&packed, &values), inputs, &buffers)?;
        let kernels = kernels(context, config, &cut)?;
        let Buffers { between, outputs } = buffers;
        let found = inputs.proposals;
        let held = Held {
            _floats: between
                .into_iter()
                .chain([values, found.score().clone()])
                .collect(),
            _halves: [inputs.shared.clone(), inputs.key_values.clone()],
            _indices: [found.index().clone(), found.label().clone()],
        };
        Ok(Self {
            kernels,
            params,
            outputs,
            _held: held,
        })
    }

    /// What a run leaves behind.
    #[must_use]
    pub const fn outputs(&self) -> &DecoderOutputs {
        &self.outputs
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

struct Buffers {
    /// query, placed, self_qkv, cross, part, part_sum.
    between: [DeviceSlice<f32>; 6],
    outputs: DecoderOutputs,
}

impl Buffers {
    fn take(arena: &DeviceArena, proposals: usize, splits: usize) -> Result<Self, DriverError> {
        let rows = |name: &str, width: usize| arena.take_zeroed(name, proposals * width);
        Ok(Self {
            between: [
                rows("head query", CHANNELS)?,
                rows("head position", CHANNELS)?,
                rows("head self-attention", 3 * CHANNELS)?,
                rows("head cross query", CHANNELS)?,
                rows("head cross parts", splits * CHANNELS)?,
                rows("head cross sums", splits * HEADS * 2)?,
            ],
            outputs: DecoderOutputs {
                after_self_attn: rows("head after self-attention", CHANNELS)?,
                after_cross_attn: rows("head after cross-attention", CHANNELS)?,
                decoder_out: rows("head decoder out", CHANNELS)?,
                bbox_pred: rows("head bbox_pred", BOX_CHANNELS)?,
                score: rows("head score", 1)?,
                label: arena.take_zeroed("head label", proposals)?,
            },
        })
    }
}

fn params(
    config: &DecoderConfig,
    splits: usize,
    (packed, values): (&Packed, &DeviceSlice<f32>),
    inputs: &DecoderInputs<'_>,
    buffers: &Buffers,
) -> Result<Params, DriverError> {
    let at = |place: usize| values.part(place, 1).address();
    let dense = |place: &Place| Dense {
        weight: at(place.weight),
        bias: at(place.bias),
    };
    let layers: Vec<Dense> = packed.layers.iter().map(dense).collect();
    let layers = layers
        .try_into()
        .map_err(|all: Vec<Dense>| DriverError::Arguments {
            kernel: "decoder",
            problem: format!("{} layers", all.len()),
        })?;
    let [query, placed, self_qkv, cross, part, part_sum] =
        buffers.between.each_ref().map(DeviceSlice::address);
    let outputs = &buffers.outputs;
    let found = inputs.proposals;
    Ok(Params {
        shared: inputs.shared.address(),
        key_values: inputs.key_values.address(),
        index: found.index().address(),
        label: found.label().address(),
        heat: found.score().address(),
        class_table: at(0),
        layers,
        query,
        placed,
        self_qkv,
        attended: outputs.after_self_attn.address(),
        cross,
        part,
        part_sum,
        after_cross: outputs.after_cross_attn.address(),
        out: outputs.decoder_out.address(),
        boxes: outputs.bbox_pred.address(),
        score: outputs.score.address(),
        label_out: outputs.label.address(),
        proposals: config.proposals as u32,
        cells: (config.size[0] * config.size[1]) as u32,
        columns: config.size[1] as u32,
        classes: config.classes as u32,
        splits: splits as u32,
        pad: 0,
    })
}

fn kernels(
    context: &Arc<Context>,
    config: &DecoderConfig,
    cut: &Cut,
) -> Result<[(Function, Launch); 4], DriverError> {
    let module = Module::load(context, &images::DECODER)?;
    let [start, own, finish] = match cut.rows {
        4 => ["decoder_start_4", "decoder_self_4", "decoder_finish_4"],
        _ => ["decoder_start_8", "decoder_self_8", "decoder_finish_8"],
    };
    let cross = match config.cross {
        CrossShape::Narrow => "decoder_cross_4",
        CrossShape::Wide => "decoder_cross_7",
    };
    let row_blocks = config.proposals.div_ceil(cut.rows) as u32;
    // Floats of a query: activations, residual, parts of eight warps, factors of the parts of the cells.
    let floats = |of_query: usize| of_query * cut.rows * size_of::<f32>();
    let steps_bytes = 2 * STEP * 2 * CHANNELS * size_of::<u16>();
    let queries_bytes = HEADS * cut.tiles * 2 * 32 * 16;
    let all = [
        (start, [row_blocks, 3, 1], floats(9 * CHANNELS)),
        (own, [row_blocks, 1, 1], floats(10 * CHANNELS)),
        (
            cross,
            [cut.blocks as u32, cut.splits as u32, 1],
            steps_bytes + queries_bytes,
        ),
        (
            finish,
            [row_blocks, 1, 1],
            floats(13 * CHANNELS + HEADS * cut.splits),
        ),
    ];
    let ready = |(name, grid, bytes): (&'static str, [u32; 3], usize)| {
        let launch = Launch {
            grid,
            threads: 256,
            shared_bytes: bytes as u32,
        };
        Ok::<_, DriverError>((module.function(name, bytes)?, launch))
    };
    let [start, own, cross, finish] = all.map(ready);
    Ok([start?, own?, cross?, finish?])
}

impl DecoderConfig {
    fn check(&self, inputs: &DecoderInputs<'_>) -> Result<(), DriverError> {
        let cells = self.size[0] * self.size[1];
        let found = inputs.proposals;
        let problem = if cells == 0 || cells > 1 << 26 {
            format!("a map of {:?} cells", self.size)
        } else if self.proposals == 0 || self.proposals > MAX_PROPOSALS {
            format!("{} proposals", self.proposals)
        } else if found.index().len() != self.proposals {
            format!(
                "{} proposals, expected {}",
                found.index().len(),
                self.proposals
            )
        } else if inputs.shared.len() < cells * CHANNELS {
            format!("{} shared features for {cells} cells", inputs.shared.len())
        } else if inputs.key_values.len() < cells * 2 * CHANNELS {
            format!(
                "{} keys and values for {cells} cells",
                inputs.key_values.len()
            )
        } else {
            return Ok(());
        };
        let kernel = "decoder";
        Err(DriverError::Arguments { kernel, problem })
    }
}
