//! Metrics as JSON with the nuScenes devkit's keys, and as a table for people.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::config::{EvalConfig, TpError};
use super::nuscenes::{ClassMetrics, DetectionMetrics};

/// `label_aps`, `mean_dist_aps`, `mean_ap`, `label_tp_errors`, `tp_errors`, `tp_scores`, `nd_score`; NaN
/// becomes null.
#[must_use]
pub fn to_json(metrics: &DetectionMetrics, config: &EvalConfig) -> Value {
    let by_class = |value: &dyn Fn(&ClassMetrics) -> Value| -> Value {
        let entries = metrics
            .classes
            .iter()
            .map(|class| (class.name.clone(), value(class)));
        Value::Object(entries.collect::<Map<_, _>>())
    };
    let aps = |class: &ClassMetrics| -> Value {
        let thresholds = config.distance_thresholds.iter().map(|d| format!("{d:?}"));
        let entries = thresholds.zip(class.aps.iter().map(|ap| json!(ap)));
        Value::Object(entries.collect::<Map<_, _>>())
    };
    json!({
        "label_aps": by_class(&aps),
        "mean_dist_aps": by_class(&|class| json!(class.mean_ap)),
        "mean_ap": metrics.mean_ap,
        "label_tp_errors": by_class(&|class| by_error(&class.tp_errors)),
        "tp_errors": by_error(&metrics.tp_errors),
        "tp_scores": by_error(&metrics.tp_scores),
        "nd_score": metrics.nd_score,
    })
}

fn by_error(values: &[f64; 5]) -> Value {
    let entries = TpError::ALL.iter().zip(values);
    let entries = entries.map(|(kind, value)| (kind.key().to_owned(), json!(value)));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// The means, then a row for each class: AP at each distance (m), their mean and the five errors.
#[must_use]
pub fn to_table(metrics: &DetectionMetrics, config: &EvalConfig) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(format!("mAP  {:.4}", metrics.mean_ap));
    for (kind, error) in TpError::ALL.iter().zip(metrics.tp_errors) {
        line(format!(
            "{:<5}{}",
            kind.mean_name(),
            number(error).trim_start()
        ));
    }
    line(format!("NDS  {:.4}\n", metrics.nd_score));
    let mut head = format!("{:<22}", "class");
    for distance in &config.distance_thresholds {
        let _ = write!(head, "{:>8}", format!("AP@{distance:?}"));
    }
    line(head + "      AP     ATE     ASE     AOE     AVE     AAE");
    for class in &metrics.classes {
        let mut row = format!("{:<22}", class.name);
        for value in class
            .aps
            .iter()
            .chain([&class.mean_ap])
            .chain(&class.tp_errors)
        {
            row += &number(*value);
        }
        line(row);
    }
    text
}

/// Eight columns; a dash for what is not defined.
fn number(value: f64) -> String {
    if value.is_nan() {
        format!("{:>8}", "-")
    } else {
        format!("{value:>8.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::{to_json, to_table};
    use crate::eval::boxes::EvalBoxes;
    use crate::eval::config::EvalConfig;
    use crate::eval::nuscenes::evaluate;

    #[test]
    fn undefined_errors_are_null_and_dashes() {
        let config = EvalConfig::nuscenes();
        let nothing = EvalBoxes {
            samples: vec![("a".into(), vec![])],
        };
        let metrics = evaluate(&nothing, &nothing, &config).unwrap();
        let json = to_json(&metrics, &config);
        assert!(json["label_tp_errors"]["traffic_cone"]["vel_err"].is_null());
        assert_eq!(json["label_tp_errors"]["car"]["vel_err"], 1.0);
        assert_eq!(json["label_aps"]["car"]["0.5"], 0.0);
        let table = to_table(&metrics, &config);
        let cone = table
            .lines()
            .find(|l| l.starts_with("traffic_cone"))
            .unwrap();
        assert_eq!(cone.matches('-').count(), 3);
        assert!(table.contains("AP@4.0"));
    }
}
