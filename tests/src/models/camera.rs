//! The camera branch: network images, backbone, geometry, depth image, depth net, pooling.

use bevfusion::camera::{CameraMatrices, Matrix4, ViewTransform};
use bevfusion::config::CameraSpec;
use bevfusion::graph::networks::{bev_downsample, camera_backbone, depth_net};
use bevfusion_kernels::reference::image::{ImageView, normalise};

use super::{Case, network, refused};
use crate::golden::{GoldenError, GoldenFile};
use crate::report::{Report, Row};

/// Pixels of the depth image that may differ, as a share of those hit: points on a pixel border.
pub(crate) const BORDER_PIXELS: f64 = 2e-3;

/// Compares every stage and returns the camera BEV map.
pub(super) fn run(
    case: &Case<'_>,
    points: &[f32],
    report: &mut Report,
) -> Result<Vec<f32>, GoldenError> {
    let Some(spec) = &case.config.camera else {
        return Err(refused("camera", &"the golden model has no camera branch"));
    };
    let images = images(case, spec)?;
    case.golden.floats(report, "img.norm", &images)?;
    let features = backbone(case, &images, report)?;
    let mut view = ViewTransform::new(spec);
    geometry(case, &mut view, report)?;
    let depth = depth_image(case, &view, points, report)?;

    let count = spec.camera_order.len();
    let graph =
        depth_net(&case.config, &case.weights, count).map_err(|e| refused("depth_net", &e))?;
    let context = graph
        .outputs
        .last()
        .map_or("", |port| port.name.as_str())
        .to_owned();
    let names = ["lss.dtransform", "lss.depthnet", "lss.depth_prob", &context];
    let tensors = network::run(case, &graph, &[&depth, &features], &names)?;
    for (name, tensor) in names.iter().zip(&tensors).take(3) {
        case.golden.floats(report, name, network::floats(tensor)?)?;
    }
    let mut pooled = Vec::new();
    let (depth_prob, context) = (network::floats(&tensors[2])?, network::floats(&tensors[3])?);
    view.pool(depth_prob, context, &mut pooled)
        .map_err(|e| refused("lss.pool", &e))?;
    case.golden.floats(report, "lss.pool", &pooled)?;

    let graph =
        bev_downsample(&case.config, &case.weights).map_err(|e| refused("bev_downsample", &e))?;
    let Some(graph) = graph else {
        return Ok(pooled);
    };
    let tensors = network::run(case, &graph, &[&pooled], &["lss.out"])?;
    let out = network::floats(&tensors[0])?;
    case.golden.floats(report, "lss.out", out)?;
    Ok(out.to_vec())
}

fn images(case: &Case<'_>, spec: &CameraSpec) -> Result<Vec<f32>, GoldenError> {
    let pixels = case.inputs.u8("in.img_u8")?;
    let [height, width] = spec.image_size;
    let length = 3 * height * width;
    let mut images = vec![0.0; pixels.len()];
    for (image, out) in pixels
        .chunks_exact(length)
        .zip(images.chunks_exact_mut(length))
    {
        let view = ImageView::new(width, height, image).map_err(|e| refused("img.norm", &e))?;
        normalise(view, spec.mean, spec.std, out);
    }
    Ok(images)
}

