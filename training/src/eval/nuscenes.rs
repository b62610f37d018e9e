//! The nuScenes detection score.
//!
//! In: filtered boxes of a whole split. Out: per class average precision at each distance threshold and
//! the five errors of matched pairs, their means, and NDS. Classes are scored in parallel; each class is
//! summed in a fixed order. Source: the nuScenes devkit 1.1.11, `eval/detection`. T4Metric v1 is the same
//! with [`EvalConfig::t4`].

use std::collections::BTreeMap;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::boxes::{EvalBox, EvalBoxes, EvalError};
use super::config::{ClassConfig, EvalConfig, TpError};
use super::curve::{RECALL_SAMPLES, interpolate, mean, mean_without_nan, recall_at, running_mean};
use super::matching::{ClassBoxes, Matches, pair_error};

/// Curves over the 101 recalls.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Precision.
    pub precision: Vec<f64>,
    /// Score at which the recall is reached; 0 beyond the largest recall.
    pub confidence: Vec<f64>,
    /// Mean error of all pairs with at least that score, in the order of [`TpError::ALL`].
    pub errors: [Vec<f64>; 5],
}

/// Scores of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMetrics {
    /// Name of the class.
    pub name: String,
    /// Average precision at each distance threshold.
    pub aps: Vec<f64>,
    /// Mean of [`Self::aps`].
    pub mean_ap: f64,
    /// Errors in the order of [`TpError::ALL`]; NaN where not defined for the class.
    pub tp_errors: [f64; 5],
    /// Curves at the threshold at which errors are taken.
    pub curves: Curves,
}

/// Scores of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionMetrics {
    /// Scores of each class, in the configuration's order.
    pub classes: Vec<ClassMetrics>,
    /// mAP.
    pub mean_ap: f64,
    /// mATE, mASE, mAOE, mAVE, mAAE; NaN where no class defines the error.
    pub tp_errors: [f64; 5],
    /// max(0, 1 − error); 0 where the error is NaN.
    pub tp_scores: [f64; 5],
    /// NDS.
    pub nd_score: f64,
}

/// Scores `predictions` against `truth`; both already filtered (see [`super::filter`]).
///
/// # Errors
/// When the two sides cover different samples, a sample has too many predictions, or a box has a class
/// that does not exist or values that are not finite (velocities may be NaN).
pub fn evaluate(
    truth: &EvalBoxes,
    predictions: &EvalBoxes,
    config: &EvalConfig,
) -> Result<DetectionMetrics, EvalError> {
    let sample_of = check(truth, predictions, config)?;
    let classes: Vec<ClassMetrics> = (0..config.classes.len())
        .into_par_iter()
        .map(|class| {
            let boxes = ClassBoxes::collect(class, truth, predictions, &sample_of);
            class_metrics(&boxes, &config.classes[class], config)
        })
        .collect();
    let aps: Vec<f64> = classes.iter().map(|class| class.mean_ap).collect();
    let mean_ap = mean(&aps);
    let tp_errors: [f64; 5] =
        std::array::from_fn(|kind| mean_without_nan(classes.iter().map(|c| c.tp_errors[kind])));
    // An error that no class defines (NaN) scores 0, as in the original.
    let tp_scores = tp_errors.map(|e| (1.0 - e).max(0.0));
    let weight = config.mean_ap_weight;
    let nd_score = (weight * mean_ap + tp_scores.iter().sum::<f64>()) / (weight + 5.0);
    Ok(DetectionMetrics {
        classes,
        mean_ap,
        tp_errors,
        tp_scores,
        nd_score,
    })
}

fn class_metrics(boxes: &ClassBoxes<'_>, class: &ClassConfig, config: &EvalConfig) -> ClassMetrics {
    let curves = |threshold: &f64| {
        let matches = boxes.matches(*threshold);
        sample_curves(&matches, boxes.truth_count(), class)
    };
    let mut curves: Vec<Curves> = config.distance_thresholds.iter().map(curves).collect();
    let aps: Vec<f64> = curves
        .iter()
        .map(|c| average_precision(&c.precision, config))
        .collect();
    let curves = curves.swap_remove(config.tp_threshold);
    let tp_errors = std::array::from_fn(|kind| {
        let undefined = class.undefined.contains(&TpError::ALL[kind]);
        if undefined {
            f64::NAN
        } else {
            tp_error(&curves, kind, config)
        }
    });
    ClassMetrics {
        name: class.name.clone(),
        mean_ap: mean(&aps),
        aps,
        tp_errors,
        curves,
    }
}

/// Curves of a class without a single match.
fn empty_curves() -> Curves {
    Curves {
        precision: vec![0.0; RECALL_SAMPLES],
        confidence: vec![0.0; RECALL_SAMPLES],
        errors: std::array::from_fn(|_| vec![1.0; RECALL_SAMPLES]),
    }
}

