//! One step of a dense program: its extents, weights and buffers.

use std::collections::BTreeMap;

use bevfusion_kernels::cuda::dense_conv::{
    DenseConv, DenseConvBuffers, DenseConvKernels, DenseConvShape, DenseConvWeights, DenseTarget,
    MapSlice,
};
use bevfusion_kernels::cuda::sparse_conv::Activation;
use bevfusion_kernels::cuda::upsample::{Upsample, UpsampleShape};
use bevfusion_kernels::driver::{DeviceArena, DriverError};
use half::f16;

use super::fuse::{Follow, FusedConv};
use super::layout::DenseMap;
use crate::graph::{Data, Graph, ValueId};

/// What convolutions are made from.
pub(super) struct Steps<'a> {
    pub(super) graph: &'a Graph,
    pub(super) arena: &'a DeviceArena,
    pub(super) maps: &'a BTreeMap<ValueId, DenseMap>,
}

/// Four extents of a value, 1 where it has fewer.
pub(super) fn shape_of(graph: &Graph, id: ValueId) -> [usize; 4] {
    let shape = &graph.value(id).shape;
    std::array::from_fn(|axis| shape.get(axis).copied().unwrap_or(1))
}

/// Real extents of a convolution's weight.
#[derive(Clone, Copy)]
struct Kernel {
    input: usize,
    output: usize,
    size: [usize; 2],
    transposed: bool,
}

impl Kernel {
    /// Index of the weight of output `o` (part · outputs + channel), tap and real input.
    const fn at(&self, o: usize, tap: usize, input: usize) -> usize {
        let taps = self.size[0] * self.size[1];
        if self.transposed {
            (input * self.output + o % self.output) * taps + o / self.output
        } else {
            (o * self.input + input) * taps + tap
        }
    }
}

impl Steps<'_> {
    /// Convolution number `index` of the network.
    pub(super) fn conv(
        &self,
        kernels: &DenseConvKernels,
        index: usize,
        conv: &FusedConv,
    ) -> Result<DenseConv, DriverError> {
        let missing = |what: &str| DriverError::Arguments {
            kernel: "dense",
            problem: format!("step {index}: {what}"),
        };
        let map = |id: ValueId| self.maps.get(&id).ok_or_else(|| missing("no such map"));
        let (input, output) = (map(conv.input)?, map(conv.output)?);
        let weight = self
            .constant(conv.weight)
            .ok_or_else(|| missing("weight is no constant"))?;
        let kernel = self.kernel(conv);
        let matches = !conv.transposed || kernel.size == conv.stride;
        let uniform = conv.stride[0] == conv.stride[1] && conv.padding[0] == conv.padding[1];
        if !uniform || !matches || kernel.input != input.channel_count() {
            return Err(missing(
                "strides, paddings or channels are not those of a map kernel",
            ));
        }
        let real = input.channels.real();
        let at = |o: usize, tap: usize, physical: usize| -> f32 {
            real[physical].map_or(0.0, |i| weight[kernel.at(o, tap, i)])
        };
        let bias = match conv.bias {
            Some(id) => self
                .constant(id)
                .ok_or_else(|| missing("bias is no constant"))?,
            None => &[],
        };
        let weights = DenseConvWeights {
            weight: &at,
            input_channels: input.channels.written(),
            bias,
        };
        let buffers = DenseConvBuffers {
            input: slice_of(input).ok_or_else(|| missing("input is float32"))?,
            addend: self.addend(conv, output)?,
            target: target_of(output).ok_or_else(|| missing("output has no memory"))?,
        };
        let activation = match conv.follow {
            Follow::Nothing => Activation::None,
            Follow::Relu => Activation::Relu,
            Follow::Gelu => Activation::Gelu,
        };
        let shape = shape_on_device(conv, kernel, input, output);
        DenseConv::new(kernels, self.arena, &shape, &weights, buffers, activation)
    }

    /// Resizing number `index` of the network.
    pub(super) fn resize(
        &self,
        index: usize,
        input: ValueId,
        output: ValueId,
    ) -> Result<Upsample, DriverError> {
        let missing = |what: &str| DriverError::Arguments {
            kernel: "dense",
            problem: format!("step {index}: {what}"),
        };
        let map = |id: ValueId| self.maps.get(&id).ok_or_else(|| missing("no such map"));
        let (from, to) = (map(input)?, map(output)?);
        let shape = UpsampleShape {
            images: from.images,
            input: from.size,
            output: to.size,
            channels: from.channel_count(),
        };
        if from.channels != to.channels {
            return Err(missing("the channels lie otherwise in the resized map"));
        }
        let slice = |map| slice_of(map).ok_or_else(|| missing("a map to resize is float32"));
        Upsample::new(self.arena.context(), &shape, slice(from)?, slice(to)?)
    }

    fn kernel(&self, conv: &FusedConv) -> Kernel {
        let [a, b, height, width] = shape_of(self.graph, conv.weight);
        let (input, output) = if conv.transposed { (a, b) } else { (b, a) };
        Kernel {
            input,
            output,
            size: [height, width],
            transposed: conv.transposed,
        }
    }

    fn addend(
        &self,
        conv: &FusedConv,
        output: &DenseMap,
    ) -> Result<Option<MapSlice<u16>>, DriverError> {
        let Some(id) = conv.addend else {
            return Ok(None);
        };
        let Some(values) = self.constant(id) else {
            return Ok(self.maps.get(&id).and_then(slice_of));
        };
        let pitch = output.channels.written();
        let map = DenseMap {
            half: None,
            float: None,
            pitch,
            offset: 0,
            ..output.clone()
        };
        let halves: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
        let mut elements = vec![0; output.images * output.size[0] * output.size[1] * pitch];
        map.from_planar(&halves, &mut elements);
        Ok(Some(MapSlice {
            data: self.arena.take_with("dense constant", &elements)?,
            pitch,
            channel: 0,
        }))
    }

    fn constant(&self, id: ValueId) -> Option<&[f32]> {
        match self.graph.value(id).constant.as_ref()? {
            Data::F32(values) => Some(values),
            Data::I64(_) => None,
        }
    }
}

fn shape_on_device(
    conv: &FusedConv,
    kernel: Kernel,
    input: &DenseMap,
    output: &DenseMap,
) -> DenseConvShape {
    let shape = DenseConvShape {
        images: input.images,
        input: input.size,
        input_channels: input.channels.pitch(),
        output_channels: kernel.output,
        padded_output: output.channels.written(),
        kernel: kernel.size,
        stride: conv.stride[0],
        padding: conv.padding[0],
        upsample: 1,
    };
    if conv.transposed {
        return DenseConvShape {
            kernel: [1; 2],
            stride: 1,
            upsample: conv.stride[0],
            ..shape
        };
    }
    shape
}

pub(super) fn slice_of(map: &DenseMap) -> Option<MapSlice<u16>> {
    map.half.as_ref().map(|data| MapSlice {
        data: data.clone(),
        pitch: map.pitch,
        channel: map.offset,
    })
}

fn target_of(map: &DenseMap) -> Option<DenseTarget> {
    let float = map.float.as_ref().map(|data| {
        DenseTarget::Float(MapSlice {
            data: data.clone(),
            pitch: map.pitch,
            channel: map.offset,
        })
    });
    float.or_else(|| slice_of(map).map(DenseTarget::Half))
}
