//! Boxes from JSON files.
//!
//! Predictions: the nuScenes result form, `{"results": {token: [box, ...]}}` (other keys such as `meta`
//! are ignored). Ground truth: `{"gt": {token: [box, ...]}, "ego_poses": {token: [x, y, z]},
//! "bicycle_racks": {token: [{translation, size, rotation}]}}`, where the last two may be missing. One
//! file may hold both sides, with the predictions under `pred`.
//!
//! A box has `translation`, `size` (width, length, height), `rotation` (w, x, y, z), `velocity` (null =
//! unknown), `detection_name`, `attribute_name` (null = knows none), for predictions `detection_score`,
//! for ground truth `num_pts`; `ego_translation` may be missing where `ego_poses` gives the vehicle's
//! position.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::boxes::{Attribute, EvalBox, EvalBoxes};
use super::config::EvalConfig;
use super::filter::BicycleRack;

/// Why a file of boxes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not the expected JSON.
    #[error("{path}: {source}; expected {form}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
        /// The expected form.
        form: &'static str,
    },
    /// A box lacks something.
    #[error("{path}: sample {token}, box {index}: {problem}")]
    Box {
        /// The file.
        path: PathBuf,
        /// The sample.
        token: String,
        /// Index of the box in its sample.
        index: usize,
        /// What is missing and how to mend it.
        problem: String,
    },
}

/// Ground truth of a split with what filtering needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TruthFile {
    /// The boxes.
    pub boxes: EvalBoxes,
    /// Position of the vehicle at each sample (m, global).
    pub ego_positions: BTreeMap<String, [f64; 3]>,
    /// Bicycle racks of each sample.
    pub racks: BTreeMap<String, Vec<BicycleRack>>,
}

#[derive(Deserialize)]
struct RawTruth {
    #[serde(alias = "results")]
    gt: InOrder<Vec<RawBox>>,
    #[serde(default)]
    ego_poses: BTreeMap<String, [f64; 3]>,
    #[serde(default)]
    bicycle_racks: BTreeMap<String, Vec<BicycleRack>>,
}

#[derive(Deserialize)]
struct RawPredictions {
    #[serde(alias = "pred")]
    results: InOrder<Vec<RawBox>>,
}

#[derive(Deserialize)]
struct RawBox {
    translation: [f64; 3],
    size: [f64; 3],
    rotation: [f64; 4],
    velocity: [Option<f64>; 2],
    ego_translation: Option<[f64; 3]>,
    num_pts: Option<i64>,
    detection_name: String,
    detection_score: Option<f64>,
    attribute_name: Option<Attribute>,
}

/// A JSON object whose order of keys is kept.
struct InOrder<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor(PhantomData))
    }
}

struct EntryVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntryVisitor<T> {
    type Value = InOrder<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from sample tokens to lists of boxes")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(InOrder(entries))
    }
}

/// Reads a ground-truth file.
///
/// # Errors
/// When the file cannot be read, or a box lacks a field or has an unknown class or attribute.
pub fn read_truth(path: &Path, config: &EvalConfig) -> Result<TruthFile, ReadError> {
    let form = r#"{"gt": {sample_token: [box, ...]}}"#;
    let raw: RawTruth = parse(path, form)?;
    let boxes = convert(path, raw.gt, &raw.ego_poses, config, |b| {
        b.num_pts
            .map_or_else(|| Err("num_pts is missing".to_owned()), |_| Ok(0.0))
    })?;
    Ok(TruthFile {
        boxes,
        ego_positions: raw.ego_poses,
        racks: raw.bicycle_racks,
    })
}

/// Reads a prediction file; `ego_positions` stands in for boxes without `ego_translation`.
///
/// # Errors
/// When the file cannot be read, or a box lacks a field or has an unknown class or attribute.
pub fn read_predictions(
    path: &Path,
    ego_positions: &BTreeMap<String, [f64; 3]>,
    config: &EvalConfig,
) -> Result<EvalBoxes, ReadError> {
    let form = r#"{"results": {sample_token: [box, ...]}}"#;
    let raw: RawPredictions = parse(path, form)?;
    convert(path, raw.results, ego_positions, config, |b| {
        b.detection_score
            .ok_or_else(|| "detection_score is missing".to_owned())
    })
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, form: &'static str) -> Result<T, ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::Io {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| ReadError::Json {
        path: path.into(),
        source,
        form,
    })
}

