//! Which kernel of `hopper_conv.cu` runs a convolution, and which rectangle of output pixels a block gets.
//!
//! Chosen by an estimate of the time from what was measured on an H100: a step takes as long as its products
//! or its loads from the second-level cache, whichever is longer; a wave of blocks pays its start and its
//! stores once, two blocks of a multiprocessor share it.

use super::dense_conv::DenseConvShape;

/// Input channels of a step.
const CHUNK: usize = 64;
/// Input channels of a product.
const PRODUCT: usize = 16;
const MOST_STAGES: usize = 8;
/// Largest extent of a copied box.
const LARGEST_BOX: usize = 256;
/// Shared memory of the rings of a multiprocessor.
const RING_BYTES: usize = 200 << 10;
const SHARED_RING_BYTES: usize = 104 << 10;

/// A kernel of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// Products of 64 rows per warpgroup.
    pub(super) products: usize,
    /// Columns of a block.
    pub(super) columns: usize,
    /// Products of 16 channels in the last chunk.
    tail: usize,
    gelu: bool,
    /// Blocks on a multiprocessor.
    resident: usize,
}

impl Kernel {
    /// Pixels of a block.
    pub(super) const fn rows(&self) -> usize {
        self.products * 2 * 64
    }
}

const fn conv(name: &'static str, products: usize, columns: usize, tail: usize) -> Kernel {
    Kernel {
        name,
        products,
        columns,
        tail,
        gelu: false,
        resident: if products == 1 && columns < 192 { 2 } else { 1 },
    }
}

const fn gelu(kernel: Kernel) -> Kernel {
    Kernel {
        gelu: true,
        ..kernel
    }
}

/// All of them, as the end of the file lists them.
const KERNELS: [Kernel; 27] = [
    conv("hopper_conv_1_16_4", 1, 16, 4),
    conv("hopper_conv_2_16_4", 2, 16, 4),
    conv("hopper_conv_1_32_4", 1, 32, 4),
    conv("hopper_conv_2_32_4", 2, 32, 4),
    conv("hopper_conv_1_64_4", 1, 64, 4),
    conv("hopper_conv_2_64_4", 2, 64, 4),
    conv("hopper_conv_1_64_2", 1, 64, 2),
    conv("hopper_conv_2_64_2", 2, 64, 2),
    conv("hopper_conv_1_80_4", 1, 80, 4),
    conv("hopper_conv_2_80_4", 2, 80, 4),
    conv("hopper_conv_1_80_1", 1, 80, 1),
    conv("hopper_conv_2_80_1", 2, 80, 1),
    conv("hopper_conv_1_96_4", 1, 96, 4),
    conv("hopper_conv_2_96_4", 2, 96, 4),
    conv("hopper_conv_1_96_2", 1, 96, 2),
    conv("hopper_conv_2_96_2", 2, 96, 2),
    conv("hopper_conv_1_96_3", 1, 96, 3),
    conv("hopper_conv_1_128_4", 1, 128, 4),
    conv("hopper_conv_2_128_4", 2, 128, 4),
    conv("hopper_conv_1_128_1", 1, 128, 1),
    conv("hopper_conv_2_128_1", 2, 128, 1),
    conv("hopper_conv_1_192_4", 1, 192, 4),
    gelu(conv("hopper_gelu_1_16_4", 1, 16, 4)),
    gelu(conv("hopper_gelu_1_96_4", 1, 96, 4)),
    gelu(conv("hopper_gelu_1_128_4", 1, 128, 4)),
    gelu(conv("hopper_gelu_1_128_2", 1, 128, 2)),
    gelu(conv("hopper_gelu_2_128_4", 2, 128, 4)),
];

/// A kernel and the rectangle of output pixels of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    pub(super) kernel: Kernel,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) tiles: [usize; 2],
    /// Blocks on a multiprocessor.
    resident: usize,
    /// Of the ring.
    pub(super) stages: usize,
}

impl Tiling {
    /// The one with the shortest estimate; among equals the one with the fewest blocks, then with the
    /// least input around it.
    pub(super) fn choose(
        shape: &DenseConvShape,
        channels: usize,
        is_gelu: bool,
        multiprocessors: usize,
    ) -> Self {
        let tail = (channels.saturating_sub(1) % CHUNK) / PRODUCT + 1;
        let fits = |kernel: &&Kernel| {
            let columns = shape.columns().is_multiple_of(kernel.columns);
            // Without a kernel for the tail the channels beyond are multiplied as zeros.
            columns && kernel.gelu == is_gelu && (kernel.tail == tail || kernel.tail == 4)
        };
        let mut best: Option<([usize; 3], Self)> = None;
        for kernel in KERNELS.iter().filter(fits) {
            let (around, tiling) = rectangle(shape, channels, kernel, multiprocessors);
            let time = nanoseconds(shape, channels, &tiling, multiprocessors);
            let cost = [time, blocks(shape, &tiling), around];
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, tiling));
            }
        }
        // Sixteen columns divide every padded output.
        best.map_or_else(
            || rectangle(shape, channels, &KERNELS[0], multiprocessors).1,
            |(_, tiling)| tiling,
        )
    }
}

