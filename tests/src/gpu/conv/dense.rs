//! Dense convolutions against sums in double precision, and their times in the nuScenes model.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::{
    ConvChoice, DenseConv, DenseConvBuffers, DenseConvKernels, DenseConvShape, DenseConvWeights,
    DenseTarget, MapSlice,
};
use bevfusion_kernels::cuda::sparse_conv::Activation;
use bevfusion_kernels::driver::{Context, DeviceArena, DeviceSlice, DriverError, Priority, Stream};

use super::super::random::Random;
use super::super::timing::microseconds;
use super::HALF;
use super::values::{floats, gelu, half_bits, rounded};
use crate::report::Report;

/// Both kernel families on random maps.
pub(super) fn run(stream: &Stream, report: &mut Report) -> Result<(), DriverError> {
    let context = stream.context();
    let gather = DenseConvKernels::load(context, ConvChoice::Gather)?;
    for case in cases() {
        compare(stream, &gather, &case, "gather", report)?;
    }
    if context.info().compute_capability == (9, 0) {
        let hopper = DenseConvKernels::load(context, ConvChoice::Hopper)?;
        for case in cases() {
            compare(stream, &hopper, &case, "hopper", report)?;
        }
    }
    Ok(())
}

/// A layer.
#[derive(Clone, Copy)]
struct Case {
    shape: DenseConvShape,
    real_input: usize,
    addend: bool,
    float: bool,
    activation: Activation,
}

/// A layer's values, all of them fp16 numbers but the bias.
struct Values {
    input: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    addend: Vec<f32>,
}

/// Map pitch over the written channels, and the first channel: the layer writes a slice.
const AROUND: [usize; 2] = [16, 8];

impl Case {
    const fn of(shape: DenseConvShape) -> Self {
        Self {
            shape,
            real_input: shape.input_channels,
            addend: false,
            float: false,
            activation: Activation::Relu,
        }
    }

    fn activate(&self, x: f64) -> f64 {
        match self.activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Gelu => gelu(x),
        }
    }

    fn output_pixels(&self) -> usize {
        self.shape.images * self.shape.output_size().iter().product::<usize>()
    }

    fn values(&self) -> Values {
        let s = &self.shape;
        let mut random = Random::new(17);
        let pixels = s.images * s.input[0] * s.input[1];
        let taps = s.kernel[0] * s.kernel[1] * s.upsample * s.upsample;
        let mut values = Values {
            input: random.values(pixels * s.input_channels, 1.0),
            weight: random.values(s.output_channels * taps * self.real_input, 0.1),
            bias: random.values(s.output_channels, 0.5),
            addend: random.values(self.output_pixels() * s.padded_output, 1.0),
        };
        for part in [&mut values.input, &mut values.weight, &mut values.addend] {
            rounded(part);
        }
        for pixel in values.addend.chunks_exact_mut(s.padded_output) {
            pixel[s.output_channels..].fill(0.0);
        }
        values
    }

    /// Sum over the taps of one output: `part` of the upsampling, channel, GEMM pixel.
    fn sum(&self, v: &Values, [part, channel]: [usize; 2], [image, y, x]: [usize; 3]) -> f64 {
        let s = &self.shape;
        let taps = s.kernel[0] * s.kernel[1];
        let along = |start: usize, offset: usize, extent: usize| {
            let place = (start * s.stride + offset).checked_sub(s.padding)?;
            (place < extent).then_some(place)
        };
        let product = |tap: usize| {
            let row = along(y, tap / s.kernel[1], s.input[0])?;
            let column = along(x, tap % s.kernel[1], s.input[1])?;
            let pixel = (image * s.input[0] + row) * s.input[1] + column;
            let input = &v.input[pixel * s.input_channels..];
            let output = part * s.output_channels + channel;
            let weight = &v.weight[(output * taps + tap) * self.real_input..][..self.real_input];
            let products = weight.iter().zip(input);
            Some(
                products
                    .map(|(w, i)| f64::from(*w) * f64::from(*i))
                    .sum::<f64>(),
            )
        };
        (0..taps).filter_map(product).sum()
    }

    /// `[pixels, padded channels]`.
    fn want(&self, v: &Values) -> Vec<f32> {
        let s = &self.shape;
        let [height, width] = s.output_size();
        let mut out = Vec::with_capacity(self.output_pixels() * s.padded_output);
        for pixel in 0..self.output_pixels() {
            let (image, row, column) = (
                pixel / (height * width),
                pixel / width % height,
                pixel % width,
            );
            let u = s.upsample;
            let part = row % u * u + column % u;
            let place = [image, row / u, column / u];
            out.extend((0..s.padded_output).map(|channel| {
                if channel >= s.output_channels {
                    return 0.0;
                }
                let mut sum = f64::from(v.bias[channel]) + self.sum(v, [part, channel], place);
                if self.addend {
                    sum += f64::from(v.addend[pixel * s.padded_output + channel]);
                }
                self.activate(sum) as f32
            }));
        }
        out
    }
}

/// Memory that a layer writes.
struct Output {
    half: DeviceSlice<u16>,
    float: DeviceSlice<f32>,
    pitch: usize,
}

