//! Targets, assignment, losses.

use std::path::Path;

use bevfusion_training::loss::{
    FocalConfig, HeadLoss, HeadLossConfig, HeadOutputs, HeadShape, Loss, gaussian_focal, head_loss,
    sigmoid_focal, weighted_l1,
};
use bevfusion_training::targets::assign::{CostConfig, center_cost, class_cost, iou_matrix};
use bevfusion_training::targets::heatmap::{draw_gaussian, drawn_radius, gaussian_radius};
use bevfusion_training::targets::{
    BOX_CODE_SIZE, GroundTruth, Proposals, SampleTargets, TargetConfig, assign_targets,
};
use serde_json::Value;

use crate::golden::{GoldenError, GoldenFile, json};
use crate::ops::cases;
use crate::report::{Report, Tolerance};

/// IoU of our clipping in float64 against the original's in float32.
const OVERLAP: Tolerance = Tolerance::Absolute(1e-6);

/// Outputs that make a box code, with their channels.
const BOX_PARTS: [(&str, usize); 5] = [
    ("center", 2),
    ("height", 1),
    ("dim", 3),
    ("rot", 2),
    ("vel", 2),
];

/// Runs every case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    run_heatmap(dir, report)?;
    run_assign(dir, report)?;
    run_losses(dir, report)
}

fn refused(stage: &str, error: &impl std::fmt::Display) -> GoldenError {
    GoldenError::Refused {
        stage: stage.to_owned(),
        problem: error.to_string(),
    }
}

/// A number of the case's settings.
fn setting(case: &Value, key: &str) -> Result<f64, GoldenError> {
    let number = case[key].as_f64();
    number.ok_or_else(|| refused(key, &"the golden settings have no such number"))
}

fn labels(file: &GoldenFile, name: &str) -> Result<Vec<u32>, GoldenError> {
    let values = file.i64(name)?;
    values
        .into_iter()
        .map(|v| u32::try_from(v).map_err(|e| refused(name, &e)))
        .collect()
}

fn boxes(file: &GoldenFile, name: &str) -> Result<Vec<[f32; 9]>, GoldenError> {
    let values = file.f32(name)?;
    Ok(values.as_chunks::<9>().0.to_vec())
}

fn run_heatmap(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, settings)) = cases::<Value>(dir, "gaussian_heatmap")? else {
        return Ok(());
    };
    for (at, case) in settings.iter().enumerate() {
        let stage = format!("ops/gaussian_heatmap c{at}");
        let sizes = file.f32(&format!("c{at}.size_lw"))?;
        let overlap = setting(case, "min_overlap")?;
        let least = setting(case, "min_radius")? as usize;
        let sizes = sizes.as_chunks::<2>().0;
        let radii: Vec<f32> = sizes
            .iter()
            .map(|[l, w]| gaussian_radius(*l, *w, overlap))
            .collect();
        let want = file.f32(&format!("c{at}.radius"))?;
        report.floats(
            format!("{stage} radius"),
            &radii,
            &want,
            Tolerance::OfMaximum(1e-6),
        );
        let drawn: Vec<usize> = radii.iter().map(|r| drawn_radius(*r, least)).collect();
        let want = file.i64(&format!("c{at}.radius_int"))?;
        let as_integers: Vec<i64> = drawn.iter().map(|r| *r as i64).collect();
        report.integers(format!("{stage} radius_int"), &as_integers, &want);

        let shape = file.shape(&format!("c{at}.heatmap"))?;
        let mut map = vec![0.0; shape.iter().product()];
        // The stored centres are (column, row).
        let centers = file.i64(&format!("c{at}.centers"))?;
        for ([column, row], radius) in centers.as_chunks::<2>().0.iter().zip(drawn) {
            draw_gaussian(&mut map, shape[1], [*row, *column], radius);
        }
        let want = file.f32(&format!("c{at}.heatmap"))?;
        report.floats(stage, &map, &want, Tolerance::OfMaximum(1e-7));
    }
    Ok(())
}

fn range_of(case: &Value) -> Result<[f64; 6], GoldenError> {
    let list: Vec<f64> = serde_json::from_value(case["point_cloud_range"].clone())
        .map_err(|e| refused("point_cloud_range", &e))?;
    let six = |_: Vec<f64>| refused("point_cloud_range", &"expected six numbers");
    list.try_into().map_err(six)
}

