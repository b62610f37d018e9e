//! nuScenes detection results: what the official evaluation reads.
//!
//! In: the boxes of one sample in the LiDAR frame and the pose that leads from there to the global
//! frame. Out: `{"meta": {..}, "results": {sample_token: [box, ..]}}` with boxes in the global frame:
//! `translation` is the box's centre (m), `size` is width, length, height (m), `rotation` is w, x, y, z,
//! `velocity` is x, y (m/s). Attributes follow the rule of mmdetection3d's converter. Ranges per class
//! are left to the evaluation, which applies them to predictions as well.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::AtomicFile;
use super::frame_view::{by_score, class_name};
use super::rotation::{multiply, quaternion, yaw_quaternion};
use super::{Detection, OutputError};
use crate::geometry::Transform;

/// Boxes of one sample that the evaluation accepts.
pub(super) const MAX_BOXES_PER_SAMPLE: usize = 500;
/// Speed above which an object counts as moving (m/s).
const MOVING_SPEED: f64 = 0.2;
/// Classes with their attribute when moving and when standing.
const ATTRIBUTES: [(&str, &str, &str); 10] = [
    ("car", "vehicle.moving", "vehicle.parked"),
    ("truck", "vehicle.moving", "vehicle.parked"),
    ("bus", "vehicle.moving", "vehicle.stopped"),
    ("trailer", "vehicle.moving", "vehicle.parked"),
    ("construction_vehicle", "vehicle.moving", "vehicle.parked"),
    ("pedestrian", "pedestrian.moving", "pedestrian.standing"),
    ("motorcycle", "cycle.with_rider", "cycle.without_rider"),
    ("bicycle", "cycle.with_rider", "cycle.without_rider"),
    ("traffic_cone", "", ""),
    ("barrier", "", ""),
];

/// What the detector looked at; the `meta` of a result file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modality {
    /// Camera images.
    pub use_camera: bool,
    /// LiDAR clouds.
    pub use_lidar: bool,
    /// Radar.
    pub use_radar: bool,
    /// Map data.
    pub use_map: bool,
    /// Anything else, such as other training data.
    pub use_external: bool,
}

/// One box as the file states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ResultBox {
    pub(super) sample_token: String,
    pub(super) translation: [f64; 3],
    pub(super) size: [f64; 3],
    pub(super) rotation: [f64; 4],
    pub(super) velocity: [f64; 2],
    pub(super) detection_name: String,
    pub(super) detection_score: f64,
    pub(super) attribute_name: String,
}

impl ResultBox {
    pub(super) fn is_finite(&self) -> bool {
        let numbers = [self.detection_score];
        let all = self.translation.iter().chain(&self.size);
        let all = all.chain(&self.rotation).chain(&self.velocity);
        all.chain(&numbers).all(|value| value.is_finite())
    }
}

/// Writes a result file sample by sample; the file has its name once [`NuscenesWriter::finish`] ran.
#[derive(Debug)]
pub struct NuscenesWriter {
    file: SampleFile,
    written: BTreeSet<String>,
    class_names: Vec<String>,
}

impl NuscenesWriter {
    /// Starts a file for a model with these classes.
    ///
    /// # Errors
    /// When the file cannot be written, or a class is none of the ten that the evaluation knows.
    pub fn create(
        path: &Path,
        modality: Modality,
        class_names: &[String],
    ) -> Result<Self, OutputError> {
        let known = |name: &&String| ATTRIBUTES.iter().any(|(class, ..)| class == name);
        if let Some(name) = class_names.iter().find(|name| !known(name)) {
            let classes = ATTRIBUTES.map(|(class, ..)| class).join(", ");
            return Err(OutputError::Content {
                path: path.to_path_buf(),
                reason: format!(
                    "class `{name}` is no nuScenes detection class; expected {classes}; \
                     use the JSON output for this model"
                ),
            });
        }
        Ok(Self {
            file: SampleFile::create(path, modality)?,
            written: BTreeSet::new(),
            class_names: class_names.to_vec(),
        })
    }

