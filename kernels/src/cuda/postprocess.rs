//! Launcher of `postprocess.cu`: from box codes to detections.
//!
//! In: codes f32 `[10][P]`, scores f32 `[P]`, classes i32 `[P]`, settings. Out: one buffer of 32-bit words,
//! the counts and then P places for detections, of which the first are filled and the others zero; see
//! [`read_output`](super::postprocess_settings::read_output).

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::images;
use super::postprocess_settings::{COUNT_WORDS, PostprocessSettings, RECORD_WORDS};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};
use crate::reference::decode::CODE_SIZE;

/// Threads of the one block, and the largest P.
const MOST: usize = 1024;
/// Bytes of the kernel's shared state; the kernel file counts it the same way.
const SHARED_BYTES: usize = {
    let by_place = 3 * 16 + 8 + 4 + 3 * 2;
    let by_warp = 3 * 4;
    let numbers = 17 * 4 + 12 * 4 + 3 * 4;
    (by_place * MOST + by_warp * MOST / 32 + numbers).next_multiple_of(16)
};

/// What is decoded.
#[derive(Clone, Copy, Debug)]
pub struct PostprocessInputs<'a> {
    /// Box codes `[10][P]`.
    pub bbox_pred: &'a DeviceSlice<f32>,
    /// Scores `[P]`.
    pub score: &'a DeviceSlice<f32>,
    /// Classes `[P]`.
    pub label: &'a DeviceSlice<i32>,
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Params {
    codes: u64,
    score: u64,
    label: u64,
    settings: u64,
    mask: u64,
    pairs: u64,
    output: u64,
    proposals: u32,
    pad: u32,
}

/// Decoding, filters and suppression: one launch.
#[derive(Debug)]
pub struct Postprocess {
    kernel: Function,
    params: Params,
    settings: DeviceSlice<PostprocessSettings>,
    output: DeviceSlice<u32>,
    _held: (
        [DeviceSlice<u32>; 2],
        [DeviceSlice<f32>; 2],
        DeviceSlice<i32>,
    ),
}

impl Postprocess {
    /// Takes memory and loads the kernel; the inputs are read by every run.
    ///
    /// # Errors
    /// When the inputs are of different lengths or too many, or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        settings: &PostprocessSettings,
        inputs: &PostprocessInputs<'_>,
    ) -> Result<Self, DriverError> {
        let proposals = inputs.score.len();
        let lengths = [inputs.bbox_pred.len() / CODE_SIZE, inputs.label.len()];
        if proposals > MOST || lengths != [proposals; 2] {
            return Err(DriverError::Arguments {
                kernel: "postprocess",
                problem: format!("{proposals} scores, {lengths:?} codes and classes"),
            });
        }
        let module = Module::load(context, &images::POSTPROCESS)?;
        let settings = arena.take_with("postprocess settings", std::slice::from_ref(settings))?;
        let mask: DeviceSlice<u32> = arena.take("postprocess mask", 32 * MOST)?;
        let most_pairs = (proposals * proposals.saturating_sub(1) / 2).max(1);
        let pairs: DeviceSlice<u32> = arena.take("postprocess pairs", most_pairs)?;
        let words = COUNT_WORDS + proposals * RECORD_WORDS;
        let output = arena.take_zeroed("detections", words)?;
        Ok(Self {
            kernel: module.function("postprocess", SHARED_BYTES)?.overlapping(),
            params: Params {
                codes: inputs.bbox_pred.address(),
                score: inputs.score.address(),
                label: inputs.label.address(),
                settings: settings.address(),
                mask: mask.address(),
                pairs: pairs.address(),
                output: output.address(),
                proposals: proposals as u32,
                pad: 0,
            },
            settings,
            output,
            _held: (
                [mask, pairs],
                [inputs.bbox_pred.clone(), inputs.score.clone()],
                inputs.label.clone(),
            ),
        })
    }

    /// The settings; writing them between frames changes the next one.
    #[must_use]
    pub const fn settings(&self) -> &DeviceSlice<PostprocessSettings> {
        &self.settings
    }

    /// Counts and detections, to be copied as a whole.
    #[must_use]
    pub const fn output(&self) -> &DeviceSlice<u32> {
        &self.output
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        let launch = Launch {
            grid: [1, 1, 1],
            threads: MOST as u32,
            shared_bytes: SHARED_BYTES as u32,
        };
        // SAFETY: `Params` mirrors the kernel's parameter; its addresses are those of slices that `self`
        // holds, of the extents that `new` took or checked.
        unsafe { self.kernel.launch(stream, launch, &self.params) }
    }
}
