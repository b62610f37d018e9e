//! Launcher of `depth_softmax.cu`: softmax over depth, and the layout of the pooling.
//!
//! In: logits float32 NHWC `[N, h, w, pitch]` and context fp16 NHWC `[N, h, w, pitch]`. Out, on the device:
//! [`LiftedFeatures`]. A camera without an image leaves zeros in both, so that it adds nothing to the pooling
//! and the sums of the others keep their bits.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::MapSlice;
use super::depth_image::ViewFrame;
use super::images;
use super::view_shape::ViewShape;
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};

const THREADS: u32 = 256;

/// What the pooling sums: see [`ViewShape`] for columns and rows.
#[derive(Clone, Debug)]
pub struct LiftedFeatures {
    /// N, h, w, D.
    pub shape: ViewShape,
    /// C, a multiple of 8.
    pub channels: usize,
    /// fp16 `[columns][D][rows]`; zeros in rows beyond h.
    pub probability: DeviceSlice<u16>,
    /// fp16 `[columns][C][rows]`; zeros in rows beyond h.
    pub context: DeviceSlice<u16>,
}

/// What goes in.
#[derive(Clone, Debug)]
pub struct DepthSoftmaxInputs {
    /// `[N, h, w, pitch]`; D values from `channel` on.
    pub logits: MapSlice<f32>,
    /// `[N, h, w, pitch]`; C values from `channel` on.
    pub context: MapSlice<u16>,
    /// The frame's settings.
    pub frame: DeviceSlice<ViewFrame>,
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    frame: u64,
    logits: u64,
    context: u64,
    probability: u64,
    lifted: u64,
    height: u32,
    width: u32,
    depths: u32,
    channels: u32,
    logit_pitch: u32,
    context_pitch: u32,
    row_pairs: u32,
    spare: u32,
}

/// The softmax, ready to be enqueued.
#[derive(Debug)]
pub struct DepthSoftmax {
    kernel: Function,
    launch: Launch,
    params: Params,
    lifted: LiftedFeatures,
    _held: DepthSoftmaxInputs,
}

impl DepthSoftmax {
    /// Takes memory and loads the kernel; every run reads `inputs`.
    ///
    /// # Errors
    /// When extents do not belong together, are beyond the kernel, or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        shape: &ViewShape,
        channels: usize,
        inputs: &DepthSoftmaxInputs,
    ) -> Result<Self, DriverError> {
        check(shape, channels, inputs).map_err(refuse)?;
        let lifted = LiftedFeatures {
            shape: *shape,
            channels,
            probability: arena.take_zeroed("depth probabilities", shape.probability_len())?,
            context: arena.take_zeroed("lifted context", shape.context_len(channels))?,
        };
        let row_pairs = shape.padded_rows() / 2;
        let shared_bytes = (shape.depths + channels) * (row_pairs + 1) * size_of::<u32>();
        let name = match shape.depths {
            ..=128 => "depth_softmax_4",
            129..=256 => "depth_softmax_8",
            _ => "depth_softmax_16",
        };
        let module = Module::load(context, &images::DEPTH_SOFTMAX)?;
        let DepthSoftmaxInputs {
            logits,
            context: values,
            frame,
        } = inputs;
        Ok(Self {
            kernel: module.function(name, shared_bytes)?.overlapping(),
            launch: Launch {
                grid: [shape.columns() as u32, 1, 1],
                threads: THREADS,
                shared_bytes: shared_bytes as u32,
            },
            params: Params {
                frame: frame.address(),
                logits: logits.data.address() + 4 * logits.channel as u64,
                context: values.data.address() + 2 * values.channel as u64,
                probability: lifted.probability.address(),
                lifted: lifted.context.address(),
                height: shape.feature_size[0] as u32,
                width: shape.feature_size[1] as u32,
                depths: shape.depths as u32,
                channels: channels as u32,
                logit_pitch: logits.pitch as u32,
                context_pitch: values.pitch as u32,
                row_pairs: row_pairs as u32,
                spare: 0,
            },
            lifted,
            _held: inputs.clone(),
        })
    }

    /// What it leaves on the device.
    #[must_use]
    pub const fn lifted(&self) -> &LiftedFeatures {
        &self.lifted
    }

    /// One launch.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `Params` mirrors the kernel's parameter; its addresses are those of slices that `self`
        // holds, of the extents that `new` took or checked.
        unsafe { self.kernel.launch(stream, self.launch, &self.params) }
    }
}

fn check(shape: &ViewShape, channels: usize, inputs: &DepthSoftmaxInputs) -> Result<(), String> {
    shape.run_format()?;
    if shape.depths > 512 {
        return Err(format!("{} depths, at most 512 fit in", shape.depths));
    }
    if !channels.is_multiple_of(8) || channels == 0 || channels > 256 {
        return Err(format!(
            "{channels} channels: multiples of 8 up to 256 are supported"
        ));
    }
    let pixels = shape.columns() * shape.feature_size[0];
    let logits = &inputs.logits;
    let values = logits.data.len();
    if logits.channel + shape.depths > logits.pitch || values < pixels * logits.pitch {
        return Err(format!(
            "{values} logits of {pixels} pixels with a pitch of {}",
            logits.pitch
        ));
    }
    let context = &inputs.context;
    let values = context.data.len();
    let aligned = context.pitch.is_multiple_of(8) && context.channel.is_multiple_of(8);
    if !aligned || context.channel + channels > context.pitch || values < pixels * context.pitch {
        return Err(format!(
            "{values} context values of {pixels} pixels with a pitch of {}",
            context.pitch
        ));
    }
    if inputs.frame.is_empty() {
        return Err("no frame settings".to_owned());
    }
    Ok(())
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "depth softmax",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn the_struct_has_the_size_that_the_kernel_assumes() {
        assert_eq!(size_of::<Params>(), 5 * 8 + 8 * 4);
    }
}