    /// Adds a sample: its boxes in the LiDAR frame, the best 500 of them. A sample without boxes must
    /// be added too, since the evaluation wants every sample of its split.
    ///
    /// # Errors
    /// When the sample was added before, a value is not finite, or the file cannot be written.
    pub fn add_sample(
        &mut self,
        sample_token: &str,
        global_from_lidar: &Transform,
        detections: &[Detection],
    ) -> Result<(), OutputError> {
        let mut boxes = Vec::with_capacity(detections.len().min(MAX_BOXES_PER_SAMPLE));
        for found in by_score(detections, f32::NEG_INFINITY)
            .into_iter()
            .take(MAX_BOXES_PER_SAMPLE)
        {
            let name = class_name(&self.class_names, found.label);
            boxes.push(to_global(sample_token, name, found, global_from_lidar));
        }
        let has_nan = detections.iter().any(|found| found.score.is_nan());
        if has_nan || !boxes.iter().all(ResultBox::is_finite) {
            return Err(self.refuse(format!(
                "sample {sample_token} has a box with a value that is not finite; \
                 check the weights and the input of this frame"
            )));
        }
        if !self.written.insert(sample_token.to_owned()) {
            return Err(self.refuse(format!(
                "sample {sample_token} was added before; give each sample once"
            )));
        }
        self.file.add(sample_token, &boxes)
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<(), OutputError> {
        self.file.finish()
    }

    fn refuse(&self, reason: String) -> OutputError {
        OutputError::Content {
            path: self.file.path().to_path_buf(),
            reason,
        }
    }
}

/// The bytes of a result file: braces, commas and samples.
#[derive(Debug)]
pub(super) struct SampleFile {
    file: AtomicFile,
    is_empty: bool,
}

impl SampleFile {
    pub(super) fn create(path: &Path, modality: Modality) -> Result<Self, OutputError> {
        let mut file = AtomicFile::create(path)?;
        let meta = serde_json::to_string(&modality).map_err(OutputError::serialize(path))?;
        write!(file, "{{\"meta\":{meta},\"results\":{{").map_err(OutputError::write(path))?;
        Ok(Self {
            file,
            is_empty: true,
        })
    }

    /// Adds one sample on a line of its own.
    pub(super) fn add(
        &mut self,
        sample_token: &str,
        boxes: &[ResultBox],
    ) -> Result<(), OutputError> {
        let path = self.path().to_path_buf();
        let separator: &[u8] = if self.is_empty { b"\n" } else { b",\n" };
        self.is_empty = false;
        let failed = OutputError::write(&path);
        self.file.write_all(separator).map_err(&failed)?;
        let serialized = OutputError::serialize(&path);
        let key = serde_json::to_string(sample_token).map_err(&serialized)?;
        let value = serde_json::to_string(boxes).map_err(&serialized)?;
        write!(self.file, "{key}:{value}").map_err(failed)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.target()
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        let path: PathBuf = self.path().to_path_buf();
        self.file
            .write_all(b"\n}}\n")
            .map_err(OutputError::write(&path))?;
        self.file.finish()
    }
}

fn to_global(
    sample_token: &str,
    detection_name: String,
    found: &Detection,
    global_from_lidar: &Transform,
) -> ResultBox {
    let [length, width, height] = found.size.map(f64::from);
    let [vx, vy] = found.velocity.map(f64::from);
    let [vx, vy, _] = global_from_lidar.apply_direction([vx, vy, 0.0]);
    let heading = yaw_quaternion(f64::from(found.yaw));
    ResultBox {
        sample_token: sample_token.to_owned(),
        translation: global_from_lidar.apply(found.center().map(f64::from)),
        size: [width, length, height],
        rotation: multiply(quaternion(global_from_lidar), heading),
        velocity: [vx, vy],
        attribute_name: attribute(&detection_name, vx.hypot(vy)).to_owned(),
        detection_name,
        detection_score: f64::from(found.score),
    }
}

fn attribute(class: &str, speed: f64) -> &'static str {
    ATTRIBUTES
        .iter()
        .find(|(name, ..)| *name == class)
        .map_or("", |(_, moving, standing)| {
            if speed > MOVING_SPEED {
                moving
            } else {
                standing
            }
        })
}

#[cfg(test)]
mod tests {
    use super::{Modality, NuscenesWriter, attribute};
    use crate::geometry::Transform;
    use crate::output::Detection;
    use serde_json::Value;

