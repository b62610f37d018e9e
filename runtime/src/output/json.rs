//! The result of one frame as machine-readable JSON.
//!
//! ```json
//! {
//!   "schema": "bevfusion.frame_result.v1",
//!   "frame_id": "ca9a..", "model": "nuscenes_CL",
//!   "counts": {"car": 1},
//!   "timings_ms": {"head": 1.25},
//!   "detections": [{
//!     "class": "car", "label": 0, "score": 0.87,
//!     "center": [x, y, z], "bottom_center": [x, y, z], "size": [l, w, h],
//!     "yaw": 1.57, "velocity": [vx, vy], "speed": 3.2
//!   }]
//! }
//! ```
//!
//! Metres, radians and seconds in the frame of the key cloud; detections in the order of the result.
//! A value that is not a finite number is `null`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::file::AtomicFile;
use super::frame_view::class_name;
use super::{Detection, OutputError};

const SCHEMA: &str = "bevfusion.frame_result.v1";

/// One frame as the JSON file states it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameResult {
    schema: &'static str,
    frame_id: String,
    model: String,
    counts: BTreeMap<String, usize>,
    timings_ms: BTreeMap<String, f64>,
    detections: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Record {
    class: String,
    label: u32,
    score: f32,
    center: [f32; 3],
    bottom_center: [f32; 3],
    size: [f32; 3],
    yaw: f32,
    velocity: [f32; 2],
    speed: f32,
}

impl FrameResult {
    /// Collects what the file states. `timings_ms` maps a stage to its time (ms).
    #[must_use]
    pub fn new(
        frame_id: &str,
        (model, class_names): (&str, &[String]),
        detections: &[Detection],
        timings_ms: BTreeMap<String, f64>,
    ) -> Self {
        let detections: Vec<_> = detections
            .iter()
            .map(|found| record(found, class_names))
            .collect();
        let mut counts = BTreeMap::new();
        for found in &detections {
            *counts.entry(found.class.clone()).or_default() += 1;
        }
        Self {
            schema: SCHEMA,
            frame_id: frame_id.to_owned(),
            model: model.to_owned(),
            counts,
            timings_ms,
            detections,
        }
    }
}

fn record(found: &Detection, class_names: &[String]) -> Record {
    Record {
        class: class_name(class_names, found.label),
        label: found.label,
        score: found.score,
        center: found.center(),
        bottom_center: found.bottom_center,
        size: found.size,
        yaw: found.yaw,
        velocity: found.velocity,
        speed: found.velocity[0].hypot(found.velocity[1]),
    }
}

/// Writes one frame, indented, ending with a line feed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_frame_json(result: &FrameResult, path: &Path) -> Result<(), OutputError> {
    write_json(result, path)
}

/// Writes a value, indented, ending with a line feed.
pub(crate) fn write_json(value: &impl Serialize, path: &Path) -> Result<(), OutputError> {
    let mut file = AtomicFile::create(path)?;
    serde_json::to_writer_pretty(&mut file, value).map_err(OutputError::serialize(path))?;
    file.write_all(b"\n").map_err(OutputError::write(path))?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{FrameResult, write_frame_json};
    use crate::output::Detection;

    #[test]
    fn every_field_is_in_the_file() {
        let found = Detection {
            bottom_center: [1.0, 2.0, -1.0],
            size: [4.0, 2.0, 1.5],
            yaw: 0.25,
            velocity: [3.0, -4.0],
            score: 0.3,
            label: 1,
        };
        let names = ["car".to_owned(), "bus".to_owned()];
        let timings = BTreeMap::from([("head".to_owned(), 1.25)]);
        let result = FrameResult::new("f0", ("tiny", &names), &[found, found], timings);
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("f0.json");
        write_frame_json(&result, &path).expect("write");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains("\"score\": 0.3,"), "shortest float: {text}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value["schema"], "bevfusion.frame_result.v1");
        assert_eq!(value["frame_id"], "f0");
        assert_eq!(value["model"], "tiny");
        assert_eq!(value["counts"], serde_json::json!({"bus": 2}));
        assert_eq!(value["timings_ms"]["head"], 1.25);
        let first = &value["detections"][0];
        assert_eq!(first["class"], "bus");
        assert_eq!(first["center"], serde_json::json!([1.0, 2.0, -0.25]));
        assert_eq!(first["bottom_center"][2], -1.0);
        assert_eq!(first["size"], serde_json::json!([4.0, 2.0, 1.5]));
        assert_eq!(first["yaw"], 0.25);
        assert_eq!(first["speed"], 5.0);
    }
}
