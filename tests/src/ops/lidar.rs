//! Voxelisation and sparse convolution.

use std::path::Path;

use bevfusion::config::VoxelSpec;
use bevfusion::lidar::{Voxels, voxelize_params};
use bevfusion_kernels::reference::rulebook::{ConvGeometry, Rulebook};
use bevfusion_kernels::reference::sites::Sites;
use bevfusion_kernels::reference::sparse_conv::{Activation, Epilogue, sparse_conv};
use bevfusion_kernels::reference::sparse_conv_backward::{
    ForwardPass, SparseConvGradients, sparse_conv_backward,
};
use bevfusion_kernels::reference::sparse_weights::{PreparedWeights, WeightShape};
use bevfusion_kernels::reference::voxelize::{VoxelOutput, Voxelizer};
use serde::Deserialize;

use crate::golden::{GoldenError, GoldenFile};
use crate::ops::cases;
use crate::report::{Report, Tolerance};

const FLOATS: Tolerance = Tolerance::OfMaximum(2e-5);
const MEANS: Tolerance = Tolerance::OfMaximum(1e-6);

/// Runs every case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    hard_voxelize(dir, report)?;
    convolutions(dir, "subm_conv3d", report)?;
    convolutions(dir, "sparse_conv3d", report)
}

#[derive(Deserialize)]
struct VoxelizeCase {
    voxel_size: [f64; 3],
    point_cloud_range: [f64; 6],
    max_num_points: usize,
    max_voxels: usize,
}

fn hard_voxelize(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<VoxelizeCase>(dir, "hard_voxelize")? else {
        return Ok(());
    };
    let (mut voxelizer, mut voxels) = (Voxelizer::default(), Voxels::default());
    for (index, case) in cases.into_iter().enumerate() {
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let stage = |tensor: &str| format!("ops/hard_voxelize c{index} {tensor}");
        let mut params = voxelize_params(&VoxelSpec {
            point_cloud_range: case.point_cloud_range,
            voxel_size: case.voxel_size,
            max_points_per_voxel: case.max_num_points,
            max_voxels: case.max_voxels,
        });
        params.output = VoxelOutput::MeanAndPoints;
        let columns = file.shape(&name("points"))?[1];
        let points = file.f32(&name("points"))?;
        voxelizer.run(&params, &points, columns, &mut voxels);

        let coords = integers(voxels.coords.as_flattened());
        report.integers(stage("coords"), &coords, &file.i64(&name("coords_xyz"))?);
        let counts: Vec<i64> = voxels.counts.iter().map(|c| i64::from(*c)).collect();
        report.integers(stage("counts"), &counts, &file.i64(&name("num_points"))?);
        let want = file.f32(&name("voxels"))?;
        report.floats(stage("points"), &voxels.points, &want, Tolerance::Exact);
        let want = file.f32(&name("mean"))?;
        report.floats(stage("mean"), &voxels.mean, &want, MEANS);
    }
    Ok(())
}

fn integers(values: &[i32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(*v)).collect()
}

#[derive(Deserialize)]
struct ConvCase {
    submanifold: bool,
    spatial_shape: [usize; 3],
    batch: usize,
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
}

/// What all samples of a case give together; rows sorted by (b, x, y, z).
#[derive(Default)]
struct ConvResult {
    coords: Vec<i64>,
    out: Vec<f32>,
    /// Rows in the order of the golden input.
    grad_feats: Vec<f32>,
    grad_weight: Vec<f32>,
}

fn convolutions(dir: &Path, op: &str, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<ConvCase>(dir, op)? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let stage = |tensor: &str| format!("ops/{op} c{index} {tensor}");
        let golden = GoldenOutput::read(&file, index)?;
        let result = match convolve(case, &file, index, &golden.gradient)? {
            Ok(result) => result,
            Err(problem) => {
                report.failure(stage("sites"), problem);
                continue;
            }
        };
        report.integers(stage("coords"), &result.coords, &golden.coords);
        report.floats(stage("out"), &result.out, &golden.out, FLOATS);
        for (tensor, got) in [
            ("grad_feats", &result.grad_feats),
            ("grad_weight", &result.grad_weight),
        ] {
            report.floats(stage(tensor), got, &file.f32(&name(tensor))?, FLOATS);
        }
    }
    Ok(())
}

/// Output rows of a case, sorted by (b, x, y, z): a submanifold case has them in input order.
struct GoldenOutput {
    coords: Vec<i64>,
    out: Vec<f32>,
    gradient: Vec<f32>,
}

impl GoldenOutput {
    fn read(file: &GoldenFile, index: usize) -> Result<Self, GoldenError> {
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let coords = file.i64(&name("out_coords_bxyz"))?;
        let coords = coords.as_chunks::<4>().0;
        let mut order: Vec<usize> = (0..coords.len()).collect();
        order.sort_unstable_by_key(|row| coords[*row]);
        let channels = file.shape(&name("out"))?[1];
        let sorted = |values: Vec<f32>| {
            let row = |row: &usize| values[row * channels..][..channels].to_vec();
            order.iter().flat_map(row).collect()
        };
        Ok(Self {
            coords: order.iter().flat_map(|row| coords[*row]).collect(),
            out: sorted(file.f32(&name("out"))?),
            gradient: sorted(file.f32(&name("grad_out"))?),
        })
    }
}