/// The settings that the costs and targets of `range` need; the grid is that of tiny-CL.
fn target_config(range: [f64; 6]) -> TargetConfig {
    TargetConfig {
        point_cloud_range: range,
        voxel_size: [0.3, 0.3],
        out_size_factor: 8,
        bev_shape: [40, 40],
        num_classes: 10,
        gaussian_overlap: 0.1,
        min_radius: 2,
        cost: CostConfig::default(),
    }
}

fn gt_inds(targets: &SampleTargets) -> Vec<i64> {
    let index = |assigned: &Option<usize>| assigned.map_or(0, |g| g as i64 + 1);
    targets.assigned.iter().map(index).collect()
}

fn run_assign(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, settings)) = cases::<Value>(dir, "hungarian_assign")? else {
        return Ok(());
    };
    for (at, case) in settings.iter().enumerate() {
        let stage = format!("ops/hungarian_assign c{at}");
        let name = |tensor: &str| format!("c{at}.{tensor}");
        let predicted = boxes(&file, &name("pred_boxes"))?;
        let annotated = boxes(&file, &name("gt_boxes"))?;
        let logits = file.f32(&name("cls_logits"))?;
        let classes = labels(&file, &name("gt_labels"))?;
        let config = target_config(range_of(case)?);
        let proposals = Proposals {
            boxes: &predicted,
            logits: &logits,
        };
        let truth = GroundTruth {
            boxes: &annotated,
            labels: &classes,
        };
        let targets = assign_targets(&config, &proposals, &truth);
        let targets = targets.map_err(|e| refused(&stage, &e))?;
        let got = (&config, &proposals, &truth, &targets);
        compare_assignment(&stage, &file, &name, got, report)?;
    }
    Ok(())
}

fn compare_assignment(
    stage: &str,
    file: &GoldenFile,
    name: &dyn Fn(&str) -> String,
    got: (
        &TargetConfig,
        &Proposals<'_>,
        &GroundTruth<'_>,
        &SampleTargets,
    ),
    report: &mut Report,
) -> Result<(), GoldenError> {
    let (config, proposals, truth, targets) = got;
    let want = file.i64(&name("gt_inds"))?;
    report.integers(format!("{stage} gt_inds"), &gt_inds(targets), &want);
    let background = config.num_classes;
    let class = |l: &u32| {
        if *l as usize == background {
            -1
        } else {
            i64::from(*l)
        }
    };
    let classes: Vec<i64> = targets.labels.iter().map(class).collect();
    report.integers(
        format!("{stage} labels"),
        &classes,
        &file.i64(&name("labels"))?,
    );
    if truth.boxes.is_empty() {
        return Ok(());
    }
    let near = Tolerance::OfMaximum(2e-6);
    let (class, center) = partial_costs(config, proposals, truth);
    for (tensor, got, tolerance) in [
        ("cls_cost", &class[..], near),
        ("reg_cost", &center, near),
        ("cost", &targets.cost, near),
        ("iou3d", &iou_matrix(proposals, truth), OVERLAP),
        ("max_overlaps", &targets.ious, OVERLAP),
        ("total_cost", &[total_cost(targets)], near),
    ] {
        let want = file.f32(&name(tensor))?;
        report.floats(format!("{stage} {tensor}"), got, &want, tolerance);
    }
    Ok(())
}

/// Class cost and centre cost of every pair, [P, G].
fn partial_costs(
    config: &TargetConfig,
    proposals: &Proposals<'_>,
    truth: &GroundTruth<'_>,
) -> (Vec<f32>, Vec<f32>) {
    let count = proposals.boxes.len();
    let (mut class, mut center) = (Vec::new(), Vec::new());
    for (p, a) in proposals.boxes.iter().enumerate() {
        for (b, label) in truth.boxes.iter().zip(truth.labels) {
            let logit = proposals.logits[*label as usize * count + p];
            class.push(class_cost(logit, &config.cost));
            let range = &config.point_cloud_range;
            center.push(center_cost([a[0], a[1]], [b[0], b[1]], range, &config.cost));
        }
    }
    (class, center)
}

fn total_cost(targets: &SampleTargets) -> f32 {
    let truths = targets.cost.len() / targets.assigned.len();
    let pairs = targets.assigned.iter().enumerate();
    let costs = pairs.filter_map(|(p, g)| g.map(|g| f64::from(targets.cost[p * truths + g])));
    costs.sum::<f64>() as f32
}