impl Output {
    fn take(arena: &DeviceArena, case: &Case) -> Result<Self, DriverError> {
        let pitch = case.shape.padded_output + AROUND[0];
        let len = case.output_pixels() * pitch;
        Ok(Self {
            half: arena.take_zeroed("out", len)?,
            float: arena.take_zeroed("out", len)?,
            pitch,
        })
    }

    fn target(&self, case: &Case) -> DenseTarget {
        let (pitch, channel) = (self.pitch, AROUND[1]);
        if case.float {
            let data = self.float.clone();
            return DenseTarget::Float(MapSlice {
                data,
                pitch,
                channel,
            });
        }
        let data = self.half.clone();
        DenseTarget::Half(MapSlice {
            data,
            pitch,
            channel,
        })
    }

    /// The slice that the layer wrote.
    fn download(&self, case: &Case) -> Result<Vec<f32>, DriverError> {
        let all = if case.float {
            self.float.download()?
        } else {
            floats(&self.half.download()?)
        };
        let slice = AROUND[1]..AROUND[1] + case.shape.padded_output;
        let pixels = all.chunks_exact(self.pitch);
        Ok(pixels
            .flat_map(|pixel| pixel[slice.clone()].to_vec())
            .collect())
    }
}

fn compare(
    stream: &Stream,
    kernels: &DenseConvKernels,
    case: &Case,
    name: &str,
    report: &mut Report,
) -> Result<(), DriverError> {
    let (s, v) = (&case.shape, case.values());
    let arena = DeviceArena::new(stream.context());
    let output = Output::take(&arena, case)?;
    let map = |data, pitch| MapSlice {
        data,
        pitch,
        channel: 0,
    };
    let addend = arena.take_with("addend", &half_bits(&v.addend))?;
    let buffers = DenseConvBuffers {
        input: map(
            arena.take_with("in", &half_bits(&v.input))?,
            s.input_channels,
        ),
        addend: case.addend.then(|| map(addend, s.padded_output)),
        target: output.target(case),
    };
    let taps = s.kernel[0] * s.kernel[1];
    let weights = DenseConvWeights {
        weight: &|o, t, i| v.weight[(o * taps + t) * case.real_input + i],
        input_channels: case.real_input,
        bias: &v.bias,
    };
    let conv = DenseConv::new(kernels, &arena, s, &weights, buffers, case.activation)?;
    conv.enqueue(stream)?;
    let (real, activation) = (case.real_input, case.activation);
    let stage = format!("dense_conv {name} {} of {real} {activation:?}", in_words(s));
    report.floats(stage, &output.download(case)?, &case.want(&v), HALF);
    Ok(())
}

fn in_words(s: &DenseConvShape) -> String {
    let [height, width] = s.input;
    let (cin, cout) = (s.input_channels, s.output_channels);
    let (k, stride, up) = (s.kernel[0], s.stride, s.upsample);
    format!(
        "{} x {height}x{width} {cin}->{cout} k{k} s{stride} u{up}",
        s.images
    )
}

/// A square convolution that keeps the size where its stride is 1.
fn square(
    [height, width]: [usize; 2],
    [input, output]: [usize; 2],
    kernel: usize,
) -> DenseConvShape {
    DenseConvShape {
        images: 1,
        input: [height, width],
        input_channels: input,
        output_channels: output,
        padded_output: output.next_multiple_of(16),
        kernel: [kernel; 2],
        stride: 1,
        padding: kernel / 2,
        upsample: 1,
    }
}

fn cases() -> Vec<Case> {
    let small = [23, 37];
    let strided = DenseConvShape {
        stride: 2,
        ..square(small, [128, 256], 3)
    };
    let images = |images, kernel| DenseConvShape {
        images,
        ..square(small, [64, 64], kernel)
    };
    let transposed = DenseConvShape {
        upsample: 2,
        ..square(small, [64, 128], 1)
    };
    let mut cases: Vec<Case> = [
        square(small, [64, 64], 3),
        square(small, [64, 128], 3),
        strided,
        images(3, 1),
        transposed,
        images(2, 5),
        square([1, 1], [64, 64], 3),
    ]
    .map(Case::of)
    .to_vec();
    cases.push(Case {
        real_input: 60,
        addend: true,
        float: true,
        ..Case::of(square(small, [64, 10], 3))
    });
    cases.push(Case {
        real_input: 24,
        addend: true,
        ..Case::of(square(small, [32, 24], 3))
    });
    cases.extend(camera_cases());
    cases
}

