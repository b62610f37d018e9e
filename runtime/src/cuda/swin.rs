//! The Swin backbone on the device: patches to the maps of its stages.
//!
//! Tokens are rows of NHWC maps. A block is LayerNorm, query/key/value, attention in windows, projection with
//! residual, LayerNorm, the two layers of the FFN with residual: seven launches, and five where norm and FFN are
//! one kernel. Three buffers serve all
//! stages: tokens (residuals are added in place), their normed form, and the wide rows of attention and FFN.

use bevfusion_kernels::cuda::dense_conv::{
    DenseConv, DenseConvBuffers, DenseConvKernels, DenseConvShape, DenseConvWeights, DenseTarget,
    MapSlice,
};
use bevfusion_kernels::cuda::layer_norm::{
    LayerNorm, LayerNormKernels, LayerNormRows, LayerNormWeights,
};
use bevfusion_kernels::cuda::sparse_conv::Activation;
use bevfusion_kernels::cuda::swin_mlp::{SwinMlp, SwinMlpKernels, SwinMlpWeights};
use bevfusion_kernels::cuda::window_attention::{
    WindowAttention, WindowAttentionKernels, WindowAttentionMaps, WindowAttentionShape,
    WindowAttentionWeights, query_scale,
};
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError, Stream};

use super::layout::DenseMap;
use super::pool::MapMemory;
use super::steps::slice_of;
use crate::config::{CameraSpec, SwinSpec};
use crate::exec::BuildError;
use crate::graph::networks::swin::{PATCH_VALUES, patch_place, token_size};
use crate::weights::Weights;

/// Rows of a map take a multiple of so many channels.
const GROUP: usize = 32;
const PREFIX: &str = "img_backbone";

/// Kernels of the camera networks.
#[derive(Clone, Debug)]
pub(super) struct SwinKernels {
    pub(super) dense: DenseConvKernels,
    pub(super) attention: WindowAttentionKernels,
    pub(super) norm: LayerNormKernels,
    pub(super) mlp: SwinMlpKernels,
}

/// Channels of the FFNs that run as one kernel: with more, weights pass through shared memory so often that
/// two products are faster.
const FUSED_CHANNELS: usize = 96;

#[derive(Debug)]
enum Step {
    Mlp(SwinMlp),
    Linear(DenseConv),
    Norm(LayerNorm),
    Attention(WindowAttention),
}

/// Tokens on the way, for whoever looks inside.
#[derive(Clone, Debug)]
pub struct TokenTap {
    /// Name of the golden set, for example `swin.stage0.block1`.
    pub name: String,
    /// fp16 `[rows, pitch]`; overwritten by a later step.
    pub tokens: DeviceSlice<u16>,
    /// Rows.
    pub rows: usize,
    /// Real channels.
    pub channels: usize,
    /// Elements of a row.
    pub pitch: usize,
    /// Steps that have run when the tokens are there.
    pub after: usize,
}

/// The backbone, ready to be enqueued.
#[derive(Debug)]
pub struct SwinProgram {
    steps: Vec<Step>,
    taps: Vec<TokenTap>,
}

impl SwinProgram {
    /// Takes memory and packs weights. `patches` are `[images · tokens, 64]` fp16, 48 values of each
    /// ([`ImagePreprocess`](bevfusion_kernels::cuda::image::ImagePreprocess)); stages 1, 2, … end in `maps`.
    ///
    /// # Errors
    /// When a weight is missing, extents do not fit, or the GPU refuses.
    pub(super) fn new(
        arena: &DeviceArena,
        kernels: &SwinKernels,
        camera: &CameraSpec,
        weights: &Weights,
        (patches, memory): (&MapSlice<u16>, &SwinMemory),
        maps: &[DenseMap],
    ) -> Result<Self, BuildError> {
        let images = camera.camera_order.len();
        let spec = &camera.backbone;
        let extents = Extents {
            images,
            image_size: camera.image_size,
            spec,
        };
        let mut layers = Layers {
            arena,
            kernels,
            weights,
            tokens: memory.tokens.clone(),
            normed: memory.normed.clone(),
            wide: memory.wide.clone(),
            steps: Vec::new(),
            taps: Vec::new(),
        };
        layers.patch_embedding(patches, extents.stage(0))?;
        for index in 0..spec.depths.len() {
            let stage = extents.stage(index);
            for block in 0..spec.depths[index] {
                layers.block(stage, block)?;
            }
            if let Some(map) = index.checked_sub(1).and_then(|at| maps.get(at)) {
                layers.output(stage, map)?;
            }
            if index + 1 < spec.depths.len() {
                layers.merging(stage, extents.stage(index + 1))?;
            }
        }
        Ok(Self {
            steps: layers.steps,
            taps: layers.taps,
        })
    }