fn run_losses(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, settings)) = cases::<Value>(dir, "losses")? else {
        return Ok(());
    };
    for (at, case) in settings.iter().enumerate() {
        let stage = format!("ops/losses c{at}");
        let name = |tensor: &str| format!("c{at}.{tensor}");
        let average = setting(case, "avg_factor")?;
        let kind = case["loss"].as_str().unwrap_or_default();
        let (loss, gradient) = match kind {
            "GaussianFocalLoss" => {
                let (logits, target) = (file.f32(&name("logits"))?, file.f32(&name("target"))?);
                (gaussian_focal(&logits, &target, average), "grad_logits")
            }
            "FocalLoss(sigmoid)" => {
                let (logits, weights) = (file.f32(&name("logits"))?, file.f32(&name("weights"))?);
                let labels = labels(&file, &name("labels"))?;
                let (alpha, gamma) = (setting(case, "alpha")?, setting(case, "gamma")?);
                let classes = file.shape(&name("logits"))?[1];
                let config = FocalConfig { alpha, gamma };
                let loss = sigmoid_focal(&logits, &labels, &weights, classes, config, average);
                (loss, "grad_logits")
            }
            "L1Loss" => {
                let (pred, target) = (file.f32(&name("pred"))?, file.f32(&name("target"))?);
                let weights = file.f32(&name("weights"))?;
                let weight = setting(case, "loss_weight")?;
                (
                    weighted_l1(&pred, &target, &weights, weight, average),
                    "grad_pred",
                )
            }
            other => return Err(refused(&stage, &format!("unknown loss {other}"))),
        };
        let loss = loss.map_err(|e| refused(&stage, &e))?;
        let (value, want) = ([loss.value], file.f64(&name("loss_f64"))?);
        report.doubles(
            format!("{stage} value"),
            &value,
            &want,
            Tolerance::OfMaximum(1e-6),
        );
        let want = file.f32(&name(gradient))?;
        let near = Tolerance::RelativeL2(1e-4);
        report.floats(format!("{stage} gradient"), &loss.gradient, &want, near);
    }
    Ok(())
}

/// Targets, losses and bias gradients of the model-level files `tiny-CL.loss_{eval,train}`.
///
/// # Errors
/// When a golden file cannot be read.
pub fn run_targets(models_dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    for mode in ["eval", "train"] {
        let path = |form: &str| models_dir.join(format!("tiny-CL.loss_{mode}.{form}"));
        let file = GoldenFile::open(&path("safetensors"))?;
        let settings: Value = json(&path("json"))?;
        let stage = format!("tiny-CL {mode}");
        let targets = compare_targets(&stage, &file, report)?;
        let want = setting(&settings, "matched_ious")?;
        let got = targets.matched_iou;
        report.doubles(
            format!("{stage} matched_iou"),
            &[got],
            &[want],
            Tolerance::Absolute(2e-5),
        );
        // The dense heatmap of the training run is not stored.
        let model = GoldenFile::open(&models_dir.join("tiny-CL.safetensors"))?;
        let dense = if mode == "eval" {
            Some(model.f32("head.dense_heatmap")?)
        } else {
            None
        };
        compare_losses(&stage, &file, &settings, (targets, dense), report)?;
    }
    Ok(())
}

fn compare_targets(
    stage: &str,
    file: &GoldenFile,
    report: &mut Report,
) -> Result<SampleTargets, GoldenError> {
    let config = target_config([-48.0, -48.0, -5.0, 48.0, 48.0, 3.0]);
    let predicted = decoded(file, &config)?;
    let logits = file.f32("head.pred.heatmap")?;
    let (annotated, classes) = (boxes(file, "gt.boxes")?, labels(file, "gt.labels")?);
    let proposals = Proposals {
        boxes: &predicted,
        logits: &logits,
    };
    let truth = GroundTruth {
        boxes: &annotated,
        labels: &classes,
    };
    let want = file.f32("assign.cost")?;
    let near = Tolerance::Absolute(2e-5);
    let targets = assign_targets(&config, &proposals, &truth);
    let targets = targets.map_err(|e| refused(stage, &e))?;
    report.floats(format!("{stage} assign.cost"), &targets.cost, &want, near);
    let want = file.i64("assign.gt_inds")?;
    report.integers(format!("{stage} assign.gt_inds"), &gt_inds(&targets), &want);
    let got: Vec<i64> = targets.labels.iter().map(|l| i64::from(*l)).collect();
    report.integers(format!("{stage} labels"), &got, &file.i64("target.labels")?);
    let got: Vec<i64> = targets.label_weights.iter().map(|w| *w as i64).collect();
    report.integers(
        format!("{stage} label_weights"),
        &got,
        &file.i64("target.label_weights")?,
    );
    report.floats(
        format!("{stage} ious"),
        &targets.ious,
        &file.f32("target.ious")?,
        near,
    );
    for (name, got, tolerance) in [
        (
            "bbox_targets",
            targets.box_targets.as_flattened(),
            Tolerance::OfMaximum(1e-6),
        ),
        (
            "bbox_weights",
            targets.box_weights.as_flattened(),
            Tolerance::Exact,
        ),
        ("heatmap", &targets.heatmap[..], Tolerance::OfMaximum(1e-6)),
    ] {
        let want = file.f32(&format!("target.{name}"))?;
        report.floats(format!("{stage} {name}"), got, &want, tolerance);
    }
    Ok(targets)
}

