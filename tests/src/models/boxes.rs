//! Decoded and suppressed boxes.

use std::f32::consts::TAU;

use bevfusion::config::{ModelSpec, NmsSpec};
use bevfusion::head::{HeadOutput, postprocess};
use bevfusion::output::Detection;

use super::Case;
use super::noise::Spread;
use crate::golden::GoldenError;
use crate::mmdet;
use crate::report::Report;

/// Numbers of a box.
const BOX: usize = 9;

/// Raw proposals in the golden's order.
pub(super) struct RawHead {
    /// `[10, P]`.
    pub(super) bbox_pred: Vec<f32>,
    /// `[P]`.
    pub(super) score: Vec<f32>,
    /// `[P]`.
    pub(super) label: Vec<i64>,
}

/// Compares the boxes before and after the filters. `noisy` are runs with float32 noise, which say how
/// far a proposal's box may be off.
pub(super) fn run(
    case: &Case<'_>,
    head: &RawHead,
    noisy: &[RawHead],
    report: &mut Report,
) -> Result<(), GoldenError> {
    let everywhere = [-1e9, -1e9, -1e9, 1e9, 1e9, 1e9];
    let range = case.config.postprocess.post_center_range;
    let all = detect(case, head, everywhere, Vec::new());
    let mut boxes = Spread::rows(all.iter().flat_map(|d| flat(d, d.yaw)).collect(), all.len());
    let mut scores = Spread::rows(all.iter().map(|d| d.score).collect(), all.len());
    for other in noisy {
        let other = detect(case, other, everywhere, Vec::new());
        let values: Vec<f32> = other
            .iter()
            .zip(&all)
            .flat_map(|(d, b)| flat(d, b.yaw))
            .collect();
        boxes.add(&values);
        scores.add(&other.iter().map(|d| d.score).collect::<Vec<_>>());
    }
    let allowed = Allowed {
        all: &all,
        boxes: boxes.allowance(),
        scores: scores.allowance(),
    };
    for (name, range, nms) in [
        ("out.all", everywhere, Vec::new()),
        ("out.none", range, Vec::new()),
        ("out.circle", range, vec![mmdet::circle_nms()]),
    ] {
        compare(
            case,
            name,
            &detect(case, head, range, nms),
            &allowed,
            report,
        )?;
    }
    Ok(())
}

/// What each proposal's box and score may be off by.
struct Allowed<'a> {
    all: &'a [Detection],
    boxes: Vec<f32>,
    scores: Vec<f32>,
}

impl Allowed<'_> {
    fn of(&self, detection: &Detection) -> (f32, f32) {
        let place = self.all.iter().position(|other| other == detection);
        place.map_or((0.0, 0.0), |place| {
            (self.boxes[place * BOX], self.scores[place])
        })
    }
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
    allowed: &Allowed<'_>,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let (file, model) = (case.golden.file, case.golden.model);
    let want = file.f32(&format!("{name}.bboxes"))?;
    let rows = want.as_chunks::<BOX>().0;
    let yaw = |index: usize, d: &Detection| rows.get(index).map_or(d.yaw, |row| row[6]);
    let boxes: Vec<f32> = got
        .iter()
        .enumerate()
        .flat_map(|(i, d)| flat(d, yaw(i, d)))
        .collect();
    let own: Vec<f32> = got.iter().flat_map(|d| [allowed.of(d).0; BOX]).collect();
    let stage = format!("{model} {name}.bboxes");
    report.within(stage, (&boxes, &want), (case.limits.boxes, &own), 1.0);

    let scores: Vec<f32> = got.iter().map(|d| d.score).collect();
    let own: Vec<f32> = got.iter().map(|d| allowed.of(d).1).collect();
    let want = file.f32(&format!("{name}.scores"))?;
    let stage = format!("{model} {name}.scores");
    report.within(stage, (&scores, &want), (case.limits.scores, &own), 1.0);

    let labels: Vec<i64> = got.iter().map(|d| i64::from(d.label)).collect();
    let want = file.i64(&format!("{name}.labels"))?;
    report.integers(format!("{model} {name}.labels"), &labels, &want);
    Ok(())
}

/// The nine numbers of a box, the yaw in the turn of the given one.
fn flat(d: &Detection, turn: f32) -> [f32; BOX] {
    let ([x, y, z], [l, w, h], [vx, vy]) = (d.bottom_center, d.size, d.velocity);
    let yaw = d.yaw + TAU * ((turn - d.yaw) / TAU).round();
    [x, y, z, l, w, h, yaw, vx, vy]
}
