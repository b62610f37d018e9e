//! Box coding and suppression.

use std::path::Path;

use bevfusion::config::{
    HeadSpec, HeatmapBorder, ModelSpec, PointsSpec, PostprocessSpec, SweepAlignment, VoxelSpec,
};
use bevfusion::head::{HeadOutput, postprocess};
use bevfusion::output::Detection;
use bevfusion_kernels::reference::circle_nms::circle_nms_squared;
use bevfusion_kernels::reference::decode::BoxCoder;
use bevfusion_kernels::reference::rotated_iou::{BevBox, UprightBox, bev_iou, iou_3d};
use bevfusion_kernels::reference::rotated_nms::{RotatedNmsParams, rotated_nms};
use serde::Deserialize;

use crate::golden::{GoldenError, GoldenFile};
use crate::ops::cases;
use crate::report::{Report, Tolerance};

/// Metres, radians, metres per second.
const BOXES: Tolerance = Tolerance::Absolute(1e-4);
const SCORES: Tolerance = Tolerance::Absolute(2e-6);

/// Runs every case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    bbox_coder(dir, report)?;
    circle_nms(dir, report)?;
    rotated_iou(dir, report)?;
    rotated_suppression(dir, report)
}

#[derive(Deserialize)]
struct CoderCase {
    pc_range: [f64; 2],
    out_size_factor: usize,
    voxel_size: [f64; 2],
    post_center_range: [f32; 6],
    score_threshold: f32,
}

fn bbox_coder(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<CoderCase>(dir, "bbox_coder")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let stage = format!("ops/bbox_coder c{index}");
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let coder = BoxCoder {
            out_size_factor: case.out_size_factor,
            voxel_size: case.voxel_size,
            lower: case.pc_range,
        };
        let boxes = file.f32(&name("boxes"))?;
        let boxes = boxes.as_chunks::<9>().0;
        let encoded: Vec<f32> = boxes.iter().flat_map(|b| coder.encode(*b)).collect();
        let want = file.f32(&name("encoded"))?;
        report.floats(
            format!("{stage} encode"),
            &encoded,
            &want,
            Tolerance::OfMaximum(1e-6),
        );

        let mut bbox_pred = Vec::new();
        for part in ["center", "height", "dim", "rot", "vel"] {
            bbox_pred.extend(file.f32(&name(part))?);
        }
        let (score, label) = best_class(&file.f32(&name("heatmap"))?, bbox_pred.len() / 10);
        let output = HeadOutput {
            bbox_pred: &bbox_pred,
            score: &score,
            label: &label,
        };
        for (part, filtered) in [("all", false), ("filtered", true)] {
            let mut detections = Vec::new();
            postprocess(&coder_model(case, filtered), &output, &mut detections);
            let stage = format!("{stage} {part}");
            compare(&stage, &detections, (&file, &name(part)), report)?;
        }
    }
    Ok(())
}

/// Score and label of each proposal from `[classes, P]`.
fn best_class(heatmap: &[f32], proposals: usize) -> (Vec<f32>, Vec<i64>) {
    let best = |proposal: usize| {
        let classes = heatmap.chunks_exact(proposals).map(|row| row[proposal]);
        classes
            .zip(0_i64..)
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .unwrap_or((0.0, 0))
    };
    (0..proposals).map(best).unzip()
}

/// Boxes, scores and labels against the tensors under a prefix.
fn compare(
    stage: &str,
    detections: &[Detection],
    (file, prefix): (&GoldenFile, &str),
    report: &mut Report,
) -> Result<(), GoldenError> {
    let boxes: Vec<f32> = detections.iter().flat_map(values).collect();
    let scores: Vec<f32> = detections.iter().map(|found| found.score).collect();
    let labels: Vec<i64> = detections.iter().map(|found| found.label.into()).collect();
    let want = file.f32(&format!("{prefix}.bboxes"))?;
    report.floats(format!("{stage} boxes"), &boxes, &want, BOXES);
    let want = file.f32(&format!("{prefix}.scores"))?;
    report.floats(format!("{stage} scores"), &scores, &want, SCORES);
    let want = file.i64(&format!("{prefix}.labels"))?;
    report.integers(format!("{stage} labels"), &labels, &want);
    Ok(())
}

/// x, y, z, l, w, h, yaw, vx, vy.
fn values(found: &Detection) -> [f32; 9] {
    let ([x, y, z], [l, w, h], [vx, vy]) = (found.bottom_center, found.size, found.velocity);
    [x, y, z, l, w, h, found.yaw, vx, vy]
}

#[derive(Deserialize)]
struct CircleCase {
    thresh: f32,
    post_max_size: usize,
}

fn circle_nms(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<CircleCase>(dir, "circle_nms")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let rows = file.f32(&format!("c{index}.dets"))?;
        let (centers, scores): (Vec<[f32; 2]>, Vec<f32>) = rows
            .as_chunks::<3>()
            .0
            .iter()
            .map(|[x, y, score]| ([*x, *y], *score))
            .unzip();
        let mut keep = Vec::new();
        circle_nms_squared(
            &centers,
            &scores,
            case.thresh,
            case.post_max_size,
            &mut keep,
        );
        let want = file.i64(&format!("c{index}.keep"))?;
        report.integers(format!("ops/circle_nms c{index}"), &indices(&keep), &want);
    }
    Ok(())
}

fn indices(keep: &[usize]) -> Vec<i64> {
    keep.iter().map(|index| *index as i64).collect()
}

