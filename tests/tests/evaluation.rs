//! The metric and the trainer's arithmetic against a golden set.
//!
//! The set is the folder named by `BEVFUSION_GOLDEN_DIR`; without one the tests say so and pass, except
//! on CI, where it is required.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use bevfusion_tests::golden::{golden_dir, json, skipped};
use bevfusion_tests::ops::training;
use bevfusion_tests::report::{Report, Tolerance};
use bevfusion_training::cli::{Arguments, run};
use bevfusion_training::eval::config::{EvalConfig, TpError};
use bevfusion_training::eval::filter::filter_boxes;
use bevfusion_training::eval::nuscenes::{Curves, DetectionMetrics, evaluate};
use bevfusion_training::eval::read::{read_predictions, read_truth};
use bevfusion_training::eval::report::to_json;
use clap::Parser;
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The golden set, or `None` after a note that the test is skipped.
fn golden() -> Option<PathBuf> {
    let dir = golden_dir();
    if dir.is_none() {
        skipped("the golden set (BEVFUSION_GOLDEN_DIR)");
    }
    dir
}

fn assert_passed(report: &Report) -> Outcome {
    assert_eq!(report.failures().count(), 0, "\n{report}");
    assert!(!report.rows.is_empty());
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

/// Evaluates one golden file, which holds both sides.
///
/// Without the range filter: files 0 and 2 hold one prediction each (a traffic cone at 36.4 m, a
/// motorcycle at 40.1 m) beyond the range of its class, and their results count it.
fn score(path: &Path) -> Outcome<(DetectionMetrics, EvalConfig)> {
    let config = EvalConfig::nuscenes();
    let truth = read_truth(path, &config)?;
    let predictions = read_predictions(path, &truth.ego_positions, &config)?;
    Ok((evaluate(&truth.boxes, &predictions, &config)?, config))
}

/// All numbers below `value` with their path; null is NaN.
fn numbers(path: &str, value: &Value, out: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                numbers(&format!("{path}/{key}"), value, out);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                numbers(&format!("{path}/{at}"), value, out);
            }
        }
        other => {
            out.insert(path.to_owned(), other.as_f64().unwrap_or(f64::NAN));
        }
    }
}

fn every_tenth(curves: &Curves) -> Value {
    let mut sampled = serde_json::Map::new();
    let mut add = |key: &str, values: &[f64]| {
        let values: Vec<f64> = values.iter().step_by(10).copied().collect();
        sampled.insert(key.to_owned(), values.into());
    };
    add("precision", &curves.precision);
    add("confidence", &curves.confidence);
    for (kind, values) in TpError::ALL.iter().zip(&curves.errors) {
        add(kind.key(), values);
    }
    Value::Object(sampled)
}

fn compare(stage: &str, got: &Value, want: &Value, report: &mut Report) {
    let (mut got_numbers, mut want_numbers) = (BTreeMap::new(), BTreeMap::new());
    numbers("", got, &mut got_numbers);
    numbers("", want, &mut want_numbers);
    assert!(
        got_numbers.keys().eq(want_numbers.keys()),
        "{stage}: other keys"
    );
    let got: Vec<f64> = got_numbers.into_values().collect();
    let want: Vec<f64> = want_numbers.into_values().collect();
    report.doubles(stage, &got, &want, Tolerance::Absolute(1e-9));
}

#[test]
fn nuscenes_metric_equals_the_devkit() -> Outcome {
    let Some(dir) = golden() else {
        return Ok(());
    };
    let mut report = Report::default();
    for file in 0..3 {
        let path = dir.join(format!("eval/nuscenes_eval_{file}.json"));
        let golden: Value = json(&path)?;
        let (metrics, config) = score(&path)?;
        let mut want = golden["result"].clone();
        want.as_object_mut().ok_or("no object")?.remove("cfg");
        let stage = format!("eval/nuscenes_eval_{file}");
        compare(
            &format!("{stage} metrics"),
            &to_json(&metrics, &config),
            &want,
            &mut report,
        );
        for (name, want) in golden["curves"].as_object().ok_or("no object")? {
            let class = metrics
                .classes
                .iter()
                .find(|class| class.name == *name)
                .ok_or("class is missing")?;
            let got = every_tenth(&class.curves);
            compare(&format!("{stage} curves {name}"), &got, want, &mut report);
        }
    }
    assert_passed(&report)
}

#[test]
fn the_range_filter_drops_what_lies_beyond_and_nothing_else() -> Outcome {
    let Some(dir) = golden() else {
        return Ok(());
    };
    let config = EvalConfig::nuscenes();
    for (file, beyond) in [(0, 1), (1, 0), (2, 1)] {
        let path = dir.join(format!("eval/nuscenes_eval_{file}.json"));
        let truth = read_truth(&path, &config)?;
        let predictions = read_predictions(&path, &truth.ego_positions, &config)?;
        let (truths, found) = (truth.boxes.len(), predictions.len());
        assert_eq!(
            filter_boxes(truth.boxes, &truth.racks, &config).len(),
            truths
        );
        assert_eq!(
            filter_boxes(predictions, &truth.racks, &config).len(),
            found - beyond
        );
    }
    Ok(())
}

#[test]
fn the_command_prints_what_the_devkit_computes() -> Outcome {
    let Some(dir) = golden() else {
        return Ok(());
    };
    // In this file nothing lies beyond the range, so that filtering changes nothing.
    let path = dir.join("eval/nuscenes_eval_1.json");
    let golden: Value = json(&path)?;
    let mut want = golden["result"].clone();
    want.as_object_mut().ok_or("no object")?.remove("cfg");
    let path = path.to_str().ok_or("path is not UTF-8")?;
    let mut arguments = vec![
        "bevfusion-train",
        "evaluate",
        "--ground-truth",
        path,
        "--predictions",
        path,
    ];
    let mut table = Vec::new();
    run(&Arguments::try_parse_from(&arguments)?, &mut table)?;
    let table = String::from_utf8(table)?;
    assert!(
        table.contains("mAP  0.6710") && table.contains("NDS  0.5952"),
        "{table}"
    );
    arguments.push("--json");
    let mut text = Vec::new();
    run(&Arguments::try_parse_from(&arguments)?, &mut text)?;
    let got: Value = serde_json::from_slice(&text)?;
    let mut report = Report::default();
    compare("bevfusion-train evaluate", &got, &want, &mut report);
    assert_passed(&report)
}

#[test]
fn model_targets_and_losses_agree_with_the_golden_set() -> Outcome {
    let Some(dir) = golden() else {
        return Ok(());
    };
    let mut report = Report::default();
    training::run_targets(&dir.join("models"), &mut report)?;
    assert_passed(&report)
}
