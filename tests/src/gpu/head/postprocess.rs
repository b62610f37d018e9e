//! Decoding, filters, suppression and class changes against the CPU path: kept boxes, their order and all
//! counts must be equal, values to a few roundings of the transcendental functions.

use std::error::Error;
use std::sync::Arc;

use bevfusion::config::{ClassRemapperSpec, ModelSpec, NmsSpec};
use bevfusion::head::{HeadOutput, counts_of, detection_of, device_settings, postprocess};
use bevfusion::output::Detection;
use bevfusion_kernels::cuda::postprocess::{Postprocess, PostprocessInputs};
use bevfusion_kernels::cuda::postprocess_settings::read_output;
use bevfusion_kernels::driver::{Context, DeviceArena, Priority, Stream};

use super::Scope;
use super::fixture::uniform;
use crate::report::{Report, Tolerance};
use crate::specs::preset;

/// Codes, scores and classes.
pub(super) struct Raw {
    pub(super) bbox_pred: Vec<f32>,
    pub(super) score: Vec<f32>,
    pub(super) label: Vec<i32>,
}

/// Proposals around a few places, with ties in the score and, if `broken`, senseless values.
pub(super) fn raw(seed: u64, proposals: usize, spread: f64, broken: bool) -> Raw {
    let limits: [[f64; 2]; 10] = [
        [90.0 - spread, 90.0 + spread],
        [90.0 - spread, 90.0 + spread],
        [-2.0, 2.0],
        [0.3, 2.2],
        [0.0, 1.2],
        [0.2, 1.0],
        [-1.0, 1.0],
        [-1.0, 1.0],
        [-5.0, 5.0],
        [-5.0, 5.0],
    ];
    let value = |channel: usize, at: usize| {
        let index = channel * proposals + at;
        match (broken, uniform(seed, index, [0.0, 1.0])) {
            (true, chance) if chance < 0.004 => f32::NAN,
            (true, chance) if chance < 0.008 => f32::INFINITY,
            _ => uniform(seed + 1, index, limits[channel]),
        }
    };
    let codes = (0..10).flat_map(|channel| (0..proposals).map(move |at| (channel, at)));
    let score = |at: usize| (uniform(seed + 2, at, [0.0, 1.0]) * 40.0).round() / 40.0;
    let label = |at: usize| {
        let most = if broken { 10.5 } else { 10.0 };
        uniform(seed + 3, at, [if broken { -0.5 } else { 0.0 }, most]).floor() as i32
    };
    Raw {
        bbox_pred: codes.map(|(channel, at)| value(channel, at)).collect(),
        score: (0..proposals).map(score).collect(),
        label: (0..proposals).map(label).collect(),
    }
}

fn groups(names: &[&[&str]]) -> Vec<Vec<String>> {
    let group = |names: &&[&str]| names.iter().map(|name| (*name).into()).collect();
    names.iter().map(group).collect()
}

/// Every kind of suppression, alone and one after the other.
pub(super) fn suppressions() -> Vec<(&'static str, Vec<NmsSpec>)> {
    let circle = |names: &[&[&str]], threshold, post_max_size| NmsSpec::CircleSquared {
        groups: groups(names),
        threshold,
        post_max_size,
    };
    let rotated = |names: &[&[&str]], threshold, pre_max_size, post_max_size| NmsSpec::Rotated {
        groups: groups(names),
        threshold,
        pre_max_size,
        post_max_size,
    };
    let distance = |limit| NmsSpec::CircleDistance {
        circle_nms_dist_threshold: limit,
    };
    let bev = |search, threshold| NmsSpec::IouBev {
        iou_nms_search_distance_2d: search,
        iou_nms_threshold: threshold,
    };
    let six: &[&[&str]] = &[
        &["car"],
        &["truck", "construction_vehicle"],
        &["bus", "trailer"],
        &["barrier"],
        &["motorcycle", "bicycle"],
        &["pedestrian", "traffic_cone"],
    ];
    let sharing: &[&[&str]] = &[&["car", "truck"], &["truck", "bus", "pedestrian"]];
    vec![
        ("none", vec![]),
        (
            "circle squared",
            vec![circle(&[&["pedestrian"], &["traffic_cone"]], 0.175, 83)],
        ),
        ("circle squared capped", vec![circle(six, 4.0, 5)]),
        ("rotated", vec![rotated(six, 0.2, None, None)]),
        (
            "rotated capped",
            vec![rotated(six, 0.05, Some(30), Some(6))],
        ),
        (
            "rotated sharing",
            vec![rotated(sharing, 0.1, None, Some(40))],
        ),
        ("rotated zero", vec![rotated(&[&["car"]], 0.0, None, None)]),
        ("circle distance", vec![distance(0.8)]),
        ("bev overlap", vec![bev(10.0, 0.1)]),
        ("bev near", vec![bev(1.5, 0.3)]),
        (
            "all",
            vec![
                rotated(six, 0.5, None, None),
                circle(six, 0.5, 83),
                distance(0.6),
                bev(10.0, 0.2),
            ],
        ),
    ]
}

