//! Image resampling, LSS geometry, depth image, BEV pooling.

use std::path::Path;

use bevfusion::camera::{
    CameraMatrices, CameraPreprocessor, ImageAug, Interpolation, Matrix4, ViewTransform, Window,
};
use bevfusion::config::{
    CameraSpec, CellRounding, DepthNetForm, DepthWinner, SwinSpec, ViewTransformSpec,
};
use bevfusion::input::RgbImage;
use bevfusion_kernels::reference::bev_pool::{pool_features, pool_features_gradient};
use bevfusion_kernels::reference::pool_table::{PoolGrid, PoolTable, Rounding};
use serde::Deserialize;

use crate::golden::{GoldenError, GoldenFile};
use crate::ops::cases;
use crate::report::{Report, Tolerance};

/// Pillow's rounding may differ by one grey level between versions.
const GREY_LEVEL: Tolerance = Tolerance::Absolute(1.0);
/// One unit in the last place: torch's vector loops add the step in another order.
const FRUSTUM: Tolerance = Tolerance::OfMaximum(1.2e-7);
/// What float32 leaves of a frustum point, as a share of the largest coordinate.
const GEOMETRY: Tolerance = Tolerance::OfMaximum(2e-5);
/// Points on a pixel border may fall to either side.
const DEPTH_PIXELS: f64 = 2.0;

/// Runs every case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    image_aug(dir, report)?;
    lss_geometry(dir, report)?;
    bev_pool(dir, report)
}

#[derive(Deserialize)]
struct ImageAugCase {
    resize: f64,
    resize_dims_wh: [usize; 2],
    crop_ltrb: [isize; 4],
    flip: bool,
    rotate_deg: f64,
    final_dim: [usize; 2],
}

fn image_aug(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<ImageAugCase>(dir, "image_aug")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let stage = format!("ops/image_aug c{index}");
        let shape = file.shape(&format!("c{index}.img"))?;
        let image = RgbImage {
            height: shape[0],
            width: shape[1],
            pixels: file.u8(&format!("c{index}.img"))?,
        };
        let [left, top, ..] = case.crop_ltrb;
        let [height, width] = case.final_dim;
        let aug = ImageAug {
            resize: case.resize,
            resized: case.resize_dims_wh,
            crop: Window {
                left,
                top,
                width,
                height,
            },
            flip: case.flip,
            rotate_deg: case.rotate_deg,
            interpolation: Interpolation::Nearest,
        };
        let whole = ImageAug {
            crop: Window::whole(case.resize_dims_wh[0], case.resize_dims_wh[1]),
            flip: false,
            rotate_deg: 0.0,
            ..aug
        };
        for (name, aug) in [("resized", &whole), ("out", &aug)] {
            let got = CameraPreprocessor::new(&spec(&LssCase::default(), 1))
                .augment(&image, aug)
                .map(<[u8]>::to_vec)
                .map_err(|error| refused(&stage, &error))?;
            let want = file.u8(&format!("c{index}.{name}"))?;
            let stage = format!("{stage} {name}");
            report.doubles(stage, &grey(&got), &grey(&want), GREY_LEVEL);
        }
        let want = file.f32(&format!("c{index}.matrix"))?;
        let got = aug.matrix();
        let stage = format!("{stage} matrix");
        report.floats(stage, got.as_flattened(), &want, Tolerance::OfMaximum(1e-6));
    }
    Ok(())
}

fn grey(levels: &[u8]) -> Vec<f64> {
    levels.iter().map(|level| f64::from(*level)).collect()
}

#[derive(Default, Deserialize)]
struct LssCase {
    image_size: [usize; 2],
    feature_size: [usize; 2],
    xbound: [f64; 3],
    ybound: [f64; 3],
    zbound: [f64; 3],
    dbound: [f64; 3],
}

fn lss_geometry(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<LssCase>(dir, "lss_geometry")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let stage = format!("ops/lss_geometry c{index}");
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let cameras = camera_matrices(&file, &format!("c{index}."))?;
        let augmentation = matrices(&file, &name("lidar_aug_matrix"))?;
        let mut view = ViewTransform::new(&spec(case, cameras.len()));
        view.set_matrices(&cameras, augmentation[0])
            .map_err(|error| refused(&stage, &error))?;
        let want = file.f32(&name("frustum"))?;
        let label = format!("{stage} frustum");
        report.floats(label, view.frustum(), &want, FRUSTUM);
        let want = file.f32(&name("geom"))?;
        report.floats(format!("{stage} geom"), view.geometry(), &want, GEOMETRY);
        let cells: Vec<i64> = view.cells().iter().flatten().map(|v| (*v).into()).collect();
        report.integers(format!("{stage} cells"), &cells, &file.i64(&name("cells"))?);
        let mut depth = vec![0.0; view.depth_image_len()];
        view.depth_image(&file.f32(&name("points"))?, 3, &mut depth)
            .map_err(|error| refused(&stage, &error))?;
        depth_image(
            &format!("{stage} depth"),
            &depth,
            &file.f32(&name("depth"))?,
            report,
        );
    }
    Ok(())
}

/// Counts pixels that differ by more than float32 leaves of a depth.
fn depth_image(stage: &str, got: &[f32], want: &[f32], report: &mut Report) {
    let differs = |(a, b): (&f32, &f32)| f64::from((a - b).abs() > 1e-5 * b.abs().max(1.0));
    let differing: Vec<f64> = got.iter().zip(want).map(differs).collect();
    if got.len() != want.len() {
        report.failure(
            stage,
            format!("{} pixels, expected {}", got.len(), want.len()),
        );
        return;
    }
    let count: f64 = differing.iter().sum();
    let stage = format!("{stage} (pixels that differ)");
    report.doubles(stage, &[count], &[0.0], Tolerance::Absolute(DEPTH_PIXELS));
}