/// The rectangle that covers the map with the fewest blocks, then with the least input around it.
fn rectangle(
    shape: &DenseConvShape,
    channels: usize,
    kernel: &Kernel,
    multiprocessors: usize,
) -> (usize, Tiling) {
    let [rows, columns] = shape.gemm_size();
    let room = kernel.rows();
    let most = (LARGEST_BOX / shape.stride).max(1);
    let mut best = Tiling {
        kernel: *kernel,
        height: 1,
        width: 1,
        tiles: [rows, columns],
        resident: 1,
        stages: 1,
    };
    let mut least = [usize::MAX; 2];
    for width in 1..=room.min(columns).min(most) {
        let height = (room / width).min(rows).min(most);
        let tiling = Tiling {
            height,
            width,
            tiles: [rows.div_ceil(height), columns.div_ceil(width)],
            ..best
        };
        let around = (height + shape.kernel[0]) * (width + shape.kernel[1]);
        let cost = [blocks(shape, &tiling), around];
        if cost < least {
            (least, best) = (cost, tiling);
        }
    }
    if blocks(shape, &best) > multiprocessors {
        best.resident = kernel.resident;
    }
    best.stages = stages(shape, channels, &best);
    (least[1], best)
}

fn blocks(shape: &DenseConvShape, tiling: &Tiling) -> usize {
    let [down, across] = tiling.tiles;
    shape.images * down * across * (shape.columns() / tiling.kernel.columns)
}

/// Estimate of the time.
fn nanoseconds(
    shape: &DenseConvShape,
    channels: usize,
    tiling: &Tiling,
    multiprocessors: usize,
) -> usize {
    /// Products and sums of a multiprocessor in a nanosecond.
    const PRODUCTS: usize = 3_200;
    /// Bytes that it loads.
    const LOADED: usize = 80;
    /// Bytes that it stores.
    const STORED: usize = 20;
    /// Start of a wave, from the launch to the first product.
    const START: usize = 1_500;
    let kernel = &tiling.kernel;
    let (rows, columns) = (kernel.rows(), kernel.columns);
    let chunks = channels.div_ceil(CHUNK);
    let multiplied = (chunks - 1) * CHUNK + kernel.tail * PRODUCT;
    let compute = rows * columns * multiplied / PRODUCTS;
    let load = chunks * (rows + columns) * CHUNK * 2 / LOADED;
    let store = tiling.height * tiling.width * columns * 2 / STORED;
    let resident = tiling.resident;
    let waves = blocks(shape, tiling).div_ceil(multiprocessors * resident);
    // The stores of one block hide behind the products of the other one.
    let busy = shape.taps() * (compute.max(load) + compute.min(load) / 8);
    let wave = match resident {
        1 => busy + store + START,
        _ => (2 * busy).max(2 * store) + busy.min(store) / 2 + START,
    };
    waves * wave
}

/// Stages of the ring.
fn stages(shape: &DenseConvShape, channels: usize, tiling: &Tiling) -> usize {
    let steps = shape.taps() * channels.div_ceil(CHUNK);
    let room = match tiling.resident {
        1 => RING_BYTES,
        _ => SHARED_RING_BYTES,
    };
    let stage = (tiling.kernel.rows() + tiling.kernel.columns) * 2 * CHUNK;
    (room / stage).min(steps).min(MOST_STAGES)
}

#[cfg(test)]
mod tests {
    use super::{KERNELS, Tiling};
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
    fn the_bev_maps_of_nuscenes_run_in_one_wave_on_132_multiprocessors() {
        let large = Tiling::choose(&shape(180), 128, false, 132);
        let [down, across] = large.tiles;
        assert!(down * across <= 132 * large.resident, "{large:?}");
    }

    #[test]
    fn a_tile_never_has_more_pixels_than_rows() {
        for size in [1, 7, 40, 90, 180, 408] {
            let tiling = Tiling::choose(&shape(size), 128, false, 132);
            assert!(tiling.height * tiling.width <= tiling.kernel.rows());
            assert!(tiling.tiles[0] * tiling.height >= size);
            assert!(tiling.tiles[1] * tiling.width >= size);
            assert!(tiling.stages >= 1);
        }
    }

    #[test]
    fn the_kernel_for_the_last_channels_is_taken_where_there_is_one() {
        let wide = DenseConvShape {
            output_channels: 80,
            padded_output: 80,
            ..shape(360)
        };
        let kernel = Tiling::choose(&wide, 80, false, 132).kernel;
        assert_eq!((kernel.tail, kernel.columns), (1, 80));
        let kernel = Tiling::choose(&wide, 128, false, 132).kernel;
        assert_eq!((kernel.tail, kernel.columns), (4, 80));
    }

    #[test]
    fn every_width_has_kernels_for_both_epilogues() {
        for is_gelu in [false, true] {
            let sixteen = |k: &&super::Kernel| k.columns == 16 && k.tail == 4 && k.gelu == is_gelu;
            assert!(KERNELS.iter().any(|kernel| sixteen(&kernel)));
        }
    }
}
