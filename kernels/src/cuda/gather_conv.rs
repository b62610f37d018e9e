//! Launcher of the dense convolution by gathered rows, for every GPU from SM 80 up.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::{
    DenseConvWeights, OutputParams, Prepared, column_block, interleave, weight_at,
};
use super::packing::{PackedShape, pack_streamed};
use crate::driver::{DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream};

const STAGES: usize = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Params {
    input: u64,
    weights: u64,
    output: OutputParams,
    images: u32,
    in_height: u32,
    in_width: u32,
    in_pitch: u32,
    cin: u32,
    out_height: u32,
    out_width: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    columns: u32,
}

/// One convolution, ready to be enqueued. See [`dense_conv`](super::dense_conv).
#[derive(Clone, Debug)]
pub struct GatherConv {
    function: Function,
    launch: Launch,
    params: Params,
    _weights: DeviceSlice<u16>,
    _bias: DeviceSlice<f32>,
    _buffers: super::dense_conv::DenseConvBuffers,
}

impl GatherConv {
    pub(super) fn new(
        module: &Arc<Module>,
        arena: &DeviceArena,
        weights: &DenseConvWeights<'_>,
        ready: Prepared,
    ) -> Result<Self, DriverError> {
        let shape = ready.shape;
        let block = column_block(&shape);
        let chunk = if shape.input_channels.is_multiple_of(64) {
            64
        } else {
            32
        };
        let (name, rows, threads) = match (chunk, block) {
            (64, 128) => ("gather_conv_64_128", 128, 256),
            (64, 64) => ("gather_conv_64_64", 128, 128),
            (64, _) => ("gather_conv_64_16", 256, 256),
            (_, 128) => ("gather_conv_32_128", 128, 256),
            (_, 64) => ("gather_conv_32_64", 128, 128),
            _ => ("gather_conv_32_16", 256, 256),
        };
        let shared_bytes = STAGES * chunk * block * 2 + rows * 16;
        let packed = PackedShape {
            columns: shape.columns(),
            taps: shape.taps(),
            inputs: shape.input_channels,
        };
        let value = weight_at(&shape, weights);
        let packed = pack_streamed(packed, [chunk, block], interleave(block), &value);
        let packed = arena.take_with("conv weights", &packed)?;
        let [out_height, out_width] = shape.gemm_size();
        let pixels = shape.images * out_height * out_width;
        let input = &ready.buffers.input;
        let params = Params {
            input: input.data.address() + 2 * input.channel as u64,
            weights: packed.address(),
            output: ready.output,
            images: shape.images as u32,
            in_height: shape.input[0] as u32,
            in_width: shape.input[1] as u32,
            in_pitch: input.pitch as u32,
            cin: shape.input_channels as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            kernel_h: shape.kernel[0] as u32,
            kernel_w: shape.kernel[1] as u32,
            stride: shape.stride as u32,
            padding: shape.padding as u32,
            columns: shape.columns() as u32,
        };
        Ok(Self {
            function: module.function(name, shared_bytes)?,
            launch: Launch {
                grid: [
                    pixels.div_ceil(rows) as u32,
                    (shape.columns() / block) as u32,
                    1,
                ],
                threads,
                shared_bytes: shared_bytes as u32,
            },
            params,
            _weights: packed,
            _bias: ready.bias,
            _buffers: ready.buffers,
        })
    }

    pub(super) fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors `GatherConvParams`; the buffers are held by `self` and were checked
        // against the extents by `DenseConv::new`.
        unsafe { self.function.launch(stream, self.launch, &self.params) }
    }
}