/// Layers as the camera networks have them: widths and ends of the channels of their own.
fn camera_cases() -> Vec<Case> {
    let tokens = |images, channels, kernel| DenseConvShape {
        images,
        ..square([9, 25], channels, kernel)
    };
    let layer = |shape, real_input, activation| Case {
        real_input,
        activation,
        ..Case::of(shape)
    };
    let (none, relu, gelu) = (Activation::None, Activation::Relu, Activation::Gelu);
    let mut cases = vec![
        layer(tokens(2, [64, 96], 1), 48, none),
        layer(tokens(2, [96, 288], 1), 96, none),
        layer(tokens(1, [96, 384], 1), 96, gelu),
        layer(tokens(2, [384, 96], 1), 384, gelu),
        layer(tokens(1, [192, 576], 1), 192, none),
        layer(tokens(1, [768, 192], 1), 768, none),
        layer(tokens(1, [64, 40], 1), 64, gelu),
        layer(tokens(1, [32, 64], 5), 32, relu),
        layer(square([41, 30], [96, 80], 3), 80, relu),
        layer(square([41, 30], [352, 256], 3), 336, relu),
        layer(square([41, 30], [352, 256], 5), 336, relu),
        layer(square([20, 30], [320, 256], 3), 320, relu),
    ];
    let residual = layer(tokens(3, [384, 96], 1), 384, none);
    cases.push(Case {
        addend: true,
        ..residual
    });
    cases
}

/// Times of the dense layers of the nuScenes model.
///
/// # Errors
/// When the driver refuses.
pub fn time_dense(
    context: &Arc<Context>,
    choice: ConvChoice,
) -> Result<Vec<(String, f64)>, DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let kernels = DenseConvKernels::load(context, choice)?;
    let (large, small) = ([180, 180], [90, 90]);
    let layers = [
        square(large, [256, 128], 3),
        square(large, [128, 128], 3),
        DenseConvShape {
            stride: 2,
            ..square(large, [128, 256], 3)
        },
        square(small, [256, 256], 3),
        square(large, [128, 256], 1),
        DenseConvShape {
            upsample: 2,
            ..square(small, [256, 256], 1)
        },
        square(large, [512, 128], 3),
        square(large, [128, 16], 3),
    ];
    let lidar = layers.map(|shape| (shape, Activation::Relu));
    let layers = lidar.into_iter().chain(camera_layers());
    layers
        .map(|(shape, activation)| time_layer(&stream, &kernels, shape, activation, choice))
        .collect()
}

/// Layers of the camera networks: patches, the linear layers of each stage, neck, depth, BEV.
fn camera_layers() -> Vec<(DenseConvShape, Activation)> {
    let map = |size, channels, kernel| DenseConvShape {
        images: 6,
        ..square(size, channels, kernel)
    };
    let mut layers = vec![(map([64, 176], [64, 96], 1), Activation::None)];
    for (size, channels) in [
        ([64, 176], 96),
        ([32, 88], 192),
        ([16, 44], 384),
        ([8, 22], 768),
    ] {
        for (input, output, activation) in [
            (channels, 3 * channels, Activation::None),
            (channels, channels, Activation::None),
            (channels, 4 * channels, Activation::Gelu),
            (4 * channels, channels, Activation::None),
        ] {
            layers.push((map(size, [input, output], 1), activation));
        }
    }
    let relu = [
        map([16, 44], [1152, 256], 1),
        map([16, 44], [256, 256], 3),
        map([32, 88], [448, 256], 1),
        map([32, 88], [256, 256], 3),
        map([32, 88], [320, 256], 3),
        square([360, 360], [96, 80], 3),
        DenseConvShape {
            stride: 2,
            ..square([360, 360], [96, 80], 3)
        },
        square([180, 180], [352, 256], 3),
    ];
    layers.extend(relu.map(|shape| (shape, Activation::Relu)));
    layers
}

fn time_layer(
    stream: &Stream,
    kernels: &DenseConvKernels,
    s: DenseConvShape,
    activation: Activation,
    choice: ConvChoice,
) -> Result<(String, f64), DriverError> {
    let arena = DeviceArena::new(stream.context());
    let mut random = Random::new(2);
    let pixels = s.images * s.input[0] * s.input[1];
    let input = random.values(pixels * s.input_channels, 1.0);
    // Channels that only fill up a map have no weights.
    let real = match s.input_channels {
        64 if s.output_channels == 96 => 48,
        96 if s.output_channels == 80 => 80,
        352 => 336,
        all => all,
    };
    let table = random.values(1024, 0.1);
    let case = Case::of(s);
    let buffers = DenseConvBuffers {
        input: MapSlice {
            data: arena.take_with("in", &half_bits(&input))?,
            pitch: s.input_channels,
            channel: 0,
        },
        addend: None,
        target: DenseTarget::Half(MapSlice {
            data: arena.take_zeroed("out", case.output_pixels() * s.padded_output)?,
            pitch: s.padded_output,
            channel: 0,
        }),
    };
    let weights = DenseConvWeights {
        weight: &|o, t, i| table[(o * 31 + t * 7 + i) % table.len()],
        input_channels: real,
        bias: &[],
    };
    let layer = DenseConv::new(kernels, &arena, &s, &weights, buffers, activation)?;
    let time = microseconds(stream, || layer.enqueue(stream))?;
    let columns = s.output_channels * s.upsample * s.upsample;
    let [height, width] = s.gemm_size();
    let products = s.images * height * width * columns * s.kernel[0] * s.kernel[1] * real;
    let rate = 2.0 * products as f64 / time * 1e-6;
    Ok((
        format!("{choice:?} dense {} {rate:.0} TFLOP/s", in_words(&s)),
        time,
    ))
}