/// Predicted boxes in metres, bottom centre.
fn decoded(file: &GoldenFile, config: &TargetConfig) -> Result<Vec<[f32; 9]>, GoldenError> {
    let read = |name: &str| file.f32(&format!("head.pred.{name}"));
    let (center, height, dim) = (read("center")?, read("height")?, read("dim")?);
    let (rot, vel) = (read("rot")?, read("vel")?);
    let mut boxes = Vec::new();
    let rows = [center, height, dim, rot, vel].concat();
    config.box_coder().decode_all(&rows, &mut boxes);
    Ok(boxes)
}

/// Loss values and, through the last layers' biases, gradients.
fn compare_losses(
    stage: &str,
    file: &GoldenFile,
    settings: &Value,
    (targets, dense): (SampleTargets, Option<Vec<f32>>),
    report: &mut Report,
) -> Result<(), GoldenError> {
    let shape = HeadShape {
        num_classes: 10,
        num_proposals: 24,
        bev_cells: 1600,
    };
    let mut codes = Vec::new();
    for (name, _) in BOX_PARTS {
        codes.extend(file.f32(&format!("head.pred.{name}"))?);
    }
    let zeros = vec![0.0; targets.heatmap.len()];
    let logits = file.f32("head.pred.heatmap")?;
    let dense_heatmap = dense.as_deref().unwrap_or(&zeros);
    let outputs = HeadOutputs {
        dense_heatmap,
        heatmap: &logits,
        boxes: &codes,
    };
    let loss = head_loss(shape, &outputs, &[targets], &HeadLossConfig::default());
    let loss = loss.map_err(|e| refused(stage, &e))?;

    let mut value = |key: &str, loss: &Loss| -> Result<(), GoldenError> {
        let want = setting(&settings["loss_f64"], key)?;
        let near = Tolerance::OfMaximum(1e-6);
        report.doubles(format!("{stage} {key}"), &[loss.value], &[want], near);
        Ok(())
    };
    value("layer_-1_loss_cls", &loss.class)?;
    value("layer_-1_loss_bbox", &loss.bbox)?;
    if dense.is_some() {
        value("loss_heatmap", &loss.heatmap)?;
    }
    compare_bias_gradients(stage, file, &loss, dense.is_some(), report)
}

/// Gradients of the last layers' biases: those of the outputs summed over positions.
fn compare_bias_gradients(
    stage: &str,
    file: &GoldenFile,
    loss: &HeadLoss,
    with_dense: bool,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let mut bias = |layer: &str, gradient: &[f32], channels: usize| -> Result<(), GoldenError> {
        let per_channel = gradient.chunks_exact(gradient.len() / channels);
        let sums = per_channel.map(|c| c.iter().map(|v| f64::from(*v)).sum());
        let sums: Vec<f64> = sums.collect();
        let want = file.f64(&format!("grad.bbox_head.{layer}.bias"))?;
        report.doubles(
            format!("{stage} grad {layer}"),
            &sums,
            &want,
            Tolerance::RelativeL2(1e-4),
        );
        Ok(())
    };
    bias("prediction_heads.0.heatmap.1", &loss.class.gradient, 10)?;
    if with_dense {
        bias("heatmap_head.1", &loss.heatmap.gradient, 10)?;
    }
    let proposals = loss.bbox.gradient.len() / BOX_CODE_SIZE;
    let mut rest = &loss.bbox.gradient[..];
    for (name, channels) in BOX_PARTS {
        let (part, after) = rest.split_at(channels * proposals);
        bias(&format!("prediction_heads.0.{name}.1"), part, channels)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{run_assign, run_heatmap, run_losses};
    use crate::ops::check;

    #[test]
    fn heatmaps_are_drawn_as_the_original_does() {
        check(run_heatmap);
    }

    #[test]
    fn proposals_are_assigned_as_the_original_does() {
        check(run_assign);
    }

    #[test]
    fn losses_and_their_gradients_equal_the_original() {
        check(run_losses);
    }
}
