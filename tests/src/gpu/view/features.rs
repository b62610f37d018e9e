//! The first two layers on the depth images, against sums in double precision.

use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::depth_features::{
    DepthFeatureWeights, DepthFeatures, FIRST_CHANNELS, SECOND_CHANNELS, TAPS,
};
use bevfusion_kernels::cuda::depth_image::{DepthImage, DepthImageConfig};
use bevfusion_kernels::cuda::view_tables::ViewTables;
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::depth_image::{BehindCamera, DepthWinner};
use half::f16;

use super::super::random::Random;
use super::cases::{Case, nuscenes};
use super::images::Points;
use crate::report::{Report, Tolerance};

/// Pitch and first channel of the output: the layer writes a slice.
const PITCH: usize = 48;
const CHANNEL: usize = 8;

/// Weights of both layers.
#[derive(Debug)]
pub(super) struct Weights {
    first: [[f32; FIRST_CHANNELS]; 2],
    second: Vec<f32>,
    bias: [f32; SECOND_CHANNELS],
}

impl Weights {
    pub(super) fn random() -> Self {
        let mut random = Random::new(3);
        let mut second = random.values(SECOND_CHANNELS * FIRST_CHANNELS * TAPS, 0.1);
        for weight in &mut second {
            *weight = f16::from_f32(*weight).to_f32();
        }
        Self {
            first: [0.05, 0.5].map(|scale| std::array::from_fn(|_| random.signed() * scale)),
            second,
            bias: std::array::from_fn(|_| random.signed()),
        }
    }

    pub(super) const fn parts(&self) -> DepthFeatureWeights<'_> {
        DepthFeatureWeights {
            first_weight: &self.first[0],
            first_bias: &self.first[1],
            second_weight: self.second.as_slice(),
            second_bias: &self.bias,
        }
    }
}

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    // Multiples of the tile, none, and images smaller than a kernel.
    let mut sizes = vec![[32, 64], [37, 75], [3, 5], [64, 130]];
    if !quick {
        sizes.push([256, 704]);
    }
    for size in sizes {
        let mut case = nuscenes();
        case.config.cameras = 2;
        case.config.frustum.image_size = size;
        compare(stream, &case, report)?;
    }
    Ok(())
}

fn compare(stream: &Stream, case: &Case, report: &mut Report) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let tables = ViewTables::new(context, &arena, &case.config)?;
    let source = Points::random(1).source(&arena, 1)?;
    let config = DepthImageConfig {
        behind_camera: BehindCamera::Drop,
        winner: DepthWinner::Last,
    };
    let image = DepthImage::new(context, &arena, &tables, &source, &config)?;
    let [images, height, width] = image.shape();
    let mut random = Random::new(23);
    let depths: Vec<f32> = (0..images * height * width)
        .map(|_| match random.below(4) {
            0 => 0.5 + 50.0 * random.signed().abs(),
            _ => 0.0,
        })
        .collect();
    // High words must not matter.
    let words = depths.iter().zip(1_u64..);
    let words: Vec<u64> = words
        .map(|(depth, index)| match depth.to_bits() {
            0 => 0,
            bits => index << 32 | u64::from(bits),
        })
        .collect();
    image.map().upload(&words)?;
    let [rows, columns] = DepthFeatures::output_size([height, width]);
    let out = MapSlice {
        data: arena.take_zeroed("features", images * rows * columns * PITCH)?,
        pitch: PITCH,
        channel: CHANNEL,
    };
    let weights = Weights::random();
    let layer = DepthFeatures::new(context, &arena, &image, &weights.parts(), &out)?;
    layer.enqueue(stream)?;
    stream.synchronize()?;
    let got: Vec<f32> = out
        .data
        .download()?
        .iter()
        .map(|bits| f16::from_bits(*bits).to_f32())
        .collect();
    let mut want = vec![0.0; got.len()];
    for (pixel, target) in want.chunks_exact_mut(PITCH).enumerate() {
        let (camera, at) = (pixel / (rows * columns), pixel % (rows * columns));
        let depths = &depths[camera * height * width..][..height * width];
        let place = [at / columns, at % columns];
        weights.sums(depths, [height, width], place, &mut target[CHANNEL..]);
    }
    let name = format!("gpu depth features {height}x{width}");
    report.floats(name, &got, &want, Tolerance::RelativeL2(1e-3));
    Ok(())
}

impl Weights {
    /// The channels of one output pixel.
    fn sums(
        &self,
        depths: &[f32],
        [height, width]: [usize; 2],
        [y, x]: [usize; 2],
        out: &mut [f32],
    ) {
        let along = |start: usize, offset: usize, extent: usize| {
            let place = (start * 4 + offset).checked_sub(2)?;
            (place < extent).then_some(place)
        };
        let mut sums = self.bias.map(f64::from);
        for tap in 0..TAPS {
            let place = along(y, tap / 5, height).zip(along(x, tap % 5, width));
            let Some((row, column)) = place else { continue };
            let depth = depths[row * width + column];
            for input in 0..FIRST_CHANNELS {
                let lifted = self.first[0][input].mul_add(depth, self.first[1][input]);
                let lifted = f64::from(f16::from_f32(lifted.max(0.0)).to_f32());
                for (output, sum) in sums.iter_mut().enumerate() {
                    let weight = self.second[(output * FIRST_CHANNELS + input) * TAPS + tap];
                    *sum += lifted * f64::from(weight);
                }
            }
        }
        for (target, sum) in out.iter_mut().zip(sums) {
            *target = sum.max(0.0) as f32;
        }
    }
}