fn backbone(case: &Case<'_>, images: &[f32], report: &mut Report) -> Result<Vec<f32>, GoldenError> {
    let Some(spec) = &case.config.camera else {
        return Ok(Vec::new());
    };
    let count = spec.camera_order.len();
    let graph = camera_backbone(&case.config, &case.weights, count)
        .map_err(|e| refused("camera_backbone", &e))?;
    let mut names = vec!["swin.patch_embed".to_owned()];
    for stage in 0..spec.backbone.depths.len() {
        names.extend((0..2).map(|block| format!("swin.stage{stage}.block{block}")));
        names.push(format!("swin.stage{stage}.down"));
    }
    names.extend((0..3).map(|map| format!("swin.out{map}")));
    names.extend(["fpn.out1".to_owned(), "fpn.out0".to_owned()]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tensors = network::run(case, &graph, &[images], &names)?;
    for (name, tensor) in names.iter().zip(&tensors) {
        case.golden.floats(report, name, network::floats(tensor)?)?;
    }
    Ok(network::floats(&tensors[names.len() - 1])?.to_vec())
}

fn matrices(inputs: &GoldenFile, name: &str) -> Result<Vec<Matrix4>, GoldenError> {
    let values = inputs.f32(name)?;
    let rows = values.as_chunks::<4>().0;
    Ok(rows.as_chunks::<4>().0.to_vec())
}

/// The matrices of all cameras of a golden frame, and the LiDAR augmentation.
pub(crate) fn camera_matrices(
    inputs: &GoldenFile,
) -> Result<(Vec<CameraMatrices>, Matrix4), GoldenError> {
    let intrinsics = matrices(inputs, "in.cam2img")?;
    let poses = matrices(inputs, "in.cam2lidar")?;
    let projections = matrices(inputs, "in.lidar2img")?;
    let augmentations = matrices(inputs, "in.img_aug_matrix")?;
    let cameras = (0..intrinsics.len())
        .map(|i| CameraMatrices {
            image_from_camera: intrinsics[i],
            lidar_from_camera: poses[i],
            image_from_lidar: projections[i],
            augmentation: augmentations[i],
        })
        .collect();
    Ok((cameras, matrices(inputs, "in.lidar_aug_matrix")?[0]))
}

/// Frustum points on a cell border with the cells that they have in the golden set.
pub(crate) fn border_cells(golden: &GoldenFile) -> Result<Vec<(usize, [i32; 3])>, GoldenError> {
    let index = golden.i64("lss.borderline_index")?;
    let cells = golden.i64("lss.borderline_cell")?;
    let pairs = index.iter().zip(cells.as_chunks::<3>().0);
    Ok(pairs
        .map(|(point, cell)| {
            let point = usize::try_from(*point).unwrap_or(usize::MAX);
            (point, cell.map(|v| v as i32))
        })
        .collect())
}

fn geometry(
    case: &Case<'_>,
    view: &mut ViewTransform,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let (cameras, lidar) = camera_matrices(&case.inputs)?;
    view.set_matrices(&cameras, lidar)
        .map_err(|e| refused("lss.geom", &e))?;
    case.golden.floats(report, "lss.geom", view.geometry())?;

    view.override_cells(border_cells(case.golden.file)?);
    let bounds = (i32::from(i16::MIN), i32::from(i16::MAX));
    let clamped = view
        .cells()
        .as_flattened()
        .iter()
        .map(|v| i64::from((*v).clamp(bounds.0, bounds.1)));
    case.golden
        .integers(report, "lss.cells", &clamped.collect::<Vec<_>>())
}

/// Compares the depth image up to border pixels and returns the golden one.
fn depth_image(
    case: &Case<'_>,
    view: &ViewTransform,
    points: &[f32],
    report: &mut Report,
) -> Result<Vec<f32>, GoldenError> {
    let mut got = vec![0.0; view.depth_image_len()];
    let columns = case.config.points.use_dim.len();
    view.depth_image(points, columns, &mut got)
        .map_err(|e| refused("lss.depth_in", &e))?;
    let want = golden_depth(case.golden.file, got.len())?;
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    let differing = got.iter().zip(&want).filter(|pair| !close(*pair)).count();
    let hit = want.iter().filter(|depth| **depth > 0.0).count();
    report.rows.push(Row {
        stage: format!("{} lss.depth_in", case.golden.model),
        error: differing as f64 / hit.max(1) as f64,
        limit: BORDER_PIXELS,
        note: format!("{differing} of {hit} pixels differ"),
    });
    Ok(want)
}

/// The golden depth images, `[N, 1, H, W]` of `length` values.
pub(crate) fn golden_depth(file: &GoldenFile, length: usize) -> Result<Vec<f32>, GoldenError> {
    if file.has("lss.depth_in") {
        return file.f32("lss.depth_in");
    }
    let mut image = vec![0.0; length];
    let values = file.f32("lss.depth_nonzero_value")?;
    for (index, value) in file.i64("lss.depth_nonzero_index")?.iter().zip(values) {
        let pixel = usize::try_from(*index)
            .ok()
            .and_then(|index| image.get_mut(index));
        *pixel.ok_or_else(|| refused("lss.depth_in", &"golden pixel outside the images"))? = value;
    }
    Ok(image)
}
