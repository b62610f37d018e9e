//! Launcher of the dense convolution by warpgroup products (SM 9.0).
//!
//! Which kernel and which rectangle of output pixels a block gets is in `hopper_tiling.rs`.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::{
    DenseConvBuffers, DenseConvShape, DenseConvWeights, MapSlice, OutputParams, Prepared,
    interleave, weight_at,
};
use super::hopper_tiling::Tiling;
use super::packing::{PackedShape, pack_rows};
use crate::driver::{
    DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream, TensorMap, TileShape,
};

/// Input channels of a step.
const CHUNK: usize = 64;
/// Input channels of a product.
const PRODUCT: usize = 16;
const THREADS: u32 = 288;

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Params {
    input: TensorMap,
    weights: TensorMap,
    output: OutputParams,
    kernel_w: u32,
    taps: u32,
    chunks: u32,
    columns: u32,
    stride: u32,
    padding: u32,
    tile_height: u32,
    tile_width: u32,
    tiles_y: u32,
    tiles_x: u32,
    gemm_height: u32,
    gemm_width: u32,
    stages: u32,
    unused: [u32; 3],
}

// SAFETY: all zeros are valid in every field.
unsafe impl Zeroable for Params {}
// SAFETY: 64-byte aligned parts followed by words that fill the last 64 bytes: no padding, any bytes valid.
unsafe impl Pod for Params {}

/// One convolution, ready to be enqueued. See [`dense_conv`](super::dense_conv).
#[derive(Clone, Debug)]
pub struct HopperConv {
    function: Function,
    launch: Launch,
    params: Params,
    _weights: DeviceSlice<u16>,
    _bias: DeviceSlice<f32>,
    _buffers: DenseConvBuffers,
}

impl HopperConv {
    pub(super) fn new(
        module: &Arc<Module>,
        multiprocessors: usize,
        arena: &DeviceArena,
        weights: &DenseConvWeights<'_>,
        ready: Prepared,
    ) -> Result<Self, DriverError> {
        let shape = flattened(&ready.shape);
        let channels = channels_read(&shape, weights);
        let is_gelu = ready.output.is_gelu();
        let plan = Tiling::choose(&shape, channels, is_gelu, multiprocessors);
        let block = plan.kernel.columns;
        let blocks_of_columns = shape.columns() / block;
        // 1024 more, because a swizzled tile starts at such a multiple.
        let shared_bytes = plan.stages * (plan.kernel.rows() + block) * 2 * CHUNK + 1024;
        let packed = PackedShape {
            columns: shape.columns(),
            taps: shape.taps(),
            inputs: channels,
        };
        let value = weight_at(&shape, weights);
        let packed = pack_rows(packed, interleave(block), &value);
        let packed = arena.take_with("conv weights", &packed)?;
        let [gemm_height, gemm_width] = shape.gemm_size();
        let params = Params {
            input: input_map(&shape, channels, &plan, &ready.buffers.input)?,
            weights: weight_map(&shape, channels, block, &packed)?,
            output: ready.output.of_size(shape.output_size()),
            kernel_w: shape.kernel[1] as u32,
            taps: shape.taps() as u32,
            chunks: channels.div_ceil(CHUNK) as u32,
            columns: shape.columns() as u32,
            stride: shape.stride as u32,
            padding: shape.padding as u32,
            tile_height: plan.height as u32,
            tile_width: plan.width as u32,
            tiles_y: plan.tiles[0] as u32,
            tiles_x: plan.tiles[1] as u32,
            gemm_height: gemm_height as u32,
            gemm_width: gemm_width as u32,
            stages: plan.stages as u32,
            unused: [0; 3],
        };
        let tiles = shape.images * plan.tiles[0] * plan.tiles[1];
        Ok(Self {
            function: module
                .function(plan.kernel.name, shared_bytes)?
                .overlapping(),
            launch: Launch {
                grid: [tiles as u32, blocks_of_columns as u32, 1],
                threads: THREADS,
                shared_bytes: shared_bytes as u32,
            },
            params,
            _weights: packed,
            _bias: ready.bias,
            _buffers: ready.buffers,
        })
    }

    pub(super) fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors `HopperConvParams`; the buffers are held by `self` and were checked
        // against the extents by `DenseConv::new`.
        unsafe { self.function.launch(stream, self.launch, &self.params) }
    }
}

/// A product over pixels needs no rectangle: its map is one row of all pixels.
fn flattened(shape: &DenseConvShape) -> DenseConvShape {
    let [rows, columns] = shape.input;
    if shape.taps() == 1 && shape.stride == 1 && shape.padding == 0 && shape.upsample == 1 {
        return DenseConvShape {
            images: 1,
            input: [1, shape.images * rows * columns],
            ..*shape
        };
    }
    *shape
}

/// Channels that are multiplied: whole products that hold every real one.
fn channels_read(shape: &DenseConvShape, weights: &DenseConvWeights<'_>) -> usize {
    let whole = weights.input_channels.next_multiple_of(PRODUCT);
    whole.min(shape.input_channels)
}

fn input_map(
    shape: &DenseConvShape,
    channels: usize,
    tiling: &Tiling,
    input: &MapSlice<u16>,
) -> Result<TensorMap, DriverError> {
    let [height, width] = shape.input;
    let data = input.data.part(input.channel, input.data.len());
    let tile = TileShape {
        extents: [channels, width, height, shape.images],
        strides: [
            1,
            input.pitch,
            width * input.pitch,
            height * width * input.pitch,
        ],
        tile: [
            CHUNK,
            tiling.width * shape.stride,
            tiling.height * shape.stride,
            1,
        ],
        steps: [1, shape.stride, shape.stride, 1],
    };
    TensorMap::tiled(&data, &tile)
}

fn weight_map(
    shape: &DenseConvShape,
    channels: usize,
    block: usize,
    packed: &DeviceSlice<u16>,
) -> Result<TensorMap, DriverError> {
    let tile = TileShape {
        extents: [channels, shape.taps() * shape.columns()],
        strides: [1, channels],
        tile: [CHUNK, block],
        steps: [1, 1],
    };
    TensorMap::tiled(packed, &tile)
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn parameters_have_the_size_that_the_kernel_expects() {
        assert_eq!(size_of::<Params>(), 384);
    }
}
