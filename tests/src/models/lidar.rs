//! Voxels and the sparse encoder.

use bevfusion::lidar::{LidarEncoder, Voxels, voxelize_params};
use bevfusion_kernels::reference::voxelize::{VoxelOutput, VoxelizeParams, Voxelizer};

use super::{Case, refused};
use crate::golden::GoldenError;
use crate::report::{Report, Tolerance};

/// Rounding of a mean of a few points.
const MEAN: Tolerance = Tolerance::OfMaximum(1e-6);

/// Compares both stages and returns the dense BEV map.
pub(super) fn run(
    case: &Case<'_>,
    points: &[f32],
    report: &mut Report,
) -> Result<Vec<f32>, GoldenError> {
    let voxels = voxelize(case, points, report)?;
    let Some(spec) = &case.config.lidar_encoder else {
        return Err(refused("enc", &"the golden model has no LiDAR encoder"));
    };
    let columns = case.config.points.use_dim.len();
    let mut encoder =
        LidarEncoder::new(spec, columns, &case.weights).map_err(|e| refused("enc", &e))?;
    let mut problem = Ok(());
    let mut observe = |name: &str, coords: &[[i32; 3]], features: &[f32]| {
        let compared = compare(case, report, name, coords, features);
        if problem.is_ok() {
            problem = compared;
        }
    };
    let bev = encoder
        .run(&voxels, Some(&mut observe))
        .map_err(|e| refused("enc", &e))?
        .to_vec();
    problem?;
    case.golden.floats(report, "enc.bev", &bev)?;
    Ok(bev)
}

fn compare(
    case: &Case<'_>,
    report: &mut Report,
    name: &str,
    coords: &[[i32; 3]],
    features: &[f32],
) -> Result<(), GoldenError> {
    // The last stage has no strided convolution: the goldens hold its last block as the stage only.
    if !case.golden.has(&format!("{name}.feats")) {
        return Ok(());
    }
    let coords: Vec<i64> = coords.iter().flatten().map(|v| i64::from(*v)).collect();
    case.golden
        .integers(report, &format!("{name}.coords"), &coords)?;
    case.golden
        .floats(report, &format!("{name}.feats"), features)
}

fn voxelize(case: &Case<'_>, points: &[f32], report: &mut Report) -> Result<Voxels, GoldenError> {
    let params = VoxelizeParams {
        output: VoxelOutput::MeanAndPoints,
        ..voxelize_params(&case.config.voxel)
    };
    let mut voxels = Voxels::default();
    let columns = case.config.points.use_dim.len();
    Voxelizer::default().run(&params, points, columns, &mut voxels);
    let coords: Vec<i64> = voxels
        .coords
        .iter()
        .flatten()
        .map(|v| i64::from(*v))
        .collect();
    case.golden.integers(report, "vox.coords", &coords)?;
    let counts: Vec<i64> = voxels.counts.iter().map(|v| i64::from(*v)).collect();
    case.golden.integers(report, "vox.num", &counts)?;
    if case.golden.has("vox.points") {
        case.golden.floats(report, "vox.points", &voxels.points)?;
    }
    let name = format!("{} vox.mean", case.golden.model);
    if case.golden.file.has("vox.mean") {
        report.floats(name, &voxels.mean, &case.golden.file.f32("vox.mean")?, MEAN);
    } else {
        case.golden.floats(report, "vox.mean", &voxels.mean)?;
    }
    Ok(voxels)
}
