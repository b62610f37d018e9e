//! Sparse convolutions against the CPU twin, and their times on given voxels.

use std::sync::Arc;

use bevfusion_kernels::cuda::dense_conv::ConvChoice;
use bevfusion_kernels::cuda::packed_rulebook::PackedShape;
use bevfusion_kernels::cuda::sparse_conv::{
    Activation, SparseConv, SparseConvBuffers, SparseConvKernels, SparseConvTarget,
    SparseConvWeights, padded_channels,
};
use bevfusion_kernels::driver::{Context, DeviceArena, DeviceSlice, DriverError, Priority, Stream};
use bevfusion_kernels::reference::rulebook::{ConvGeometry, Rulebook};
use bevfusion_kernels::reference::sites::Sites;
use bevfusion_kernels::reference::sparse_conv::{self as twin, Epilogue, sparse_conv};
use bevfusion_kernels::reference::sparse_to_dense::sparse_to_dense;
use bevfusion_kernels::reference::sparse_weights::{PreparedWeights, WeightShape};

use super::super::random::Random;
use super::super::timing::microseconds;
use super::HALF;
use super::values::{floats, half_bits, padded, rounded};
use crate::report::{Report, Tolerance};

/// Every kernel on random sites.
pub(super) fn run(
    stream: &Stream,
    choice: ConvChoice,
    quick: bool,
    report: &mut Report,
) -> Result<(), DriverError> {
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
        [50, 16],
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
        let sizes: &[usize] = if quick { &[1, 300] } else { &[1, 700, 4000] };
        for &sites in sizes {
            for geometry in [None, Some(strided)] {
                let residual = geometry.is_none() && channels[0] == channels[1];
                let case = SparseCase {
                    channels,
                    residual,
                    ..SparseCase::random(&mut random, sites, geometry)?
                };
                sparse(stream, &kernels, &case, seed as u64, report)?;
            }
        }
        let case = SparseCase {
            channels,
            dense: true,
            ..SparseCase::random(&mut random, if quick { 200 } else { 2500 }, Some(last))?
        };
        sparse(stream, &kernels, &case, seed as u64, report)?;
    }
    Ok(())
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
    fn random(
        random: &mut Random,
        sites: usize,
        geometry: Option<ConvGeometry>,
    ) -> Result<Self, DriverError> {
        let shape = [37, 29, 21];
        let mut coords: Vec<[i32; 3]> = (0..sites)
            .map(|_| shape.map(|extent| random.below(extent) as i32))
            .collect();
        coords.sort_unstable();
        coords.dedup();
        let mut input = Sites::default();
        let taken = input.assign(shape, &coords, &mut Vec::new());
        taken.map_err(|error| refused(&error))?;
        Ok(Self::of(input, geometry))
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
    target: DeviceSlice<u16>,
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
    let shape = PackedShape::new(case.kernel, stride);
    let Some(entries) = shape.pack(&case.rules) else {
        return Err(refused(&"the rulebook cannot be packed"));
    };
    let buffers = SparseConvBuffers {
        features: arena.take_with("features", &features)?,
        entries: arena.take_with("entries", &entries)?,
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
        .map_err(|error| refused(&error))?;
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

fn refused(problem: &dyn std::fmt::Display) -> DriverError {
    DriverError::Arguments {
        kernel: "sparse_conv",
        problem: problem.to_string(),
    }
}
