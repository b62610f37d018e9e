//! Launcher of `upsample.cu`: bilinear resizing of a map into a slice of another map's channels.
//!
//! In and out: NHWC fp16. Pixel centres are at half integers, as in PyTorch with `align_corners = False`.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::MapSlice;
use super::images;
use super::swin_maps::{address_of, check_map};
use crate::driver::{Context, DriverError, Function, Launch, Module, Stream};

const KERNEL: &str = "upsample";
const THREADS: u32 = 256;
/// Blocks that a grid has along y.
const MAX_ROWS: usize = 65_535;

/// Extents of a resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleShape {
    /// Images.
    pub images: usize,
    /// Rows, columns of the input.
    pub input: [usize; 2],
    /// Rows, columns of the output; images times rows at most 65,535.
    pub output: [usize; 2],
    /// Channels, a multiple of 8.
    pub channels: usize,
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    input: u64,
    out: u64,
    in_pitch: u32,
    out_pitch: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    eights: u32,
    row_scale: f32,
    column_scale: f32,
    unused: u32,
}

/// One resizing, ready to be enqueued: one launch.
#[derive(Clone, Debug)]
pub struct Upsample {
    function: Function,
    launch: Launch,
    params: Params,
    _held: [MapSlice<u16>; 2],
}

impl Upsample {
    /// Loads the kernel and fixes buffers and grid.
    ///
    /// # Errors
    /// When extents do not belong together, or the kernel cannot be loaded.
    pub fn new(
        context: &Arc<Context>,
        shape: &UpsampleShape,
        input: MapSlice<u16>,
        out: MapSlice<u16>,
    ) -> Result<Self, DriverError> {
        let pixels = |[rows, columns]: [usize; 2]| shape.images * rows * columns;
        let rows = shape.images * shape.output[0];
        if pixels(shape.input) == 0
            || pixels(shape.output) == 0
            || rows > MAX_ROWS
            || shape.channels == 0
            || !shape.channels.is_multiple_of(8)
        {
            let (kernel, problem) = (KERNEL, format!("{shape:?}"));
            return Err(DriverError::Arguments { kernel, problem });
        }
        check_map(KERNEL, &input, pixels(shape.input), shape.channels)?;
        check_map(KERNEL, &out, pixels(shape.output), shape.channels)?;
        let eights = shape.channels / 8;
        let scale = |axis: usize| shape.input[axis] as f32 / shape.output[axis] as f32;
        let blocks = (shape.output[1] * eights).div_ceil(THREADS as usize);
        let params = Params {
            input: address_of(&input),
            out: address_of(&out),
            in_pitch: input.pitch as u32,
            out_pitch: out.pitch as u32,
            in_height: shape.input[0] as u32,
            in_width: shape.input[1] as u32,
            out_height: shape.output[0] as u32,
            out_width: shape.output[1] as u32,
            eights: eights as u32,
            row_scale: scale(0),
            column_scale: scale(1),
            unused: 0,
        };
        let module = Module::load(context, &images::UPSAMPLE)?;
        Ok(Self {
            function: module.function("upsample_bilinear", 0)?.overlapping(),
            launch: Launch {
                grid: [blocks as u32, rows as u32, 1],
                threads: THREADS,
                shared_bytes: 0,
            },
            params,
            _held: [input, out],
        })
    }

    /// Enqueues it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors the kernel's parameter; its addresses are those of slices that `self`
        // holds, checked against the extents by `new`.
        unsafe { self.function.launch(stream, self.launch, &self.params) }
    }
}