/// Samples of a batch do not see each other: each is convolved alone, weight gradients add up.
fn convolve(
    case: &ConvCase,
    file: &GoldenFile,
    index: usize,
    gradient: &[f32],
) -> Result<Result<ConvResult, String>, GoldenError> {
    let name = |tensor: &str| format!("c{index}.{tensor}");
    let (coords, feats) = (file.i64(&name("coords_bxyz"))?, file.f32(&name("feats"))?);
    let (weight, shape) = (file.f32(&name("weight"))?, file.shape(&name("weight"))?);
    let inputs = ConvInputs {
        case,
        shape: WeightShape {
            output: shape[0],
            kernel_volume: shape[1] * shape[2] * shape[3],
            input: shape[4],
        },
        weight: &weight,
        coords: &coords,
        feats: &feats,
        gradient,
    };
    let mut result = ConvResult {
        grad_feats: vec![0.0; feats.len()],
        grad_weight: vec![0.0; weight.len()],
        ..ConvResult::default()
    };
    for sample in 0..case.batch {
        if let Err(problem) = inputs.add_sample(sample as i64, &mut result) {
            return Ok(Err(problem));
        }
    }
    Ok(Ok(result))
}

struct ConvInputs<'a> {
    case: &'a ConvCase,
    shape: WeightShape,
    weight: &'a [f32],
    coords: &'a [i64],
    feats: &'a [f32],
    gradient: &'a [f32],
}

impl ConvInputs<'_> {
    fn add_sample(&self, sample: i64, result: &mut ConvResult) -> Result<(), String> {
        let rows: Vec<(usize, [i32; 3])> = self
            .coords
            .as_chunks::<4>()
            .0
            .iter()
            .enumerate()
            .filter(|(_, coord)| coord[0] == sample)
            .map(|(row, [_, x, y, z])| (row, [*x, *y, *z].map(|v| v as i32)))
            .collect();
        let coords: Vec<[i32; 3]> = rows.iter().map(|(_, coord)| *coord).collect();
        let (mut sites, mut order) = (Sites::default(), Vec::new());
        sites
            .assign(self.case.spatial_shape, &coords, &mut order)
            .map_err(|error| error.to_string())?;
        let golden_rows: Vec<usize> = order.iter().map(|row| rows[*row as usize].0).collect();
        let (rules, outputs) = self.rulebook(&sites);

        let input = self.shape.input;
        let row_of = |row: &usize| self.feats[row * input..][..input].iter().copied();
        let features: Vec<f32> = golden_rows.iter().flat_map(row_of).collect();
        let weights = PreparedWeights::plain(self.shape, self.weight);
        let epilogue = Epilogue {
            residual: None,
            activation: Activation::Identity,
        };
        let mut out = Vec::new();
        sparse_conv(&weights, &rules, &features, &epilogue, &mut out);

        let first = result.out.len();
        let gradient = self.gradient.get(first..first + out.len());
        let gradient = gradient.ok_or("more output sites than the golden gradient has rows")?;
        let pass = ForwardPass {
            rules: &rules,
            shape: self.shape,
            weight: self.weight,
            features: &features,
        };
        let mut gradients = SparseConvGradients::default();
        sparse_conv_backward(&pass, gradient, &mut gradients);

        for [x, y, z] in outputs.coords() {
            result.coords.push(sample);
            result.coords.extend(integers(&[*x, *y, *z]));
        }
        result.out.extend(out);
        for (row, values) in golden_rows.iter().zip(gradients.features.chunks(input)) {
            result.grad_feats[row * input..][..input].copy_from_slice(values);
        }
        let sums = result.grad_weight.iter_mut().zip(&gradients.weight);
        sums.for_each(|(sum, value)| *sum += value);
        Ok(())
    }

    fn rulebook(&self, sites: &Sites) -> (Rulebook, Sites) {
        let (mut rules, mut outputs) = (Rulebook::default(), Sites::default());
        let geometry = ConvGeometry {
            kernel: self.case.kernel,
            stride: self.case.stride,
            padding: self.case.padding,
        };
        if self.case.submanifold {
            rules.build_submanifold(self.case.kernel, sites);
            outputs.clone_from(sites);
        } else {
            rules.build_strided(&geometry, sites, &mut outputs);
        }
        (rules, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::{convolutions, hard_voxelize};
    use crate::ops::check;

    #[test]
    fn voxels_equal_the_original() {
        check(hard_voxelize);
    }

    #[test]
    fn sparse_convolutions_equal_the_original_with_their_gradients() {
        for op in ["subm_conv3d", "sparse_conv3d"] {
            check(|dir, report| convolutions(dir, op, report));
        }
    }
}