#[derive(Deserialize)]
struct BevPoolCase {
    #[serde(rename = "B")]
    batch: usize,
    #[serde(rename = "D")]
    z: usize,
    #[serde(rename = "X")]
    x: usize,
    #[serde(rename = "Y")]
    y: usize,
}

fn bev_pool(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<BevPoolCase>(dir, "bev_pool")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let channels = file.shape(&name("x"))?[1];
        let features = file.f32(&name("x"))?;
        let cells = file.i64(&name("cells_xyzb"))?;
        let out_gradient = file.f32(&name("grad_out"))?;
        let grid = PoolGrid {
            lower: [0.0; 3],
            cell: [1.0; 3],
            count: [case.x, case.y, case.z],
            rounding: Rounding::Truncate,
        };
        let volume = channels * grid.cells();
        let mut pooled = Vec::new();
        let mut gradient = vec![0.0; features.len()];
        for sample in 0..case.batch {
            let cells = cells_of(&cells, sample);
            let mut table = PoolTable::default();
            table.build(&cells, &grid);
            let mut out = Vec::new();
            pool_features(&features, channels, &table, &grid, &mut out);
            pooled.extend(swap_levels(&out, case.z, channels));
            // The golden map is [C, Z, X, Y], ours [Z·C, X, Y].
            let weights = &out_gradient[sample * volume..(sample + 1) * volume];
            let weights = swap_levels(weights, channels, case.z);
            pool_features_gradient(&weights, channels, &cells, &grid, &mut out);
            for (sum, value) in gradient.iter_mut().zip(&out) {
                *sum += value;
            }
        }
        let stage = format!("ops/bev_pool c{index}");
        let limit = Tolerance::OfMaximum(1e-6);
        report.floats(
            format!("{stage} out"),
            &pooled,
            &file.f32(&name("out"))?,
            limit,
        );
        let want = file.f32(&name("grad_x"))?;
        report.floats(
            format!("{stage} grad_x"),
            &gradient,
            &want,
            Tolerance::Exact,
        );
    }
    Ok(())
}

/// Cells of one sample; points of other samples are put outside.
fn cells_of(cells: &[i64], sample: usize) -> Vec<[i32; 3]> {
    let narrow = |index: i64| i32::try_from(index).unwrap_or(i32::MIN);
    cells
        .as_chunks::<4>()
        .0
        .iter()
        .map(|[x, y, z, batch]| {
            let here = usize::try_from(*batch) == Ok(sample);
            if here {
                [*x, *y, *z].map(narrow)
            } else {
                [i32::MIN; 3]
            }
        })
        .collect()
}

/// `[outer, inner, rest]` to `[inner, outer, rest]`.
fn swap_levels(values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
    let rest = values.len() / (outer * inner).max(1);
    (0..inner)
        .flat_map(|i| (0..outer).map(move |o| (o * inner + i) * rest))
        .flat_map(|start| values[start..start + rest].iter().copied())
        .collect()
}

fn refused(stage: &str, problem: &dyn std::fmt::Display) -> GoldenError {
    GoldenError::Refused {
        stage: stage.into(),
        problem: problem.to_string(),
    }
}

/// 4×4 matrices of a tensor.
fn matrices(file: &GoldenFile, name: &str) -> Result<Vec<Matrix4>, GoldenError> {
    let values = file.f32(name)?;
    let rows = values.as_chunks::<4>().0;
    Ok(rows.as_chunks::<4>().0.to_vec())
}

/// Matrices of all cameras, named as the original does.
fn camera_matrices(file: &GoldenFile, prefix: &str) -> Result<Vec<CameraMatrices>, GoldenError> {
    let read = |name: &str| matrices(file, &format!("{prefix}{name}"));
    let (cam2img, cam2lidar) = (read("cam2img")?, read("cam2lidar")?);
    let (lidar2img, img_aug) = (read("lidar2img")?, read("img_aug_matrix")?);
    let together = cam2img
        .into_iter()
        .zip(cam2lidar)
        .zip(lidar2img)
        .zip(img_aug);
    Ok(together
        .map(
            |(((image_from_camera, lidar_from_camera), image_from_lidar), augmentation)| {
                CameraMatrices {
                    image_from_camera,
                    lidar_from_camera,
                    image_from_lidar,
                    augmentation,
                }
            },
        )
        .collect())
}

/// A camera branch of this geometry; the networks' sizes play no part.
fn spec(case: &LssCase, cameras: usize) -> CameraSpec {
    CameraSpec {
        camera_order: (0..cameras).map(|camera| format!("CAM_{camera}")).collect(),
        image_size: case.image_size,
        resize: 1.0,
        bottom_crop: 0.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        backbone: SwinSpec {
            embed_dims: 0,
            depths: Vec::new(),
            num_heads: Vec::new(),
            window_size: 0,
            mlp_ratio: 0,
        },
        neck_channels: 0,
        view_transform: ViewTransformSpec {
            form: DepthNetForm::Mmdet3d,
            out_channels: 1,
            feature_size: case.feature_size,
            x_bound: case.xbound,
            y_bound: case.ybound,
            z_bound: case.zbound,
            d_bound: case.dbound,
            downsample: 1,
            cell_rounding: CellRounding::Truncate,
            drop_behind_camera: false,
            depth_winner: DepthWinner::Last,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{bev_pool, image_aug, lss_geometry};
    use crate::ops::check;

    #[test]
    fn images_are_augmented_as_pillow_does() {
        check(image_aug);
    }

    #[test]
    fn the_view_geometry_equals_the_original() {
        check(lss_geometry);
    }

    #[test]
    fn pooling_equals_the_original_with_its_gradient() {
        check(bev_pool);
    }
}