    /// Tokens on the way.
    #[must_use]
    pub fn taps(&self) -> &[TokenTap] {
        &self.taps
    }

    /// Enqueues the backbone.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        self.enqueue_first(stream, self.steps.len())
    }

    /// Enqueues the first `count` steps, so that tokens on the way can be looked at.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_first(&self, stream: &Stream, count: usize) -> Result<(), DriverError> {
        self.steps
            .iter()
            .take(count)
            .try_for_each(|step| match step {
                Step::Linear(layer) => layer.enqueue(stream),
                Step::Mlp(mlp) => mlp.enqueue(stream),
                Step::Norm(norm) => norm.enqueue(stream),
                Step::Attention(attention) => attention.enqueue(stream),
            })
    }
}

/// The three buffers of a backbone, which other networks may use while it does not run.
#[derive(Clone, Debug)]
pub(super) struct SwinMemory {
    tokens: DeviceSlice<u16>,
    normed: DeviceSlice<u16>,
    wide: DeviceSlice<u16>,
}

impl SwinMemory {
    pub(super) fn new(arena: &DeviceArena, camera: &CameraSpec) -> Result<Self, DriverError> {
        let extents = Extents {
            images: camera.camera_order.len(),
            image_size: camera.image_size,
            spec: &camera.backbone,
        };
        let [tokens, wide] = extents.largest();
        Ok(Self {
            tokens: arena.take_zeroed("tokens", tokens)?,
            normed: arena.take_zeroed("normed tokens", tokens)?,
            wide: arena.take_zeroed("wide tokens", wide)?,
        })
    }

    /// Lends all of it to the networks around the backbone.
    pub(super) fn lend(&self, memory: &MapMemory) {
        for part in [&self.tokens, &self.normed, &self.wide] {
            memory.give(part.clone());
        }
    }
}

/// Extents of all stages.
struct Extents<'a> {
    images: usize,
    image_size: [usize; 2],
    spec: &'a SwinSpec,
}

/// Extents of a stage.
#[derive(Clone, Copy, Debug)]
struct Stage {
    index: usize,
    images: usize,
    size: [usize; 2],
    channels: usize,
    heads: usize,
    window: usize,
    ffn: usize,
}

impl Stage {
    const fn rows(&self) -> usize {
        self.images * self.size[0] * self.size[1]
    }

    const fn wide(&self) -> usize {
        if self.ffn > 3 * self.channels {
            self.ffn
        } else {
            3 * self.channels
        }
    }
}

impl Extents<'_> {
    fn stage(&self, index: usize) -> Stage {
        let channels = self.spec.embed_dims << index;
        Stage {
            index,
            images: self.images,
            size: token_size(self.image_size, index),
            channels,
            heads: self.spec.num_heads[index],
            window: self.spec.window_size,
            ffn: channels * self.spec.mlp_ratio,
        }
    }

    /// Elements of the token buffers and of the wide one.
    fn largest(&self) -> [usize; 2] {
        let stages = (0..self.spec.depths.len()).map(|index| self.stage(index));
        stages.fold([0; 2], |[tokens, wide], stage| {
            // Four tokens are normed as one row behind the stage.
            let [rows, columns] = stage.size.map(|extent| extent.div_ceil(2));
            let joined = stage.images * rows * columns * pitch(4 * stage.channels);
            let own = (stage.rows() * pitch(stage.channels)).max(joined);
            [
                tokens.max(own),
                wide.max(stage.rows() * pitch(stage.wide())),
            ]
        })
    }
}

const fn pitch(channels: usize) -> usize {
    channels.next_multiple_of(GROUP)
}