/// Checks every box; `score_of` gives its score or says what is missing.
fn convert(
    path: &Path,
    raw: InOrder<Vec<RawBox>>,
    ego_positions: &BTreeMap<String, [f64; 3]>,
    config: &EvalConfig,
    score_of: impl Fn(&RawBox) -> Result<f64, String>,
) -> Result<EvalBoxes, ReadError> {
    let mut samples = Vec::with_capacity(raw.0.len());
    for (token, list) in raw.0 {
        let ego = ego_positions.get(&token);
        let mut boxes = Vec::with_capacity(list.len());
        for (index, raw) in list.iter().enumerate() {
            let b = score_of(raw).and_then(|score| eval_box(raw, score, ego, config));
            boxes.push(b.map_err(|problem| ReadError::Box {
                path: path.into(),
                token: token.clone(),
                index,
                problem,
            })?);
        }
        samples.push((token, boxes));
    }
    Ok(EvalBoxes { samples })
}

fn eval_box(
    raw: &RawBox,
    score: f64,
    ego: Option<&[f64; 3]>,
    config: &EvalConfig,
) -> Result<EvalBox, String> {
    let class = config.class_index(&raw.detection_name).ok_or_else(|| {
        let known: Vec<&str> = config.classes.iter().map(|c| c.name.as_str()).collect();
        let known = known.join(", ");
        format!(
            "detection_name is \"{}\", expected one of {known}",
            raw.detection_name
        )
    })?;
    let from_ego = |ego: &[f64; 3]| std::array::from_fn(|i| raw.translation[i] - ego[i]);
    let ego_translation = raw
        .ego_translation
        .or_else(|| ego.map(from_ego))
        .ok_or("ego_translation is missing; give it, or ego_poses in the ground-truth file")?;
    Ok(EvalBox {
        class,
        translation: raw.translation,
        size: raw.size,
        rotation: raw.rotation,
        velocity: raw.velocity.map(|v| v.unwrap_or(f64::NAN)),
        ego_translation,
        num_pts: raw.num_pts.unwrap_or(-1),
        score,
        attribute: raw.attribute_name,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{TruthFile, read_predictions, read_truth};
    use crate::eval::boxes::EvalBoxes;
    use crate::eval::config::EvalConfig;

    const BOX: &str = r#""translation": [7.0, 3.0, 1.0], "size": [2.0, 4.0, 1.5],
        "rotation": [1, 0, 0, 0], "velocity": [null, 0.5], "attribute_name": """#;

    fn truth(text: &str) -> Result<TruthFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.json");
        fs::write(&path, text).unwrap();
        read_truth(&path, &EvalConfig::nuscenes()).map_err(|e| e.to_string())
    }

    fn predictions(text: &str) -> Result<EvalBoxes, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.json");
        fs::write(&path, text).unwrap();
        let ego = [("b".to_owned(), [5.0, 3.5, 0.0])].into();
        read_predictions(&path, &ego, &EvalConfig::nuscenes()).map_err(|e| e.to_string())
    }

    #[test]
    fn order_of_samples_unknown_velocities_and_ego_positions_are_kept() {
        let scored = format!(r#"{{{BOX}, "detection_name": "bus", "detection_score": 0.25}}"#);
        let text = format!(r#"{{"meta": {{}}, "results": {{"b": [{scored}], "a": []}}}}"#);
        let boxes = predictions(&text).unwrap();
        let tokens: Vec<&str> = boxes
            .samples
            .iter()
            .map(|(token, _)| token.as_str())
            .collect();
        assert_eq!(tokens, ["b", "a"]);
        let read = boxes.samples[0].1[0];
        assert!(read.velocity[0].is_nan() && (read.velocity[1] - 0.5).abs() < 1e-12);
        assert!((read.ego_translation[0] - 2.0).abs() < 1e-12);
        assert!((read.ego_translation[1] + 0.5).abs() < 1e-12);
        assert_eq!((read.class, read.num_pts), (2, -1));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let text = format!(r#"{{"results": {{"b": [{{{BOX}, "detection_name": "bus"}}]}}}}"#);
        let error = predictions(&text).unwrap_err();
        assert!(
            error.contains("sample b, box 0: detection_score is missing"),
            "{error}"
        );
        let text =
            format!(r#"{{"gt": {{"b": [{{{BOX}, "detection_name": "bus", "num_pts": 3}}]}}}}"#);
        let error = truth(&text).unwrap_err();
        assert!(error.contains("ego_translation is missing"), "{error}");
        let error = truth(&text.replace("\"num_pts\": 3", "\"other\": 0")).unwrap_err();
        assert!(error.contains("num_pts is missing"), "{error}");
        let error = truth(&text.replace("bus", "tram")).unwrap_err();
        assert!(
            error.contains("\"tram\", expected one of car, truck"),
            "{error}"
        );
        let error = truth("7").unwrap_err();
        assert!(error.contains(r#"expected {"gt""#), "{error}");
        assert!(truth(r#"{"gt": {}}"#).unwrap().boxes.is_empty());
    }
}