    const LIDAR: Modality = Modality {
        use_camera: false,
        use_lidar: true,
        use_radar: false,
        use_map: false,
        use_external: false,
    };

    fn found(score: f32) -> Detection {
        Detection {
            bottom_center: [10.0, 2.0, -1.0],
            size: [4.0, 2.0, 1.5],
            yaw: 0.5,
            velocity: [1.0, 0.0],
            score,
            label: 0,
        }
    }

    fn written(boxes: &[Detection], pose: &Transform) -> Value {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("result.json");
        let mut writer = NuscenesWriter::create(&path, LIDAR, &["car".to_owned()]).expect("create");
        writer.add_sample("s0", pose, boxes).expect("add");
        writer.add_sample("empty", pose, &[]).expect("add");
        writer.finish().expect("finish");
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json")
    }

    #[test]
    fn a_box_is_moved_turned_and_reordered() {
        let quarter = std::f64::consts::FRAC_PI_2;
        let pose = Transform::from_quaternion(
            [(quarter / 2.0).cos(), 0.0, 0.0, (quarter / 2.0).sin()],
            [100.0, 200.0, 2.0],
        );
        let value = written(&[found(0.75)], &pose);
        assert_eq!(value["meta"]["use_lidar"], true);
        assert_eq!(value["meta"]["use_camera"], false);
        assert_eq!(value["results"]["empty"], serde_json::json!([]));
        let one = &value["results"]["s0"][0];
        let number = |key: &str, i: usize| one[key][i].as_f64().expect("number");
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(number("translation", 0), 98.0));
        assert!(close(number("translation", 1), 210.0));
        assert!(close(number("translation", 2), 1.75));
        assert_eq!(one["size"], serde_json::json!([2.0, 4.0, 1.5]));
        assert!(close(number("velocity", 0), 0.0) && close(number("velocity", 1), 1.0));
        let yaw = 2.0 * number("rotation", 3).atan2(number("rotation", 0));
        assert!(close(yaw, quarter + 0.5), "{yaw}");
        assert_eq!(one["sample_token"], "s0");
        assert_eq!(one["detection_name"], "car");
        assert_eq!(one["attribute_name"], "vehicle.moving");
        assert_eq!(one["detection_score"], 0.75);
    }

    #[test]
    fn only_the_best_five_hundred_boxes_are_kept() {
        let boxes: Vec<_> = (0..600_u16).map(|i| found(f32::from(i) / 600.0)).collect();
        let value = written(&boxes, &Transform::IDENTITY);
        let kept = value["results"]["s0"].as_array().expect("list");
        assert_eq!(kept.len(), 500);
        let worst = kept[499]["detection_score"].as_f64().expect("score");
        assert!((worst - 100.0 / 600.0).abs() < 1e-6);
    }

    #[test]
    fn attributes_follow_the_speed_rule() {
        assert_eq!(attribute("bus", 0.2), "vehicle.stopped");
        assert_eq!(attribute("bus", 0.3), "vehicle.moving");
        assert_eq!(attribute("truck", 0.1), "vehicle.parked");
        assert_eq!(attribute("pedestrian", 0.0), "pedestrian.standing");
        assert_eq!(attribute("pedestrian", 1.0), "pedestrian.moving");
        assert_eq!(attribute("bicycle", 0.0), "cycle.without_rider");
        assert_eq!(attribute("motorcycle", 3.0), "cycle.with_rider");
        assert_eq!(attribute("barrier", 3.0), "");
    }

    #[test]
    fn bad_samples_are_refused_and_leave_no_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("result.json");
        let mut writer = NuscenesWriter::create(&path, LIDAR, &["car".to_owned()]).expect("create");
        let pose = Transform::IDENTITY;
        writer.add_sample("s0", &pose, &[]).expect("add");
        let twice = writer.add_sample("s0", &pose, &[]).expect_err("twice");
        assert!(
            twice.to_string().contains("sample s0 was added before"),
            "{twice}"
        );
        let nan = writer
            .add_sample("s1", &pose, &[found(f32::NAN)])
            .expect_err("nan");
        assert!(nan.to_string().contains("not finite"), "{nan}");
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0);
        let class = NuscenesWriter::create(&path, LIDAR, &["tram".to_owned()]).expect_err("class");
        assert!(class.to_string().contains("class `tram`"), "{class}");
    }
}
