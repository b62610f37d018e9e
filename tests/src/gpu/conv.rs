//! Sparse and dense convolutions on the GPU against float32 sums of the same fp16 values.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::{
    ConvChoice, DenseConv, DenseConvBuffers, DenseConvKernels, DenseConvShape, DenseConvWeights,
    DenseTarget, MapSlice,
};
use bevfusion_kernels::cuda::sparse_conv::{
    Activation, SparseConv, SparseConvBuffers, SparseConvKernels, SparseConvTarget,
    SparseConvWeights, padded_channels,
};
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};
use bevfusion_kernels::reference::rulebook::{ConvGeometry, Rulebook};
use bevfusion_kernels::reference::sites::Sites;
use bevfusion_kernels::reference::sparse_conv::{self as twin, Epilogue, sparse_conv};
use bevfusion_kernels::reference::sparse_to_dense::sparse_to_dense;
use bevfusion_kernels::reference::sparse_weights::{PreparedWeights, WeightShape};
use half::f16;

use super::random::Random;
use super::timing::microseconds;
use crate::report::{Report, Tolerance};

/// Rounding of the result to fp16, and of sums in another order.
const HALF: Tolerance = Tolerance::RelativeL2(1e-3);

fn rounded(values: &mut [f32]) {
    for value in values {
        *value = f16::from_f32(*value).to_f32();
    }
}

fn half_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| f16::from_f32(*v).to_bits()).collect()
}

fn floats(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|v| f16::from_bits(*v).to_f32()).collect()
}

/// `[rows, channels]` → `[rows, padded]`.
fn padded(values: &[f32], channels: usize, pitch: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in values.chunks_exact(channels) {
        out.extend_from_slice(row);
        out.resize(out.len() + pitch - channels, 0.0);
    }
    out
}

/// The twin's table as the kernels read it.
fn packed_entries(rules: &Rulebook, kernel: [usize; 3], stride: usize) -> Vec<u32> {
    let [kx, ky, kz] = kernel;
    let mut entries = vec![0_u32; kx * ky * stride];
    for (xy, column) in entries.chunks_exact_mut(stride).enumerate() {
        for (row, entry) in column.iter_mut().take(rules.output_rows()).enumerate() {
            for dz in (0..kz).rev() {
                if let Ok(input) = u32::try_from(rules.column(xy * kz + dz)[row]) {
                    *entry = input << 3 | (*entry & 7) | 1 << dz;
                }
            }
        }
    }
    entries
}

/// One sparse layer with its inputs.
struct SparseCase {
    input: Sites,
    output: Sites,
    rules: Rulebook,
    kernel: [usize; 3],
    channels: [usize; 2],
    residual: bool,
    dense: bool,
}

impl SparseCase {
    fn random(random: &mut Random, sites: usize, geometry: Option<ConvGeometry>) -> Self {
        let shape = [37, 29, 21];
        let mut coords: Vec<[i32; 3]> = (0..sites)
            .map(|_| shape.map(|extent| random.below(extent) as i32))
            .collect();
        coords.sort_unstable();
        coords.dedup();
        let mut input = Sites::default();
        input
            .assign(shape, &coords, &mut Vec::new())
            .expect("distinct sites inside the shape");
        Self::of(input, geometry)
    }

    fn of(input: Sites, geometry: Option<ConvGeometry>) -> Self {
        let (mut rules, mut output) = (Rulebook::default(), Sites::default());
        if let Some(geometry) = &geometry {
            rules.build_strided(geometry, &input, &mut output);
        } else {
            rules.build_submanifold([3; 3], &input);
            output = input.clone();
        }
        Self {
            input,
            output,
            rules,
            kernel: geometry.map_or([3; 3], |geometry| geometry.kernel),
            channels: [16, 16],
            residual: false,
            dense: false,
        }
    }
}

/// Device objects of a sparse layer.
struct SparseRun {
    conv: SparseConv,
    target: bevfusion_kernels::driver::DeviceSlice<u16>,
}

