//! Launcher of the sparse convolutions of Hopper (SM 9.0).
//!
//! Used through [`sparse_conv`](super::sparse_conv), which checks buffers.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::dense_conv::interleave;
use super::packing::{PackedShape, WeightAt, pack_rows};
use super::sparse_conv::Params;
use crate::driver::{
    DeviceSlice, DriverError, Function, Launch, Module, Stream, TensorMap, TileShape,
};

/// Output rows of a block.
const ROWS: usize = 192;
/// Three warpgroups that multiply and eight warps that gather.
const THREADS: u32 = 640;
/// Rulebook slots that a block expands.
const TAPS: usize = 27;
/// Values of the depth in a step.
const STEP: usize = 64;

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct HopperParams {
    weights: TensorMap,
    conv: Params,
    unused: [u32; 8],
}

// SAFETY: all zeros are valid in every field.
unsafe impl Zeroable for HopperParams {}
// SAFETY: 128, 96 and 32 bytes fill four times the alignment: no padding, any bytes valid.
unsafe impl Pod for HopperParams {}

/// Which kernel runs a convolution and how its weights are packed.
pub(super) struct HopperPlan {
    kernel: &'static str,
    shape: PackedShape,
    stages: usize,
}

impl HopperPlan {
    pub(super) fn choose(shape: PackedShape, dense: bool) -> Option<Self> {
        let of = |rows, map| if dense { map } else { rows };
        let (kernel, stages) = match (shape.inputs, shape.columns) {
            (32, 64) => (
                of("hopper_sparse_conv_32_64", "hopper_sparse_conv_32_64_dense"),
                6,
            ),
            (64, 64) => (
                of("hopper_sparse_conv_64_64", "hopper_sparse_conv_64_64_dense"),
                6,
            ),
            (64, 128) => (
                of(
                    "hopper_sparse_conv_64_128",
                    "hopper_sparse_conv_64_128_dense",
                ),
                5,
            ),
            (128, 128) => (
                of(
                    "hopper_sparse_conv_128_128",
                    "hopper_sparse_conv_128_128_dense",
                ),
                5,
            ),
            _ => return None,
        };
        Some(Self {
            kernel,
            shape,
            stages,
        })
    }

    fn steps(&self) -> usize {
        (self.shape.taps * self.shape.inputs).div_ceil(STEP)
    }

    /// `[step][column][64 values]`: taps and their channels in a row, cut into steps.
    pub(super) fn pack(&self, value: &WeightAt<'_>) -> Vec<u16> {
        let in_steps = PackedShape {
            columns: self.shape.columns,
            taps: self.steps(),
            inputs: STEP,
        };
        let inputs = self.shape.inputs;
        pack_rows(
            in_steps,
            interleave(self.shape.columns),
            &|column, step, at| {
                let depth = step * STEP + at;
                value(column, depth / inputs, depth % inputs)
            },
        )
    }

    fn shared_bytes(&self) -> usize {
        let taps_per_step = (STEP / self.shape.inputs).max(1);
        let sources = TAPS.next_multiple_of(taps_per_step) * ROWS * 4;
        // 1024 more, because a swizzled tile starts at such a multiple.
        self.stages * (ROWS + self.shape.columns) * 2 * STEP + sources + 1024
    }
}

/// One convolution, ready to be enqueued.
#[derive(Clone, Debug)]
pub(super) struct HopperSparse {
    function: Function,
    launch: Launch,
    params: HopperParams,
}

impl HopperSparse {
    pub(super) fn new(
        module: &Arc<Module>,
        plan: &HopperPlan,
        packed: &DeviceSlice<u16>,
        conv: Params,
        capacity: usize,
    ) -> Result<Self, DriverError> {
        let columns = plan.shape.columns;
        let tile = TileShape {
            extents: [STEP, plan.steps() * columns],
            strides: [1, STEP],
            tile: [STEP, columns],
            steps: [1, 1],
        };
        let shared_bytes = plan.shared_bytes();
        Ok(Self {
            function: module.function(plan.kernel, shared_bytes)?.overlapping(),
            launch: Launch {
                grid: [capacity.div_ceil(ROWS).max(1) as u32, 1, 1],
                threads: THREADS,
                shared_bytes: shared_bytes as u32,
            },
            params: HopperParams {
                weights: TensorMap::tiled(packed, &tile)?,
                conv,
                unused: [0; 8],
            },
        })
    }

    pub(super) fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: `HopperParams` mirrors `HopperSparseParams`; the owner of `self` holds the buffers and has
        // checked them against the extents.
        unsafe { self.function.launch(stream, self.launch, &self.params) }
    }
}