fn sample_curves(matches: &Matches<'_>, truths: usize, class: &ClassConfig) -> Curves {
    if matches.pairs.is_empty() {
        return empty_curves();
    }
    let mut hits = 0_usize;
    let (mut recalls, mut precisions) = (Vec::new(), Vec::new());
    for (at, hit) in matches.hits.iter().enumerate() {
        hits += usize::from(*hit);
        recalls.push(hits as f64 / truths as f64);
        precisions.push(hits as f64 / (at + 1) as f64);
    }
    let sampled = |values: &[f64]| -> Vec<f64> {
        let at = |i| interpolate(recall_at(i), &recalls, values, values[0], 0.0);
        (0..RECALL_SAMPLES).map(at).collect()
    };
    let confidence = sampled(&matches.scores);
    let errors = TpError::ALL.map(|kind| error_curve(kind, matches, class, &confidence));
    Curves {
        precision: sampled(&precisions),
        confidence,
        errors,
    }
}

/// Running mean of an error, as a function of the score, at each recall's score.
fn error_curve(
    kind: TpError,
    matches: &Matches<'_>,
    class: &ClassConfig,
    confidence: &[f64],
) -> Vec<f64> {
    let errors: Vec<f64> = matches
        .pairs
        .iter()
        .map(|(truth, prediction)| pair_error(kind, truth, prediction, class))
        .collect();
    let mut means = running_mean(&errors);
    means.reverse();
    let scores: Vec<f64> = matches.pairs.iter().rev().map(|(_, p)| p.score).collect();
    let (lowest, highest) = (means[0], means[means.len() - 1]);
    let at = |score: &f64| interpolate(*score, &scores, &means, lowest, highest);
    confidence.iter().map(at).collect()
}

fn average_precision(precision: &[f64], config: &EvalConfig) -> f64 {
    let above = |p: &f64| (p - config.min_precision).max(0.0);
    let used: Vec<f64> = precision[config.first_recall_index()..]
        .iter()
        .map(above)
        .collect();
    mean(&used) / (1.0 - config.min_precision)
}

/// Mean of an error curve between the least recall and the largest reached; 1 when recall stays below.
fn tp_error(curves: &Curves, kind: usize, config: &EvalConfig) -> f64 {
    let first = config.first_recall_index();
    let reached = curves.confidence.iter().rposition(|c| c.abs() > 0.0);
    match reached {
        Some(last) if last >= first => mean(&curves.errors[kind][first..=last]),
        _ => 1.0,
    }
}

/// Index of each token among the truth's samples.
fn check<'a>(
    truth: &'a EvalBoxes,
    predictions: &'a EvalBoxes,
    config: &EvalConfig,
) -> Result<BTreeMap<&'a str, usize>, EvalError> {
    let expected = index_samples(truth, "ground truth")?;
    let given = index_samples(predictions, "predictions")?;
    for (these, others, present, absent) in [
        (&expected, &given, "ground truth", "predictions"),
        (&given, &expected, "predictions", "ground truth"),
    ] {
        if let Some(token) = these.keys().find(|token| !others.contains_key(*token)) {
            return Err(EvalError::Samples {
                token: (*token).to_owned(),
                present,
                absent,
            });
        }
    }
    check_count(predictions, config)?;
    check_boxes(truth, "ground truth", config)?;
    check_boxes(predictions, "predictions", config)?;
    Ok(expected)
}

/// Refuses samples with more predictions than the metric allows; the rule counts before filtering.
///
/// # Errors
/// When a sample has too many.
pub fn check_count(predictions: &EvalBoxes, config: &EvalConfig) -> Result<(), EvalError> {
    let limit = config.max_boxes_per_sample;
    match predictions
        .samples
        .iter()
        .find(|(_, boxes)| boxes.len() > limit)
    {
        None => Ok(()),
        Some((token, boxes)) => Err(EvalError::TooMany {
            token: token.clone(),
            found: boxes.len(),
            limit,
        }),
    }
}

fn index_samples<'a>(
    boxes: &'a EvalBoxes,
    side: &'static str,
) -> Result<BTreeMap<&'a str, usize>, EvalError> {
    let mut index = BTreeMap::new();
    for (at, (token, _)) in boxes.samples.iter().enumerate() {
        if index.insert(token.as_str(), at).is_some() {
            return Err(EvalError::Repeated {
                token: token.clone(),
                side,
            });
        }
    }
    Ok(index)
}

fn check_boxes(
    boxes: &EvalBoxes,
    side: &'static str,
    config: &EvalConfig,
) -> Result<(), EvalError> {
    for (token, list) in &boxes.samples {
        for (index, b) in list.iter().enumerate() {
            if let Some(problem) = problem_of(b, config) {
                return Err(EvalError::Box {
                    side,
                    token: token.clone(),
                    index,
                    problem,
                });
            }
        }
    }
    Ok(())
}