struct SparseData {
    features: Vec<f32>,
    residual: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl SparseData {
    fn random(random: &mut Random, case: &SparseCase) -> Self {
        let [cin, cout] = case.channels;
        let volume: usize = case.kernel.iter().product();
        let mut data = Self {
            features: random.values(case.input.len() * cin, 1.0),
            residual: random.values(case.output.len() * cout, 1.0),
            weight: random.values(cout * volume * cin, 0.1),
            bias: random.values(cout, 0.5),
        };
        rounded(&mut data.features);
        rounded(&mut data.residual);
        rounded(&mut data.weight);
        data
    }
}

fn sparse_run(
    arena: &DeviceArena,
    kernels: &SparseConvKernels,
    case: &SparseCase,
    data: &SparseData,
) -> Result<SparseRun, DriverError> {
    let [cin, cout] = case.channels;
    let [pin, pout] = case.channels.map(padded_channels);
    let stride = case.output.len().next_multiple_of(128).max(128);
    let features = half_bits(&padded(&data.features, cin, pin));
    let residual = half_bits(&padded(&data.residual, cout, pout));
    let [_, size_y, size_z] = case.output.shape();
    let volume: usize = case.output.shape().iter().product();
    let elements = if case.dense { volume } else { stride } * pout;
    let target = arena.take_zeroed("out", elements)?;
    let sites: Vec<u32> = case
        .output
        .coords()
        .iter()
        .map(|[x, y, z]| (*x as u32 * size_y as u32 + *y as u32) * 64 + *z as u32)
        .chain(std::iter::repeat(0))
        .take(stride)
        .collect();
    let rows = case.output.len() as u32;
    let buffers = SparseConvBuffers {
        features: arena.take_with("features", &features)?,
        entries: arena.take_with("entries", &packed_entries(&case.rules, case.kernel, stride))?,
        entry_stride: stride,
        residual: match case.residual {
            true => Some(arena.take_with("residual", &residual)?),
            false => None,
        },
        rows: arena.take_with("rows", &[rows])?,
        target: if case.dense {
            SparseConvTarget::Dense {
                map: target.clone(),
                pitch: pout * size_z,
                channel: 0,
                sites: arena.take_with("sites", &sites)?,
                z_extent: size_z,
            }
        } else {
            SparseConvTarget::Rows(target.clone())
        },
    };
    let weights = SparseConvWeights {
        output: cout,
        input: cin,
        kernel: case.kernel,
        weight: &data.weight,
        bias: &data.bias,
    };
    let conv = SparseConv::new(kernels, arena, &weights, buffers, Activation::Relu)?;
    Ok(SparseRun { conv, target })
}

fn sparse_want(case: &SparseCase, data: &SparseData) -> Vec<f32> {
    let [cin, cout] = case.channels;
    let shape = WeightShape {
        output: cout,
        kernel_volume: case.kernel.iter().product(),
        input: cin,
    };
    let bias: Vec<f64> = data.bias.iter().map(|b| f64::from(*b)).collect();
    let weights = PreparedWeights::folded(shape, &data.weight, &vec![1.0; cout], &bias);
    let epilogue = Epilogue {
        residual: case.residual.then_some(data.residual.as_slice()),
        activation: twin::Activation::Relu,
    };
    let mut rows = Vec::new();
    sparse_conv(&weights, &case.rules, &data.features, &epilogue, &mut rows);
    rows
}

fn sparse(
    stream: &Stream,
    kernels: &SparseConvKernels,
    case: &SparseCase,
    seed: u64,
    report: &mut Report,
) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let data = SparseData::random(&mut Random::new(seed), case);
    let run = sparse_run(&arena, kernels, case, &data)?;
    run.conv.enqueue(stream)?;
    let got = floats(&run.target.download()?);
    let want = sparse_want(case, &data);
    let [cin, cout] = case.channels;
    let pout = padded_channels(cout);
    let name = format!(
        "sparse_conv {cin}->{cout} kernel {:?} rows {} residual {} dense {}",
        case.kernel,
        case.output.len(),
        case.residual,
        case.dense
    );
    if case.dense {
        let mut map = Vec::new();
        sparse_to_dense(&case.output, &want, cout, &mut map);
        let [x, y, z] = case.output.shape();
        let planar: Vec<f32> = (0..cout * z)
            .flat_map(|channel| (0..x * y).map(move |cell| (channel, cell)))
            .map(|(channel, cell)| got[cell * pout * z + channel])
            .collect();
        report.floats(name, &planar, &map, HALF);
    } else {
        let got = &got[..case.output.len() * pout];
        report.floats(name, got, &padded(&want, cout, pout), HALF);
    }
    run.conv.enqueue(stream)?;
    let again = floats(&run.target.download()?);
    report.floats("  again, bit for bit", &again, &got, Tolerance::Exact);
    Ok(())
}

/// A dense layer.
struct DenseCase {
    shape: DenseConvShape,
    real_input: usize,
    addend: bool,
    float: bool,
}

