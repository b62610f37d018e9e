//! Classes, ranges and thresholds of a nuScenes-style evaluation.

use std::f64::consts::PI;

/// Errors of matched pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpError {
    /// Horizontal distance of the centres (m).
    Translation,
    /// 1 − IoU after aligning centre and heading.
    Scale,
    /// Smallest difference of headings (rad).
    Orientation,
    /// Norm of the velocity difference (m/s).
    Velocity,
    /// 1 − attribute accuracy.
    Attribute,
}

impl TpError {
    /// All, in the order of every `[_; 5]` of this module.
    pub const ALL: [Self; 5] = [
        Self::Translation,
        Self::Scale,
        Self::Orientation,
        Self::Velocity,
        Self::Attribute,
    ];

    /// The devkit's key.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Translation => "trans_err",
            Self::Scale => "scale_err",
            Self::Orientation => "orient_err",
            Self::Velocity => "vel_err",
            Self::Attribute => "attr_err",
        }
    }

    /// Name of its mean over classes.
    #[must_use]
    pub const fn mean_name(self) -> &'static str {
        match self {
            Self::Translation => "mATE",
            Self::Scale => "mASE",
            Self::Orientation => "mAOE",
            Self::Velocity => "mAVE",
            Self::Attribute => "mAAE",
        }
    }
}

/// One class of the evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassConfig {
    /// Its name in result files.
    pub name: String,
    /// Boxes at this horizontal distance from the ego vehicle (m) or farther are not scored.
    pub range: f64,
    /// Headings are compared modulo this angle (rad).
    pub heading_period: f64,
    /// Errors that are not defined for the class (NaN).
    pub undefined: Vec<TpError>,
    /// Whether boxes inside a bicycle rack are not scored.
    pub filtered_by_racks: bool,
}

/// Settings of a nuScenes-style evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalConfig {
    /// The classes.
    pub classes: Vec<ClassConfig>,
    /// Distances (m) below which a pair matches; AP is averaged over them.
    pub distance_thresholds: Vec<f64>,
    /// Index of the threshold at which errors of pairs are taken.
    pub tp_threshold: usize,
    /// Recalls up to this one are left out of AP and errors.
    pub min_recall: f64,
    /// Precision below this one counts as zero.
    pub min_precision: f64,
    /// Most predictions of a sample.
    pub max_boxes_per_sample: usize,
    /// Weight of mAP against one error score in NDS.
    pub mean_ap_weight: f64,
}

impl EvalConfig {
    /// `detection_cvpr_2019` of the nuScenes devkit.
    #[must_use]
    pub fn nuscenes() -> Self {
        let far = ["car", "truck", "bus", "trailer", "construction_vehicle"];
        let middle = ["pedestrian", "motorcycle", "bicycle"];
        let near = ["traffic_cone", "barrier"];
        let ranges = [(&far[..], 50.0), (&middle[..], 40.0), (&near[..], 30.0)];
        let classes = ranges
            .into_iter()
            .flat_map(|(names, range)| names.iter().map(move |name| class(name, range)));
        Self::with_classes(classes.collect())
    }

    /// T4Metric v1: five classes to 120 m. Give every box the attribute `None`.
    #[must_use]
    pub fn t4() -> Self {
        let names = ["car", "truck", "bus", "bicycle", "pedestrian"];
        Self::with_classes(names.iter().map(|name| class(name, 120.0)).collect())
    }

    fn with_classes(classes: Vec<ClassConfig>) -> Self {
        Self {
            classes,
            distance_thresholds: vec![0.5, 1.0, 2.0, 4.0],
            tp_threshold: 2,
            min_recall: 0.1,
            min_precision: 0.1,
            max_boxes_per_sample: 500,
            mean_ap_weight: 5.0,
        }
    }

    /// Index of the class called `name`.
    #[must_use]
    pub fn class_index(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class.name == name)
    }

    /// First recall index of AP and errors.
    #[must_use]
    pub fn first_recall_index(&self) -> usize {
        (100.0 * self.min_recall).round() as usize + 1
    }
}

fn class(name: &str, range: f64) -> ClassConfig {
    use TpError::{Attribute, Orientation, Velocity};
    let undefined = match name {
        "traffic_cone" => vec![Attribute, Velocity, Orientation],
        "barrier" => vec![Attribute, Velocity],
        _ => vec![],
    };
    ClassConfig {
        name: name.to_owned(),
        range,
        heading_period: if name == "barrier" { PI } else { 2.0 * PI },
        undefined,
        filtered_by_racks: matches!(name, "bicycle" | "motorcycle"),
    }
}