fn problem_of(b: &EvalBox, config: &EvalConfig) -> Option<String> {
    if b.class >= config.classes.len() {
        let classes = config.classes.len();
        return Some(format!(
            "class {} does not exist, expected below {classes}",
            b.class
        ));
    }
    let fields = [
        ("translation", &b.translation[..]),
        ("size", &b.size),
        ("rotation", &b.rotation),
        ("detection_score", std::slice::from_ref(&b.score)),
    ];
    let broken = fields
        .iter()
        .find(|(_, v)| v.iter().any(|v| !v.is_finite()));
    if let Some((name, values)) = broken {
        return Some(format!("{name} is {values:?}, expected finite numbers"));
    }
    let flat = b.size.iter().any(|v| *v <= 0.0);
    flat.then(|| {
        format!(
            "size is {:?}, expected positive width, length, height",
            b.size
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{DetectionMetrics, evaluate};
    use crate::eval::boxes::{Attribute, EvalBox, EvalBoxes, EvalError};
    use crate::eval::config::EvalConfig;

    fn car(x: f64, score: f64) -> EvalBox {
        EvalBox {
            class: 0,
            translation: [x, 0.0, 0.0],
            size: [2.0, 4.0, 1.5],
            rotation: [1.0, 0.0, 0.0, 0.0],
            velocity: [1.0, 0.0],
            ego_translation: [x, 0.0, 0.0],
            num_pts: -1,
            score,
            attribute: Some(Attribute::VehicleMoving),
        }
    }

    fn side(samples: &[&[EvalBox]]) -> EvalBoxes {
        let named = |(at, boxes): (usize, &&[EvalBox])| (format!("s{at}"), boxes.to_vec());
        EvalBoxes {
            samples: samples.iter().enumerate().map(named).collect(),
        }
    }

    fn score(truth: &[&[EvalBox]], predictions: &[&[EvalBox]]) -> DetectionMetrics {
        evaluate(&side(truth), &side(predictions), &EvalConfig::nuscenes()).unwrap()
    }

    #[test]
    fn perfect_cars_have_ap_one_and_no_errors() {
        let metrics = score(
            &[&[car(0.0, 0.0), car(9.0, 0.0)]],
            &[&[car(9.0, 0.9), car(0.0, 0.8)]],
        );
        let cars = &metrics.classes[0];
        assert!((cars.mean_ap - 1.0).abs() < 1e-12);
        assert!(cars.tp_errors.iter().all(|e| e.abs() < 1e-12));
        assert!((metrics.mean_ap - 0.1).abs() < 1e-12);
    }

    #[test]
    fn the_better_score_takes_the_box_and_thresholds_are_strict() {
        let metrics = score(&[&[car(0.0, 0.0)]], &[&[car(0.1, 0.3), car(2.0, 0.9)]]);
        let aps = &metrics.classes[0].aps;
        // At 4 m the farther one takes the box, which leaves a false positive at recall 1.
        assert!(
            (aps[3] - (89.0 * 0.9 + 0.4) / 81.0).abs() < 1e-12,
            "{aps:?}"
        );
        // At exactly 2 m it does not match: precision runs from 0 to 0.5.
        assert!((aps[2] - 0.2).abs() < 1e-12, "{aps:?}");
    }

    #[test]
    fn of_equal_scores_the_later_box_comes_first() {
        let metrics = score(&[&[car(0.0, 0.0)]], &[&[car(30.0, 0.5), car(0.0, 0.5)]]);
        let confidence = &metrics.classes[0].curves;
        assert!((confidence.precision[50] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn sides_must_cover_the_same_samples() {
        let config = EvalConfig::nuscenes();
        let (one, two) = (side(&[&[]]), side(&[&[], &[]]));
        let error = evaluate(&two, &one, &config).unwrap_err();
        assert!(matches!(
            error,
            EvalError::Samples {
                absent: "predictions",
                ..
            }
        ));
        let mut twice = two.clone();
        twice.samples[1].0 = "s0".into();
        assert!(matches!(
            evaluate(&twice, &one, &config),
            Err(EvalError::Repeated { .. })
        ));
        let many = side(&[&vec![car(0.0, 0.1); 501]]);
        assert!(matches!(
            evaluate(&one, &many, &config),
            Err(EvalError::TooMany { found: 501, .. })
        ));
    }

    #[test]
    fn broken_boxes_are_refused_by_name() {
        let mut broken = car(0.0, f64::NAN);
        let refuse = |b: EvalBox| {
            let error = evaluate(&side(&[&[]]), &side(&[&[b]]), &EvalConfig::nuscenes());
            error.unwrap_err().to_string()
        };
        assert!(refuse(broken).contains("predictions of sample s0, box 0: detection_score"));
        broken.score = 0.5;
        broken.class = 10;
        assert!(refuse(broken).contains("class 10 does not exist"));
        broken.class = 1;
        broken.size[2] = 0.0;
        assert!(refuse(broken).contains("positive width"));
    }

    #[test]
    fn nothing_at_all_scores_zero() {
        let metrics = score(&[&[]], &[&[]]);
        assert!(metrics.mean_ap.abs() < 1e-12);
        assert!(metrics.nd_score.abs() < 1e-12);
    }
}