fn rotated_iou(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<serde::de::IgnoredAny>(dir, "rotated_iou")? else {
        return Ok(());
    };
    for index in 0..cases.len() {
        let name = |tensor: &str| format!("c{index}.{tensor}");
        let (a, b) = (bev(&file, &name("bev_a"))?, bev(&file, &name("bev_b"))?);
        let got: Vec<f32> = pairs(&a, &b).map(|(a, b)| bev_iou(a, b) as f32).collect();
        let want = file.f32(&name("bev_iou"))?;
        let limit = Tolerance::Absolute(1e-5);
        report.floats(format!("ops/rotated_iou c{index} bev"), &got, &want, limit);
        let (a, b) = (
            upright(&file, &name("boxes_a"))?,
            upright(&file, &name("boxes_b"))?,
        );
        let got: Vec<f32> = pairs(&a, &b).map(|(a, b)| iou_3d(a, b) as f32).collect();
        let want = file.f32(&name("iou3d"))?;
        report.floats(format!("ops/rotated_iou c{index} 3d"), &got, &want, limit);
    }
    Ok(())
}

fn pairs<'a, T>(a: &'a [T], b: &'a [T]) -> impl Iterator<Item = (&'a T, &'a T)> {
    a.iter().flat_map(move |a| b.iter().map(move |b| (a, b)))
}

/// Rows x, y, l, w, yaw.
fn bev(file: &GoldenFile, name: &str) -> Result<Vec<BevBox>, GoldenError> {
    let rows = file.f64(name)?;
    Ok(rows
        .as_chunks::<5>()
        .0
        .iter()
        .map(|row| footprint(*row))
        .collect())
}

const fn footprint([x, y, l, w, yaw]: [f64; 5]) -> BevBox {
    BevBox {
        center: [x, y],
        size: [l, w],
        yaw,
    }
}

/// Rows x, y, z of the bottom, l, w, h, yaw, vx, vy.
fn upright(file: &GoldenFile, name: &str) -> Result<Vec<UprightBox>, GoldenError> {
    let rows = file.f64(name)?;
    let boxes = rows.as_chunks::<9>().0.iter();
    Ok(boxes.map(|row| UprightBox::of(*row)).collect())
}

#[derive(Deserialize)]
struct RotatedCase {
    thresh: f64,
    pre_max_size: Option<usize>,
    post_max_size: Option<usize>,
}

fn rotated_suppression(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<RotatedCase>(dir, "rotated_nms")? else {
        return Ok(());
    };
    for (index, case) in cases.iter().enumerate() {
        let boxes = bev(&file, &format!("c{index}.bev"))?;
        let scores = file.f32(&format!("c{index}.scores"))?;
        let params = RotatedNmsParams {
            threshold: case.thresh,
            pre_max_size: case.pre_max_size,
            post_max_size: case.post_max_size,
        };
        let mut keep = Vec::new();
        rotated_nms(&boxes, &scores, &params, &mut keep);
        let want = file.i64(&format!("c{index}.keep"))?;
        report.integers(format!("ops/rotated_nms c{index}"), &indices(&keep), &want);
    }
    Ok(())
}

/// A model with the coder's grid; with the case's filters or with none.
fn coder_model(case: &CoderCase, filtered: bool) -> ModelSpec {
    let ([x, y], [x_size, y_size]) = (case.pc_range, case.voxel_size);
    let everywhere = [f32::MIN, f32::MIN, f32::MIN, f32::MAX, f32::MAX, f32::MAX];
    let class_names: Vec<String> = (0..10).map(|class| format!("class_{class}")).collect();
    // One distance bin that holds everything turns its thresholds into a plain score threshold.
    let (post_center_range, distance_bin_upper_limits) = if filtered {
        (case.post_center_range, vec![1e9])
    } else {
        (everywhere, Vec::new())
    };
    ModelSpec {
        name: "bbox_coder".into(),
        points: PointsSpec {
            load_dim: 5,
            use_dim: vec![0, 1, 2, 3, 4],
            time_column: 4,
            sweeps_num: 0,
            remove_close: 1.0,
            sweep_alignment: SweepAlignment::Rigid,
        },
        voxel: VoxelSpec {
            point_cloud_range: [x, y, -5.0, -x, -y, 3.0],
            voxel_size: [x_size, y_size, 0.2],
            max_points_per_voxel: 10,
            max_voxels: 160_000,
        },
        lidar_encoder: None,
        camera: None,
        fuser: None,
        bev_decoder: None,
        head: HeadSpec {
            num_proposals: 12,
            hidden_channels: 0,
            num_heads: 0,
            ffn_channels: 0,
            num_decoder_layers: 0,
            prediction_channels: 0,
            out_size_factor: case.out_size_factor,
            nms_kernel_size: 3,
            dense_heatmap_pooling_classes: Vec::new(),
            heatmap_border: HeatmapBorder::Suppress,
        },
        postprocess: PostprocessSpec {
            post_center_range,
            distance_bin_upper_limits,
            min_confidence_scores: vec![vec![case.score_threshold]; class_names.len()],
            yaw_norm_thresholds: Vec::new(),
            nms: Vec::new(),
            class_remapper: None,
        },
        class_names,
    }
}

#[cfg(test)]
mod tests {
    use super::{bbox_coder, circle_nms, rotated_iou, rotated_suppression};
    use crate::ops::check;

    #[test]
    fn boxes_are_coded_as_the_original_does() {
        check(bbox_coder);
    }

    #[test]
    fn circle_suppression_keeps_what_the_original_keeps() {
        check(circle_nms);
    }

    #[test]
    fn overlaps_equal_the_original() {
        check(rotated_iou);
    }

    #[test]
    fn rotated_suppression_keeps_what_the_original_keeps() {
        check(rotated_suppression);
    }
}