fn dense_want(
    case: &DenseCase,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    addend: &[f32],
) -> Vec<f32> {
    let s = &case.shape;
    let [out_h, out_w] = s.output_size();
    let [gemm_h, gemm_w] = s.gemm_size();
    let taps = s.kernel[0] * s.kernel[1];
    let mut out = vec![0.0_f32; s.images * out_h * out_w * s.padded_output];
    for image in 0..s.images {
        for (y, x) in (0..gemm_h).flat_map(|y| (0..gemm_w).map(move |x| (y, x))) {
            for part in 0..s.upsample * s.upsample {
                let (oy, ox) = (
                    y * s.upsample + part / s.upsample,
                    x * s.upsample + part % s.upsample,
                );
                let pixel = (image * out_h + oy) * out_w + ox;
                for c in 0..s.output_channels {
                    let mut sum = f64::from(bias[c]);
                    for tap in 0..taps {
                        let iy = (y * s.stride + tap / s.kernel[1]) as i64 - s.padding as i64;
                        let ix = (x * s.stride + tap % s.kernel[1]) as i64 - s.padding as i64;
                        if iy < 0 || ix < 0 || iy >= s.input[0] as i64 || ix >= s.input[1] as i64 {
                            continue;
                        }
                        let at = ((image * s.input[0] + iy as usize) * s.input[1] + ix as usize)
                            * s.input_channels;
                        let w = ((part * s.output_channels + c) * taps + tap) * case.real_input;
                        sum += (0..case.real_input)
                            .map(|i| f64::from(input[at + i]) * f64::from(weight[w + i]))
                            .sum::<f64>();
                    }
                    if case.addend {
                        sum += f64::from(addend[pixel * s.padded_output + c]);
                    }
                    out[pixel * s.padded_output + c] = sum.max(0.0) as f32;
                }
            }
        }
    }
    out
}

fn dense(
    stream: &Stream,
    kernels: &DenseConvKernels,
    case: &DenseCase,
    name: &str,
    report: &mut Report,
) -> Result<(), DriverError> {
    let s = &case.shape;
    let arena = DeviceArena::new(stream.context());
    let mut random = Random::new(17);
    let parts = s.upsample * s.upsample;
    let taps = s.kernel[0] * s.kernel[1];
    let pixels = s.images * s.input[0] * s.input[1];
    let mut input = random.values(pixels * s.input_channels, 1.0);
    let mut weight = random.values(parts * s.output_channels * taps * case.real_input, 0.1);
    let bias = random.values(s.output_channels, 0.5);
    let [out_h, out_w] = s.output_size();
    let out_pixels = s.images * out_h * out_w;
    let mut addend = random.values(out_pixels * s.padded_output, 1.0);
    for values in [&mut input, &mut weight, &mut addend] {
        rounded(values);
    }
    for pixel in addend.chunks_exact_mut(s.padded_output) {
        pixel[s.output_channels..].fill(0.0);
    }
    let pitch = s.padded_output + 16;
    let map = |data| MapSlice {
        data,
        pitch,
        channel: 8,
    };
    let half = arena.take_zeroed::<u16>("out", out_pixels * pitch)?;
    let float = arena.take_zeroed::<f32>("out", out_pixels * pitch)?;
    let buffers = DenseConvBuffers {
        input: MapSlice {
            data: arena.take_with("in", &half_bits(&input))?,
            pitch: s.input_channels,
            channel: 0,
        },
        addend: match case.addend {
            true => Some(MapSlice {
                data: arena.take_with("addend", &half_bits(&addend))?,
                pitch: s.padded_output,
                channel: 0,
            }),
            false => None,
        },
        target: if case.float {
            DenseTarget::Float(map(float.clone()))
        } else {
            let half = half.clone();
            DenseTarget::Half(MapSlice {
                data: half,
                pitch,
                channel: 8,
            })
        },
    };
    let weights = DenseConvWeights {
        weight: &|o, t, i| weight[(o * taps + t) * case.real_input + i],
        input_channels: case.real_input,
        bias: &bias,
    };
    let conv = DenseConv::new(kernels, &arena, s, &weights, buffers, Activation::Relu)?;
    conv.enqueue(stream)?;
    let got = if case.float {
        float.download()?
    } else {
        floats(&half.download()?)
    };
    let got: Vec<f32> = got
        .chunks_exact(pitch)
        .flat_map(|pixel| pixel[8..8 + s.padded_output].to_vec())
        .collect();
    let want = dense_want(case, &input, &weight, &bias, &addend);
    report.floats(format!("dense_conv {name} {s:?}"), &got, &want, HALF);
    Ok(())
}

