//! Launcher of the dense convolution by warpgroup products (SM 9.0).
//!
//! The rectangle of output pixels of a block is chosen so that the blocks fill the multiprocessors in as
//! few whole waves as possible.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::{
    DenseConvBuffers, DenseConvShape, DenseConvWeights, MapSlice, OutputParams, Prepared,
    column_block, interleave, weight_at,
};
use super::packing::{PackedShape, pack_rows};
use crate::driver::{
    DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream, TensorMap, TileShape,
};

/// Input channels of a step.
const CHUNK: usize = 64;
/// Rows of the product that one warpgroup multiplies at a time; a block has two warpgroups.
const WARPGROUP_ROWS: usize = 64;
/// Largest extent of a copied box.
const LARGEST_BOX: usize = 256;
const THREADS: u32 = 288;
const MOST_STAGES: usize = 8;
/// Shared memory of a ring when a multiprocessor runs one block.
const RING_BYTES: usize = 200 << 10;
/// A product of at most this many steps is over before a long ring is full: two blocks share a
/// multiprocessor instead, and one loads while the other stores.
const SHORT: usize = 4;
const SHORT_RING_BYTES: usize = 104 << 10;

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

/// A rectangle of output pixels and the rows that a block has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiling {
    /// Products of 64 rows per warpgroup: 1 or 2.
    products: usize,
    height: usize,
    width: usize,
    tiles: [usize; 2],
}

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
        let shape = ready.shape;
        let block = column_block(&shape);
        let blocks_of_columns = shape.columns() / block;
        let tiling = Tiling::choose(&shape, blocks_of_columns, multiprocessors);
        let name = kernel_name(tiling.products, block);
        let rows = tiling.products * 2 * WARPGROUP_ROWS;
        let stages = stages(&shape, rows + block);
        // 1024 more, because a swizzled tile starts at such a multiple.
        let shared_bytes = stages * (rows + block) * 2 * CHUNK + 1024;
        let packed = PackedShape {
            columns: shape.columns(),
            taps: shape.taps(),
            inputs: shape.input_channels,
        };
        let value = weight_at(&shape, weights);
        let packed = pack_rows(packed, interleave(block), &value);
        let packed = arena.take_with("conv weights", &packed)?;
        let [gemm_height, gemm_width] = shape.gemm_size();
        let params = Params {
            input: input_map(&shape, &tiling, &ready.buffers.input)?,
            weights: weight_map(&shape, block, &packed)?,
            output: ready.output,
            kernel_w: shape.kernel[1] as u32,
            taps: shape.taps() as u32,
            chunks: (shape.input_channels / CHUNK) as u32,
            columns: shape.columns() as u32,
            stride: shape.stride as u32,
            padding: shape.padding as u32,
            tile_height: tiling.height as u32,
            tile_width: tiling.width as u32,
            tiles_y: tiling.tiles[0] as u32,
            tiles_x: tiling.tiles[1] as u32,
            gemm_height: gemm_height as u32,
            gemm_width: gemm_width as u32,
            stages: stages as u32,
            unused: [0; 3],
        };
        let tiles = shape.images * tiling.tiles[0] * tiling.tiles[1];
        Ok(Self {
            function: module.function(name, shared_bytes)?,
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

impl Tiling {
    /// The rectangle with the fewest rows of products per multiprocessor, counted in whole waves; among
    /// equals the one with fewest blocks, then with the least input around it.
    fn choose(shape: &DenseConvShape, blocks_of_columns: usize, multiprocessors: usize) -> Self {
        let [rows, columns] = shape.gemm_size();
        let steps = shape.taps() * shape.input_channels / CHUNK;
        let sizes: &[usize] = if steps <= SHORT { &[1] } else { &[2, 1] };
        let mut best: Option<([usize; 3], Self)> = None;
        for &products in sizes {
            let room = products * 2 * WARPGROUP_ROWS;
            for width in 1..=room.min(columns).min(LARGEST_BOX / shape.stride) {
                let height = (room / width).min(rows).min(LARGEST_BOX / shape.stride);
                let tiles = [rows.div_ceil(height), columns.div_ceil(width)];
                let blocks = shape.images * tiles[0] * tiles[1] * blocks_of_columns;
                let waves = blocks.div_ceil(multiprocessors);
                let around = (height + shape.kernel[0]) * (width + shape.kernel[1]);
                let cost = [waves * room, blocks, around];
                let tiling = Self {
                    products,
                    height,
                    width,
                    tiles,
                };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, tiling));
                }
            }
        }
        best.map_or(
            Self {
                products: 1,
                height: 1,
                width: 1,
                tiles: [rows, columns],
            },
            |(_, tiling)| tiling,
        )
    }
}