/// Autoware's labels, with one that the model lacks.
pub(super) fn remapper() -> ClassRemapperSpec {
    let labels = [
        "UNKNOWN",
        "CAR",
        "TRUCK",
        "BUS",
        "TRAILER",
        "MOTORCYCLE",
        "BICYCLE",
        "PEDESTRIAN",
    ];
    let width = labels.len();
    let (mut allowed, mut least, mut most) = (
        vec![0; width * width],
        vec![0.0; width * width],
        vec![0.0; width * width],
    );
    for (from, to, [low, high]) in [
        (1, 2, [12.1, 20.0]),
        (1, 4, [20.0, 1e4]),
        (2, 1, [0.0, 8.0]),
        (3, 3, [0.0, 1e4]),
        (3, 2, [0.0, 1e4]),
        (7, 0, [6.0, 1e4]),
    ] {
        allowed[from * width + to] = 1;
        least[from * width + to] = low;
        most[from * width + to] = high;
    }
    ClassRemapperSpec {
        labels: labels.map(String::from).into(),
        allow_remapping_by_area_matrix: allowed,
        min_area_matrix: least,
        max_area_matrix: most,
    }
}

fn model(steps: Vec<NmsSpec>, with_filters: bool) -> ModelSpec {
    let mut spec = preset("nuscenes_L");
    spec.postprocess.nms = steps;
    spec.postprocess.class_remapper = with_filters.then(remapper);
    if with_filters {
        spec.postprocess.yaw_norm_thresholds = vec![0.3, 0.3, 0.3, 0.3, 0.0, 0.2];
        spec.postprocess.distance_bin_upper_limits = vec![5.0, 10.0, 15.0];
        spec.postprocess.min_confidence_scores = vec![vec![0.1, 0.2, 0.1]; 9];
    }
    spec
}

pub(super) fn run(
    context: &Arc<Context>,
    scope: Scope,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let counts: &[usize] = match scope {
        Scope::Full => &[0, 1, 33, 200, 500, 1024],
        Scope::Quick => &[1, 150],
    };
    for (at, (name, steps)) in suppressions().into_iter().enumerate() {
        for with_filters in [false, true] {
            let spec = model(steps.clone(), with_filters);
            for proposals in counts {
                let raw = raw(100 * at as u64, *proposals, 12.0, with_filters);
                let filters = if with_filters { " filters" } else { "" };
                let stage = format!("gpu postprocess {name}{filters} P={proposals}");
                compare(context, &spec, &raw, (&stage, report))?;
            }
        }
    }
    let spec = model(
        suppressions()
            .pop()
            .map(|(_, steps)| steps)
            .unwrap_or_default(),
        false,
    );
    let crowd = raw(7, *counts.last().unwrap_or(&1), 1.0, false);
    compare(context, &spec, &crowd, ("gpu postprocess crowd", report))?;
    same_box(context, report)
}

/// Copies of one box: every pair is a tie in place, overlap and score.
fn same_box(context: &Arc<Context>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    for (name, steps) in suppressions() {
        let mut copies = raw(3, 64, 1.0, false);
        for row in copies.bbox_pred.chunks_exact_mut(64) {
            row.fill(row[0]);
        }
        copies.score.fill(0.5);
        copies.label.fill(8);
        let stage = format!("gpu postprocess copies {name}");
        compare(context, &model(steps, false), &copies, (&stage, report))?;
    }
    Ok(())
}

fn compare(
    context: &Arc<Context>,
    spec: &ModelSpec,
    raw: &Raw,
    (name, report): (&str, &mut Report),
) -> Result<(), Box<dyn Error>> {
    let arena = DeviceArena::new(context);
    let stream = Stream::new(context, Priority::Normal)?;
    let inputs = PostprocessInputs {
        bbox_pred: &arena.take_with("codes", &raw.bbox_pred)?,
        score: &arena.take_with("score", &raw.score)?,
        label: &arena.take_with("label", &raw.label)?,
    };
    let kernel = Postprocess::new(context, &arena, &device_settings(spec)?, &inputs)?;
    kernel.enqueue(&stream)?;
    let words = kernel.output().download()?;
    kernel.enqueue(&stream)?;
    let again = kernel.output().download()?;

    let label: Vec<i64> = raw.label.iter().map(|label| i64::from(*label)).collect();
    let output = HeadOutput {
        bbox_pred: &raw.bbox_pred,
        score: &raw.score,
        label: &label,
    };
    let mut want = Vec::new();
    let want_counts = postprocess(spec, &output, &mut want);
    let Some((counts, records)) = read_output(&words) else {
        report.failure(name, "the output is shorter than its count says");
        return Ok(());
    };
    let got: Vec<Detection> = records.iter().map(detection_of).collect();
    let counts = counts_of(&counts);
    if counts != want_counts || again != words {
        report.failure(
            name,
            format!(
                "{counts:?}, expected {want_counts:?}, repeats {}",
                again == words
            ),
        );
        return Ok(());
    }
    // Scores and classes are passed through, so they say which box is where.
    let exact = |boxes: &[Detection]| -> Vec<i64> {
        let values = boxes
            .iter()
            .map(|d| [i64::from(d.score.to_bits()), i64::from(d.label)]);
        values.flatten().collect()
    };
    report.integers(format!("{name} order"), &exact(&got), &exact(&want));
    let flat = |boxes: &[Detection]| -> Vec<f32> {
        let values = boxes.iter().map(|d| {
            let [x, y, z] = d.bottom_center;
            let [l, w, h] = d.size;
            [x, y, z, l, w, h, d.yaw, d.velocity[0], d.velocity[1]]
        });
        values.flatten().collect()
    };
    report.floats(
        format!("{name} values"),
        &flat(&got),
        &flat(&want),
        Tolerance::Absolute(4e-6),
    );
    Ok(())
}