fn dense_cases() -> Vec<DenseCase> {
    let base = DenseConvShape {
        images: 1,
        input: [23, 37],
        input_channels: 64,
        output_channels: 64,
        padded_output: 64,
        kernel: [3, 3],
        stride: 1,
        padding: 1,
        upsample: 1,
    };
    let case = |shape: DenseConvShape| DenseCase {
        shape,
        real_input: shape.input_channels,
        addend: false,
        float: false,
    };
    let mut cases = vec![
        case(base),
        case(DenseConvShape {
            output_channels: 128,
            padded_output: 128,
            ..base
        }),
        case(DenseConvShape {
            input_channels: 128,
            output_channels: 256,
            padded_output: 256,
            stride: 2,
            ..base
        }),
        case(DenseConvShape {
            kernel: [1, 1],
            padding: 0,
            images: 3,
            ..base
        }),
        case(DenseConvShape {
            kernel: [1, 1],
            padding: 0,
            upsample: 2,
            output_channels: 128,
            padded_output: 128,
            ..base
        }),
        case(DenseConvShape {
            kernel: [5, 5],
            padding: 2,
            images: 2,
            ..base
        }),
        case(DenseConvShape {
            input: [1, 1],
            ..base
        }),
    ];
    cases.push(DenseCase {
        shape: DenseConvShape {
            output_channels: 10,
            padded_output: 16,
            ..base
        },
        real_input: 60,
        addend: true,
        float: true,
    });
    cases.push(DenseCase {
        shape: DenseConvShape {
            output_channels: 24,
            padded_output: 32,
            input_channels: 32,
            ..base
        },
        real_input: 24,
        addend: true,
        float: false,
    });
    cases
}

/// Every kernel on small random cases.
///
/// # Errors
/// When the driver refuses.
pub fn run(context: &Arc<Context>, report: &mut Report) -> Result<(), DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    for choice in [ConvChoice::Gather, ConvChoice::Auto] {
        run_sparse(&stream, choice, report)?;
    }
    run_dense(&stream, report)
}

fn run_sparse(stream: &Stream, choice: ConvChoice, report: &mut Report) -> Result<(), DriverError> {
    let kernels = SparseConvKernels::load(stream.context(), choice)?;
    let strided = ConvGeometry {
        kernel: [3; 3],
        stride: [2; 3],
        padding: [1, 1, 0],
    };
    let last = ConvGeometry {
        kernel: [1, 1, 3],
        stride: [1, 1, 2],
        padding: [0; 3],
    };
    let mut random = Random::new(3);
    let pairs = [
        [5, 16],
        [16, 16],
        [16, 32],
        [32, 16],
        [32, 32],
        [32, 64],
        [64, 64],
        [64, 128],
        [128, 128],
    ];
    for (seed, channels) in pairs.into_iter().enumerate() {
        for sites in [1, 700, 4000] {
            for geometry in [None, Some(strided)] {
                let residual = geometry.is_none() && channels[0] == channels[1];
                let case = SparseCase {
                    channels,
                    residual,
                    ..SparseCase::random(&mut random, sites, geometry)
                };
                sparse(stream, &kernels, &case, seed as u64, report)?;
            }
        }
        let case = SparseCase {
            channels,
            dense: true,
            ..SparseCase::random(&mut random, 2500, Some(last))
        };
        sparse(stream, &kernels, &case, seed as u64, report)?;
    }
    Ok(())
}

fn run_dense(stream: &Stream, report: &mut Report) -> Result<(), DriverError> {
    let context = stream.context();
    let gather = DenseConvKernels::load(context, ConvChoice::Gather)?;
    for case in dense_cases() {
        dense(stream, &gather, &case, "gather", report)?;
    }
    if context.info().compute_capability == (9, 0) {
        let hopper = DenseConvKernels::load(context, ConvChoice::Hopper)?;
        for case in dense_cases()
            .iter()
            .filter(|case| case.shape.input_channels % 64 == 0)
        {
            dense(stream, &hopper, case, "hopper", report)?;
        }
    }
    Ok(())
}

