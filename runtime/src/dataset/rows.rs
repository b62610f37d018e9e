//! Records of the nuScenes tables, which T4 has too; only the keys that a frame needs.
//!
//! Translations are metres, rotations quaternions w, x, y, z, timestamps microseconds.
//! Source: <https://github.com/nutonomy/nuscenes-devkit/blob/master/docs/schema_nuscenes.md>,
//! <https://github.com/tier4/tier4_perception_dataset/blob/main/docs/t4_format_3d_detailed.md>.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::token::Token;

/// A record of a table that lies in a file of its own.
pub(super) trait Row: DeserializeOwned {
    /// The table's name: the file is `NAME.json`.
    const TABLE: &'static str;

    /// The primary key.
    fn token(&self) -> &Token;
}

/// Names the table of each record type.
macro_rules! tables {
    ($($row:ident = $name:literal,)*) => {
        $(impl Row for $row {
            const TABLE: &'static str = $name;

            fn token(&self) -> &Token {
                &self.token
            }
        })*
    };
}

tables! {
    Scene = "scene",
    Sample = "sample",
    SampleData = "sample_data",
    EgoPose = "ego_pose",
    CalibratedSensor = "calibrated_sensor",
    Sensor = "sensor",
    SampleAnnotation = "sample_annotation",
    Instance = "instance",
    Category = "category",
    Attribute = "attribute",
    Visibility = "visibility",
    Log = "log",
    Map = "map",
}

/// A recording of some 20 s.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Scene {
    pub(super) token: Token,
    pub(super) name: Box<str>,
    #[serde(default)]
    pub(super) description: Box<str>,
    pub(super) log_token: Token,
}

/// An annotated moment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) token: Token,
    pub(super) timestamp: i64,
    pub(super) scene_token: Token,
}

/// A file of one sensor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SampleData {
    pub(super) token: Token,
    pub(super) sample_token: Token,
    pub(super) ego_pose_token: Token,
    pub(super) calibrated_sensor_token: Token,
    pub(super) timestamp: i64,
    pub(super) is_key_frame: bool,
    pub(super) filename: Box<str>,
    #[serde(default = "empty")]
    pub(super) prev: Token,
    /// T4: false where the sensor gave nothing.
    #[serde(default = "valid")]
    pub(super) is_valid: bool,
}

/// Vehicle in the global frame.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EgoPose {
    pub(super) token: Token,
    pub(super) translation: [f64; 3],
    pub(super) rotation: [f64; 4],
}

/// Sensor in the vehicle's frame.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct CalibratedSensor {
    pub(super) token: Token,
    pub(super) sensor_token: Token,
    pub(super) translation: [f64; 3],
    pub(super) rotation: [f64; 4],
    /// Three rows for cameras, empty for others.
    #[serde(default)]
    pub(super) camera_intrinsic: Vec<[f64; 3]>,
}

/// A sensor of the vehicle.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sensor {
    pub(super) token: Token,
    pub(super) channel: Box<str>,
    pub(super) modality: Box<str>,
}

/// A box at one moment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SampleAnnotation {
    pub(super) token: Token,
    pub(super) sample_token: Token,
    pub(super) instance_token: Token,
    #[serde(default = "empty")]
    pub(super) visibility_token: Token,
    #[serde(default)]
    pub(super) attribute_tokens: Vec<Token>,
    /// Centre in the global frame.
    pub(super) translation: [f64; 3],
    /// Width, length, height (m).
    pub(super) size: [f64; 3],
    pub(super) rotation: [f64; 4],
    #[serde(default = "empty")]
    pub(super) prev: Token,
    #[serde(default = "empty")]
    pub(super) next: Token,
    pub(super) num_lidar_pts: i64,
    #[serde(default)]
    pub(super) num_radar_pts: i64,
    /// T4: in the global frame (m/s); absent or null where unknown.
    #[serde(default)]
    pub(super) velocity: Option<[Option<f64>; 3]>,
}

/// One object through a scene.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Instance {
    pub(super) token: Token,
    pub(super) category_token: Token,
}

/// What an object is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Category {
    pub(super) token: Token,
    pub(super) name: Box<str>,
}

/// What an object does.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attribute {
    pub(super) token: Token,
    pub(super) name: Box<str>,
}

/// How much of an object the cameras see.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Visibility {
    pub(super) token: Token,
    pub(super) level: Box<str>,
}

/// A drive.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Log {
    pub(super) token: Token,
    #[serde(default)]
    pub(super) vehicle: Box<str>,
    #[serde(default)]
    pub(super) location: Box<str>,
}

/// A map file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Map {
    pub(super) token: Token,
    #[serde(default)]
    pub(super) log_tokens: Vec<Token>,
    pub(super) filename: Box<str>,
}

fn empty() -> Token {
    Token::new("")
}

fn valid() -> bool {
    true
}