const fn kernel_name(products: usize, block: usize) -> &'static str {
    match (products, block) {
        (1, 128) => "hopper_conv_1_128",
        (_, 128) => "hopper_conv_2_128",
        (1, 64) => "hopper_conv_1_64",
        (_, 64) => "hopper_conv_2_64",
        (1, _) => "hopper_conv_1_16",
        _ => "hopper_conv_2_16",
    }
}

/// Stages of a ring whose step has `rows` rows of both operands together.
fn stages(shape: &DenseConvShape, rows: usize) -> usize {
    let steps = shape.taps() * shape.input_channels / CHUNK;
    let room = if steps <= SHORT {
        SHORT_RING_BYTES
    } else {
        RING_BYTES
    };
    (room / (rows * 2 * CHUNK)).min(steps).min(MOST_STAGES)
}

fn input_map(
    shape: &DenseConvShape,
    tiling: &Tiling,
    input: &MapSlice<u16>,
) -> Result<TensorMap, DriverError> {
    let [height, width] = shape.input;
    let data = input.data.part(input.channel, input.data.len());
    let tile = TileShape {
        extents: [shape.input_channels, width, height, shape.images],
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
    block: usize,
    packed: &DeviceSlice<u16>,
) -> Result<TensorMap, DriverError> {
    let tile = TileShape {
        extents: [shape.input_channels, shape.taps() * shape.columns()],
        strides: [1, shape.input_channels],
        tile: [CHUNK, block],
        steps: [1, 1],
    };
    TensorMap::tiled(packed, &tile)
}

#[cfg(test)]
mod tests {
    use super::{Params, Tiling};
    use crate::cuda::dense_conv::DenseConvShape;

    fn shape(size: usize) -> DenseConvShape {
        DenseConvShape {
            images: 1,
            input: [size; 2],
            input_channels: 128,
            output_channels: 128,
            padded_output: 128,
            kernel: [3, 3],
            stride: 1,
            padding: 1,
            upsample: 1,
        }
    }

    #[test]
    fn parameters_have_the_size_that_the_kernel_expects() {
        assert_eq!(size_of::<Params>(), 384);
    }

    #[test]
    fn the_bev_maps_of_nuscenes_run_in_one_wave_on_132_multiprocessors() {
        let large = Tiling::choose(&shape(180), 1, 132);
        assert_eq!(large.products, 2);
        assert!(large.tiles[0] * large.tiles[1] <= 132);
        let small = Tiling::choose(&shape(90), 2, 132);
        assert_eq!(small.products, 1);
        assert!(small.tiles[0] * small.tiles[1] * 2 <= 132);
    }

    #[test]
    fn a_tile_never_has_more_pixels_than_rows() {
        for size in [1, 7, 40, 90, 180, 408] {
            for blocks in [1, 2, 8] {
                let tiling = Tiling::choose(&shape(size), blocks, 132);
                assert!(tiling.height * tiling.width <= tiling.products * 128);
                assert!(tiling.tiles[0] * tiling.height >= size);
                assert!(tiling.tiles[1] * tiling.width >= size);
            }
        }
    }
}