/// A linear layer of the state dict with what rides along.
struct Linear<'a> {
    /// Weights `(output, input)`.
    weight: &'a dyn Fn(usize, usize) -> f32,
    bias: &'a [f32],
    channels: [usize; 2],
    activation: Activation,
    addend: Option<MapSlice<u16>>,
}

/// What follows the sum of a stored layer.
#[derive(Clone, Copy, Debug)]
enum End {
    Gelu,
    /// What the target holds is added.
    Residual,
}

struct Layers<'a> {
    arena: &'a DeviceArena,
    kernels: &'a SwinKernels,
    weights: &'a Weights,
    tokens: DeviceSlice<u16>,
    normed: DeviceSlice<u16>,
    wide: DeviceSlice<u16>,
    steps: Vec<Step>,
    taps: Vec<TokenTap>,
}

impl<'a> Layers<'a> {
    fn weight(&self, name: &str, shape: &[usize]) -> Result<&'a [f32], BuildError> {
        Ok(self
            .weights
            .f32(name, shape)
            .map_err(crate::graph::GraphError::from)?)
    }

    fn tap(&mut self, name: String, stage: Stage) {
        self.taps.push(TokenTap {
            name,
            tokens: self.tokens.clone(),
            rows: stage.rows(),
            channels: stage.channels,
            pitch: pitch(stage.channels),
            after: self.steps.len(),
        });
    }

    fn linear(
        &mut self,
        rows: usize,
        layer: &Linear<'_>,
        input: MapSlice<u16>,
        target: MapSlice<u16>,
    ) -> Result<(), BuildError> {
        let [from, to] = layer.channels;
        let shape = DenseConvShape {
            images: 1,
            input: [1, rows],
            input_channels: pitch(from),
            output_channels: to,
            padded_output: to.next_multiple_of(16),
            kernel: [1; 2],
            stride: 1,
            padding: 0,
            upsample: 1,
        };
        let weights = DenseConvWeights {
            weight: &|output, _tap, input| (layer.weight)(output, input),
            input_channels: from,
            bias: layer.bias,
        };
        let buffers = DenseConvBuffers {
            input,
            addend: layer.addend.clone(),
            target: DenseTarget::Half(target),
        };
        let (kernels, activation) = (&self.kernels.dense, layer.activation);
        let conv = DenseConv::new(kernels, self.arena, &shape, &weights, buffers, activation)?;
        self.steps.push(Step::Linear(conv));
        Ok(())
    }

    fn norm(
        &mut self,
        name: &str,
        rows: LayerNormRows,
        channels: usize,
        target: MapSlice<u16>,
    ) -> Result<(), BuildError> {
        let scale = self.weight(&format!("{name}.weight"), &[channels])?;
        let bias = self.weight(&format!("{name}.bias"), &[channels])?;
        self.norm_of(rows, &LayerNormWeights { scale, bias }, channels, target)
    }

    /// Norm of the tokens; `channels` of a token.
    fn norm_of(
        &mut self,
        rows: LayerNormRows,
        weights: &LayerNormWeights<'_>,
        channels: usize,
        target: MapSlice<u16>,
    ) -> Result<(), BuildError> {
        let input = rows_of(&self.tokens, channels);
        let kernels = &self.kernels.norm;
        let norm = LayerNorm::new(kernels, self.arena, rows, weights, input, target)?;
        self.steps.push(Step::Norm(norm));
        Ok(())
    }

    fn patch_embedding(&mut self, patches: &MapSlice<u16>, stage: Stage) -> Result<(), BuildError> {
        let name = format!("{PREFIX}.patch_embed");
        let channels = stage.channels;
        let shape = [channels, 3, 4, 4];
        let weight = self.weight(&format!("{name}.projection.weight"), &shape)?;
        let bias = self.weight(&format!("{name}.projection.bias"), &[channels])?;
        let layer = Linear {
            weight: &|output, input| weight[output * PATCH_VALUES + patch_place(input)],
            bias,
            channels: [PATCH_VALUES, channels],
            activation: Activation::None,
            addend: None,
        };
        let target = rows_of(&self.tokens, channels);
        self.linear(stage.rows(), &layer, patches.clone(), target)?;
        let rows = LayerNormRows::Tokens(stage.rows());
        let target = rows_of(&self.tokens, channels);
        self.norm(&format!("{name}.norm"), rows, channels, target)?;
        self.tap("swin.patch_embed".to_owned(), stage);
        Ok(())
    }

    fn block(&mut self, stage: Stage, block: usize) -> Result<(), BuildError> {
        let name = format!("{PREFIX}.stages.{}.blocks.{block}", stage.index);
        let (channels, rows) = (stage.channels, stage.rows());
        let tokens = LayerNormRows::Tokens(rows);
        let normed = rows_of(&self.normed, channels);
        self.norm(&format!("{name}.norm1"), tokens, channels, normed.clone())?;
        self.attention(&format!("{name}.attn.w_msa"), stage, block)?;
        if channels == FUSED_CHANNELS && stage.ffn == 4 * channels {
            self.fused_ffn(&name, stage)?;
            self.tap(format!("swin.stage{}.block{block}", stage.index), stage);
            return Ok(());
        }
        self.norm(&format!("{name}.norm2"), tokens, channels, normed.clone())?;
        let hidden = rows_of(&self.wide, stage.ffn);
        let residual = rows_of(&self.tokens, channels);
        let first = format!("{name}.ffn.layers.0.0");
        self.stored(
            &first,
            [channels, stage.ffn],
            rows,
            End::Gelu,
            [normed, hidden.clone()],
        )?;
        let second = format!("{name}.ffn.layers.1");
        let ends = [hidden, residual];
        self.stored(&second, [stage.ffn, channels], rows, End::Residual, ends)?;
        self.tap(format!("swin.stage{}.block{block}", stage.index), stage);
        Ok(())
    }

    /// Norm, both layers and residual of an FFN in one kernel.
    fn fused_ffn(&mut self, name: &str, stage: Stage) -> Result<(), BuildError> {
        let (channels, hidden) = (stage.channels, stage.ffn);
        let [first, second] =
            ["ffn.layers.0.0", "ffn.layers.1"].map(|part| format!("{name}.{part}"));
        let weights = SwinMlpWeights {
            norm: LayerNormWeights {
                scale: self.weight(&format!("{name}.norm2.weight"), &[channels])?,
                bias: self.weight(&format!("{name}.norm2.bias"), &[channels])?,
            },
            hidden: self.weight(&format!("{first}.weight"), &[hidden, channels])?,
            hidden_bias: self.weight(&format!("{first}.bias"), &[hidden])?,
            out: self.weight(&format!("{second}.weight"), &[channels, hidden])?,
            out_bias: self.weight(&format!("{second}.bias"), &[channels])?,
        };
        let tokens = rows_of(&self.tokens, channels);
        let (kernels, arena) = (&self.kernels.mlp, self.arena);
        let mlp = SwinMlp::new(
            kernels,
            arena,
            stage.rows(),
            &weights,
            tokens.clone(),
            tokens,
        )?;
        self.steps.push(Step::Mlp(mlp));
        Ok(())
    }

    /// Query, key and value of the normed tokens, attention over the normed tokens' place, projection.
    fn attention(&mut self, name: &str, stage: Stage, block: usize) -> Result<(), BuildError> {
        let (channels, rows) = (stage.channels, stage.rows());
        let depth = channels / stage.heads.max(1);
        let scale = query_scale(depth);
        let scaled = |output: usize, value: f32| {
            if output < channels {
                (f64::from(value) * scale) as f32
            } else {
                value
            }
        };
        let weight = self.weight(&format!("{name}.qkv.weight"), &[3 * channels, channels])?;
        let bias = self.weight(&format!("{name}.qkv.bias"), &[3 * channels])?;
        let bias: Vec<f32> = (bias.iter().enumerate())
            .map(|(output, value)| scaled(output, *value))
            .collect();
        let layer = Linear {
            weight: &|output, input| scaled(output, weight[output * channels + input]),
            bias: &bias,
            channels: [channels, 3 * channels],
            activation: Activation::None,
            addend: None,
        };
        let normed = rows_of(&self.normed, channels);
        let qkv = rows_of(&self.wide, 3 * channels);
        self.linear(rows, &layer, normed.clone(), qkv.clone())?;
        let side = 2 * stage.window - 1;
        let table = format!("{name}.relative_position_bias_table");
        let weights = WindowAttentionWeights {
            padding: &bias,
            position_bias: self.weight(&table, &[side * side, stage.heads])?,
        };
        let shape = WindowAttentionShape {
            images: stage.images,
            size: stage.size,
            window: stage.window,
            shift: if block % 2 == 1 { stage.window / 2 } else { 0 },
            heads: stage.heads,
            depth,
        };
        let maps = WindowAttentionMaps {
            qkv,
            out: normed.clone(),
        };
        let kernels = &self.kernels.attention;
        let attention = WindowAttention::new(kernels, self.arena, &shape, &weights, maps)?;
        self.steps.push(Step::Attention(attention));
        let residual = rows_of(&self.tokens, channels);
        let projection = format!("{name}.proj");
        let ends = [normed, residual];
        self.stored(&projection, [channels; 2], rows, End::Residual, ends)
    }

    /// A layer with its stored weights.
    fn stored(
        &mut self,
        name: &str,
        channels: [usize; 2],
        rows: usize,
        end: End,
        [input, target]: [MapSlice<u16>; 2],
    ) -> Result<(), BuildError> {
        let [from, to] = channels;
        let weight = self.weight(&format!("{name}.weight"), &[to, from])?;
        let (activation, addend) = match end {
            End::Gelu => (Activation::Gelu, None),
            End::Residual => (Activation::None, Some(target.clone())),
        };
        let layer = Linear {
            weight: &|output, input| weight[output * from + input],
            bias: self.weight(&format!("{name}.bias"), &[to])?,
            channels,
            activation,
            addend,
        };
        self.linear(rows, &layer, input, target)
    }

    /// The stage's own norm, into the map that the neck reads.
    fn output(&mut self, stage: Stage, map: &DenseMap) -> Result<(), BuildError> {
        let name = format!("{PREFIX}.norm{}", stage.index);
        let target = slice_of(map).ok_or_else(|| misfit("a map of the neck is not fp16"))?;
        if map.size() != stage.size || map.channel_count() != stage.channels {
            return Err(misfit("a stage's map is not the one that the neck reads"));
        }
        let rows = LayerNormRows::Tokens(stage.rows());
        self.norm(&name, rows, stage.channels, target)
    }

    /// 2×2 tokens become one of twice the channels.
    fn merging(&mut self, stage: Stage, next: Stage) -> Result<(), BuildError> {
        let name = format!("{PREFIX}.stages.{}.downsample", stage.index);
        let joined = 4 * stage.channels;
        // mmdet joins channel by channel; here the four tokens stay whole.
        let place = move |input: usize| input % stage.channels * 4 + input / stage.channels;
        let reordered = |values: &[f32]| -> Vec<f32> {
            (0..joined).map(|input| values[place(input)]).collect()
        };
        let scale = reordered(self.weight(&format!("{name}.norm.weight"), &[joined])?);
        let bias = reordered(self.weight(&format!("{name}.norm.bias"), &[joined])?);
        let rows = LayerNormRows::Joined {
            images: stage.images,
            size: stage.size,
        };
        let weights = LayerNormWeights {
            scale: &scale,
            bias: &bias,
        };
        let normed = rows_of(&self.normed, joined);
        self.norm_of(rows, &weights, stage.channels, normed.clone())?;
        let reduction = format!("{name}.reduction.weight");
        let weight = self.weight(&reduction, &[next.channels, joined])?;
        let layer = Linear {
            weight: &|output, input| weight[output * joined + place(input)],
            bias: &[],
            channels: [joined, next.channels],
            activation: Activation::None,
            addend: None,
        };
        let target = rows_of(&self.tokens, next.channels);
        self.linear(next.rows(), &layer, normed, target)?;
        self.tap(format!("swin.stage{}.down", stage.index), next);
        Ok(())
    }
}

/// Rows of `channels` at the start of a buffer.
fn rows_of(data: &DeviceSlice<u16>, channels: usize) -> MapSlice<u16> {
    MapSlice {
        data: data.clone(),
        pitch: pitch(channels),
        channel: 0,
    }
}

fn misfit(problem: &str) -> BuildError {
    BuildError::Driver(DriverError::Arguments {
        kernel: "swin",
        problem: problem.to_owned(),
    })
}
