//! Decoded and suppressed boxes.

use std::f32::consts::TAU;

use bevfusion::config::{ModelSpec, NmsSpec};
use bevfusion::head::{HeadOutput, postprocess};
use bevfusion::output::Detection;

use super::Case;
use crate::golden::GoldenError;
use crate::mmdet;
use crate::report::{Report, Tolerance};

/// Raw proposals in the golden's order.
pub(super) struct RawHead {
    /// `[10, P]`.
    pub(super) bbox_pred: Vec<f32>,
    /// `[P]`.
    pub(super) score: Vec<f32>,
    /// `[P]`.
    pub(super) label: Vec<i64>,
}

pub(super) fn run(case: &Case<'_>, head: &RawHead, report: &mut Report) -> Result<(), GoldenError> {
    let everywhere = [-1e9, -1e9, -1e9, 1e9, 1e9, 1e9];
    let range = case.config.postprocess.post_center_range;
    for (name, range, nms) in [
        ("out.all", everywhere, Vec::new()),
        ("out.none", range, Vec::new()),
        ("out.circle", range, vec![mmdet::circle_nms()]),
    ] {
        compare(case, name, &detect(case, head, range, nms), report)?;
    }
    Ok(())
}

fn detect(case: &Case<'_>, head: &RawHead, range: [f32; 6], nms: Vec<NmsSpec>) -> Vec<Detection> {
    let mut spec: ModelSpec = (*case.config).clone();
    spec.postprocess.post_center_range = range;
    spec.postprocess.nms = nms;
    let output = HeadOutput {
        bbox_pred: &head.bbox_pred,
        score: &head.score,
        label: &head.label,
    };
    let mut detections = Vec::new();
    postprocess(&spec, &output, &mut detections);
    detections
}

fn compare(
    case: &Case<'_>,
    name: &str,
    got: &[Detection],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let (file, model) = (case.golden.file, case.golden.model);
    let want = file.f32(&format!("{name}.bboxes"))?;
    let rows = want.as_chunks::<9>().0;
    let boxes: Vec<f32> = got
        .iter()
        .enumerate()
        .flat_map(|(i, d)| flat(d, rows.get(i).map_or(d.yaw, |row| row[6])))
        .collect();
    let limit = Tolerance::Absolute(case.limits.boxes);
    report.floats(format!("{model} {name}.bboxes"), &boxes, &want, limit);
    let scores: Vec<f32> = got.iter().map(|d| d.score).collect();
    let limit = Tolerance::Absolute(case.limits.scores);
    let want = file.f32(&format!("{name}.scores"))?;
    report.floats(format!("{model} {name}.scores"), &scores, &want, limit);
    let labels: Vec<i64> = got.iter().map(|d| i64::from(d.label)).collect();
    report.integers(
        format!("{model} {name}.labels"),
        &labels,
        &file.i64(&format!("{name}.labels"))?,
    );
    Ok(())
}

/// The nine numbers of a box, the yaw in the turn of the golden one.
fn flat(d: &Detection, golden_yaw: f32) -> [f32; 9] {
    let ([x, y, z], [l, w, h], [vx, vy]) = (d.bottom_center, d.size, d.velocity);
    let yaw = d.yaw + TAU * ((golden_yaw - d.yaw) / TAU).round();
    [x, y, z, l, w, h, yaw, vx, vy]
}