/// Times of the encoder's layers on given voxels.
///
/// # Errors
/// When the driver refuses.
pub fn time_encoder(
    context: &Arc<Context>,
    voxels: &[[i32; 3]],
    choice: ConvChoice,
) -> Result<Vec<(String, f64)>, DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let kernels = SparseConvKernels::load(context, choice)?;
    let mut sites = Sites::default();
    sites
        .assign([1440, 1440, 41], voxels, &mut Vec::new())
        .expect("distinct voxels inside the grid");
    let geometry = |padding| ConvGeometry {
        kernel: [3; 3],
        stride: [2; 3],
        padding,
    };
    let levels = [
        ([16, 32], geometry([1; 3])),
        ([32, 64], geometry([1; 3])),
        ([64, 128], geometry([1, 1, 0])),
        (
            [128, 128],
            ConvGeometry {
                kernel: [1, 1, 3],
                stride: [1, 1, 2],
                padding: [0; 3],
            },
        ),
    ];
    let mut times = Vec::new();
    for (index, (channels, down)) in levels.into_iter().enumerate() {
        let own = [channels[0]; 2];
        for residual in [false, true] {
            let case = SparseCase {
                channels: own,
                residual,
                ..SparseCase::of(sites.clone(), None)
            };
            times.push(time_sparse(&stream, &kernels, &case)?);
        }
        let dense = index == 3;
        let case = SparseCase {
            channels,
            dense,
            ..SparseCase::of(sites.clone(), Some(down))
        };
        times.push(time_sparse(&stream, &kernels, &case)?);
        sites = case.output;
    }
    Ok(times)
}

fn time_sparse(
    stream: &Stream,
    kernels: &SparseConvKernels,
    case: &SparseCase,
) -> Result<(String, f64), DriverError> {
    let arena = DeviceArena::new(stream.context());
    let data = SparseData::random(&mut Random::new(1), case);
    let run = sparse_run(&arena, kernels, case, &data)?;
    let time = microseconds(stream, || run.conv.enqueue(stream))?;
    let [cin, cout] = case.channels;
    let gigaflop = 2.0 * case.rules.pairs() as f64 * (cin * cout) as f64 * 1e-9;
    let name = format!(
        "sparse {cin}->{cout} rows {} residual {} {gigaflop:.2} GFLOP",
        case.output.len(),
        case.residual
    );
    Ok((name, time))
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
    let conv = |size: usize, cin, cout, kernel: usize, stride, upsample| DenseConvShape {
        images: 1,
        input: [size; 2],
        input_channels: cin,
        output_channels: cout,
        padded_output: cout,
        kernel: [kernel; 2],
        stride,
        padding: kernel / 2,
        upsample,
    };
    let shapes = [
        conv(180, 256, 128, 3, 1, 1),
        conv(180, 128, 128, 3, 1, 1),
        conv(180, 128, 256, 3, 2, 1),
        conv(90, 256, 256, 3, 1, 1),
        conv(180, 128, 256, 1, 1, 1),
        conv(90, 256, 256, 1, 1, 2),
        conv(180, 512, 128, 3, 1, 1),
        conv(180, 128, 16, 3, 1, 1),
    ];
    let mut times = Vec::new();
    for s in shapes {
        let arena = DeviceArena::new(context);
        let mut random = Random::new(2);
        let input = half_bits(&random.values(s.input[0] * s.input[1] * s.input_channels, 1.0));
        let [h, w] = s.output_size();
        let weights = random.values(1024, 0.1);
        let buffers = DenseConvBuffers {
            input: MapSlice {
                data: arena.take_with("in", &input)?,
                pitch: s.input_channels,
                channel: 0,
            },
            addend: None,
            target: DenseTarget::Half(MapSlice {
                data: arena.take_zeroed("out", h * w * s.padded_output)?,
                pitch: s.padded_output,
                channel: 0,
            }),
        };
        let weights = DenseConvWeights {
            weight: &|o, t, i| weights[(o * 31 + t * 7 + i) % 1024],
            input_channels: s.input_channels,
            bias: &[],
        };
        let layer = DenseConv::new(&kernels, &arena, &s, &weights, buffers, Activation::Relu)?;
        let time = microseconds(&stream, || layer.enqueue(&stream))?;
        let [gh, gw] = s.gemm_size();
        let columns = s.output_channels * s.upsample * s.upsample;
        let flop = 2 * gh * gw * columns * s.kernel[0] * s.kernel[1] * s.input_channels;
        let rate = flop as f64 / time * 1e-6;
        times.push((
            format!(
                "dense {choice:?} {}x{} {}->{} k{} s{} u{} {rate:.0} TFLOP/s",
                s.input[0],
                s.input[1],
                s.input_channels,
                s.output_channels,
                s.kernel[0],
                s.stride,
                s.upsample
            ),
            time,
        ));
    }
    Ok(times)
}
