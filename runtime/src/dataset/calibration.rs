//! Calibration files of single frames: TOML or JSON, described in `docs/calibration.md`.
//!
//! In: a list `cameras` with `name`, `image_from_camera` (3×3, px) and `camera_from_lidar` (4×4, or
//! `rotation` w, x, y, z and `translation` in m). Out: [`CameraCalibration`] per name, in the order of
//! the file. Values are walked by hand so that each message names the key.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::DatasetError;
use super::files::read;
use crate::geometry::{CameraCalibration, Transform};

/// How far a rotation may be from orthonormal: files are often written with four decimals.
const ROTATION_TOLERANCE: f64 = 1e-3;

/// A camera of a calibration file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCalibration {
    /// One of the model's `camera_order`.
    pub name: String,
    /// Intrinsics and pose.
    pub calibration: CameraCalibration,
}

/// Reads a calibration file.
///
/// # Errors
/// When the file is absent, or a key is missing, unknown or holds something else.
pub fn read_calibration(path: &Path) -> Result<Vec<NamedCalibration>, DatasetError> {
    parse_calibration(path, &read(path, || "the command".into())?)
}

/// Parses the bytes of a calibration file; the extension of `path` tells TOML from JSON.
///
/// # Errors
/// When a key is missing, unknown or holds something else.
pub fn parse_calibration(path: &Path, bytes: &[u8]) -> Result<Vec<NamedCalibration>, DatasetError> {
    let root = value(path, bytes)?;
    cameras(&root).map_err(|Wrong { key, problem }| DatasetError::Calibration {
        path: path.into(),
        key,
        problem,
    })
}

fn value(path: &Path, bytes: &[u8]) -> Result<Value, DatasetError> {
    let broken = |problem: String| DatasetError::Calibration {
        path: path.into(),
        key: "whole file".into(),
        problem,
    };
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("json") => {
            serde_json::from_slice(bytes).map_err(|e| broken(format!("not valid JSON: {e}")))
        }
        Some("toml") => {
            let text = str::from_utf8(bytes).map_err(|e| broken(format!("not UTF-8: {e}")))?;
            toml::from_str(text).map_err(|e| broken(format!("not valid TOML: {e}")))
        }
        other => Err(DatasetError::Extension {
            path: path.into(),
            found: other.unwrap_or_default().into(),
            expected: ".toml or .json",
        }),
    }
}

/// A key and what is wrong with it.
struct Wrong {
    key: String,
    problem: String,
}

fn wrong(key: &str, problem: impl Into<String>) -> Wrong {
    Wrong {
        key: key.into(),
        problem: problem.into(),
    }
}

fn expected(key: &str, what: &str, found: &Value) -> Wrong {
    let text = found.to_string();
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    wrong(key, format!("expected {what}, found {short}{dots}"))
}

fn cameras(root: &Value) -> Result<Vec<NamedCalibration>, Wrong> {
    let root = table("top level", root, &["cameras"])?;
    let list = required("", root, "cameras")?;
    let list = list
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or_else(|| expected("cameras", "a list of cameras", list))?;
    let mut named: Vec<NamedCalibration> = Vec::new();
    for (index, camera) in list.iter().enumerate() {
        let key = format!("cameras[{index}]");
        let camera = camera_of(&key, camera)?;
        if named.iter().any(|earlier| earlier.name == camera.name) {
            let problem = format!("the name {:?} stands twice", camera.name);
            return Err(wrong(&format!("{key}.name"), problem));
        }
        named.push(camera);
    }
    Ok(named)
}

fn camera_of(key: &str, value: &Value) -> Result<NamedCalibration, Wrong> {
    let keys = ["name", "image_from_camera", "camera_from_lidar"];
    let camera = table(key, value, &keys)?;
    let name = required(key, camera, "name")?;
    let name = name
        .as_str()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| expected(&format!("{key}.name"), "a name", name))?;
    Ok(NamedCalibration {
        name: name.into(),
        calibration: CameraCalibration {
            image_from_camera: intrinsics(
                &format!("{key}.image_from_camera"),
                required(key, camera, "image_from_camera")?,
            )?,
            camera_from_lidar: pose(
                &format!("{key}.camera_from_lidar"),
                required(key, camera, "camera_from_lidar")?,
            )?,
        },
    })
}

fn intrinsics(key: &str, value: &Value) -> Result<[[f64; 3]; 3], Wrong> {
    let matrix: [[f64; 3]; 3] = matrix(key, value)?;
    let [[fx, ..], [_, fy, _], last] = matrix;
    if fx <= 0.0 || fy <= 0.0 {
        return Err(expected(
            key,
            "focal lengths above 0 on the diagonal (px)",
            value,
        ));
    }
    if !is_near(&last, &[0.0, 0.0, 1.0]) {
        return Err(expected(
            &format!("{key}[2]"),
            "the last row 0, 0, 1",
            &value[2],
        ));
    }
    Ok(matrix)
}

fn pose(key: &str, value: &Value) -> Result<Transform, Wrong> {
    if value.is_object() {
        let parts = table(key, value, &["rotation", "translation"])?;
        let rotation = required(key, parts, "rotation")?;
        let quaternion: [f64; 4] = numbers(&format!("{key}.rotation"), rotation)?;
        let length = quaternion.iter().map(|v| v * v).sum::<f64>().sqrt();
        if (length - 1.0).abs() > ROTATION_TOLERANCE {
            let what = "a quaternion w, x, y, z of length 1";
            return Err(expected(&format!("{key}.rotation"), what, rotation));
        }
        let translation = required(key, parts, "translation")?;
        let translation = numbers(&format!("{key}.translation"), translation)?;
        return Ok(Transform::from_quaternion(quaternion, translation));
    }
    let matrix: [[f64; 4]; 4] = matrix(key, value)?;
    if !is_near(&matrix[3], &[0.0, 0.0, 0.0, 1.0]) {
        let what = "the last row 0, 0, 0, 1 (a transposed matrix has the translation there)";
        return Err(expected(&format!("{key}[3]"), what, &value[3]));
    }
    let pose = Transform::from_matrix(matrix);
    if !is_rotation(&pose) {
        let what = "a rotation (orthonormal, determinant 1) in the upper left 3 x 3 block";
        return Err(expected(key, what, value));
    }
    Ok(pose)
}

fn is_rotation(pose: &Transform) -> bool {
    let rows = pose.linear();
    let product =
        |a: usize, b: usize| -> f64 { rows[a].iter().zip(rows[b]).map(|(x, y)| x * y).sum() };
    let orthonormal = [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (2, 2, 1.0),
        (0, 1, 0.0),
        (0, 2, 0.0),
        (1, 2, 0.0),
    ]
    .iter()
    .all(|(a, b, one)| (product(*a, *b) - one).abs() <= 2.0 * ROTATION_TOLERANCE);
    orthonormal && pose.determinant() > 0.0
}

fn is_near(values: &[f64], wanted: &[f64]) -> bool {
    values
        .iter()
        .zip(wanted)
        .all(|(v, w)| (v - w).abs() <= f64::EPSILON)
}

/// An object with no keys but `known`.
fn table<'a>(key: &str, value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Wrong> {
    let keys = known.join(", ");
    let object = value
        .as_object()
        .ok_or_else(|| expected(key, &format!("a table with {keys}"), value))?;
    match object.keys().find(|k| !known.contains(&k.as_str())) {
        Some(unknown) => Err(wrong(
            key,
            format!("unknown key {unknown:?}; expected {keys}"),
        )),
        None => Ok(object),
    }
}

fn required<'a>(key: &str, table: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Wrong> {
    let at = if key.is_empty() {
        name.into()
    } else {
        format!("{key}.{name}")
    };
    table
        .get(name)
        .ok_or_else(|| wrong(&at, "the key is missing"))
}

fn matrix<const N: usize>(key: &str, value: &Value) -> Result<[[f64; N]; N], Wrong> {
    let list = value.as_array().filter(|rows| rows.len() == N);
    let list = list.ok_or_else(|| expected(key, &format!("{N} rows of {N} numbers"), value))?;
    let mut matrix = [[0.0; N]; N];
    for (index, (row, value)) in matrix.iter_mut().zip(list).enumerate() {
        *row = numbers(&format!("{key}[{index}]"), value)?;
    }
    Ok(matrix)
}

fn numbers<const N: usize>(key: &str, value: &Value) -> Result<[f64; N], Wrong> {
    let list = value.as_array().filter(|numbers| numbers.len() == N);
    let list = list.ok_or_else(|| expected(key, &format!("{N} numbers"), value))?;
    let mut numbers = [0.0; N];
    for (index, (number, value)) in numbers.iter_mut().zip(list).enumerate() {
        *number = value
            .as_f64()
            .filter(|v| v.is_finite())
            .ok_or_else(|| expected(&format!("{key}[{index}]"), "a number", value))?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse_calibration;
    use proptest::prelude::{any, prop_assert, proptest};

    const TOML: &str = "[[cameras]]\nname = 'CAM_FRONT'\n\
        image_from_camera = [[1000, 0, 800.5], [0, 1000, 450], [0, 0, 1]]\n\
        camera_from_lidar = [[1, 0, 0, 0.1], [0, 0, -1, 0.2], [0, 1, 0, 0.3], [0, 0, 0, 1]]\n\
        [[cameras]]\nname = 'CAM_BACK'\n\
        image_from_camera = [[1000, 0, 800.5], [0, 1000, 450], [0, 0, 1]]\n\
        [cameras.camera_from_lidar]\nrotation = [0.7071067811865476, 0.7071067811865476, 0, 0]\n\
        translation = [0.1, 0.2, 0.3]\n";

    fn problem(text: &str) -> String {
        let read = parse_calibration(Path::new("rig.toml"), text.as_bytes());
        read.expect_err("refused").to_string()
    }

    #[test]
    fn a_matrix_and_a_quaternion_say_the_same_in_the_order_of_the_file() {
        let cameras =
            parse_calibration(Path::new("rig.toml"), TOML.as_bytes()).expect("two cameras");
        assert_eq!(cameras[0].name, "CAM_FRONT");
        let moved = |index: usize| {
            cameras[index]
                .calibration
                .camera_from_lidar
                .apply([1.0, 2.0, 3.0])
        };
        let near = moved(0)
            .iter()
            .zip(moved(1))
            .all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{:?} {:?}", moved(0), moved(1));
        assert!((moved(0)[2] - 2.3).abs() < 1e-12, "{:?}", moved(0));
    }

    #[test]
    fn json_has_the_same_keys() {
        let text = r#"{"cameras": [{"name": "A", "image_from_camera": [[1,0,0],[0,1,0],[0,0,1]],
            "camera_from_lidar": {"rotation": [1,0,0,0], "translation": [0,0,0]}}]}"#;
        let cameras =
            parse_calibration(Path::new("rig.json"), text.as_bytes()).expect("one camera");
        assert_eq!(cameras.len(), 1);
        let two = text.replace("}}]", "}},{}]");
        let message =
            parse_calibration(Path::new("rig.json"), two.as_bytes()).expect_err("refused");
        assert!(
            message
                .to_string()
                .contains("rig.json, cameras[1].name: the key is missing"),
            "{message}"
        );
    }

    #[test]
    fn messages_name_file_key_expected_and_found() {
        let cut = problem(&TOML.replacen("[0, 1000, 450], ", "", 1));
        assert!(
            cut.contains("rig.toml, cameras[0].image_from_camera: expected 3 rows of 3 numbers"),
            "{cut}"
        );
        let word = problem(&TOML.replace("translation = [0.1", "translation = ['x'"));
        assert!(
            word.contains(
                "cameras[1].camera_from_lidar.translation[0]: expected a number, found \"x\""
            ),
            "{word}"
        );
        let transposed = problem(&TOML.replacen("[0, 0, 0, 1]", "[0.1, 0.2, 0.3, 1]", 1));
        assert!(
            transposed.contains("cameras[0].camera_from_lidar[3]: expected the last row"),
            "{transposed}"
        );
        let scaled = problem(&TOML.replacen("[0, 1, 0, 0.3]", "[0, 2, 0, 0.3]", 1));
        assert!(scaled.contains("expected a rotation"), "{scaled}");
        let twice = problem(&TOML.replace("CAM_BACK", "CAM_FRONT"));
        assert!(
            twice.contains("cameras[1].name: the name \"CAM_FRONT\" stands twice"),
            "{twice}"
        );
        let unknown = problem(&TOML.replacen("name =", "nmae =", 1));
        assert!(unknown.contains("unknown key \"nmae\""), "{unknown}");
        assert!(problem("cameras = []").contains("expected a list of cameras"));
        assert!(problem("").contains("cameras: the key is missing"));
        assert!(problem("cameras = [").contains("not valid TOML"));
        let other = parse_calibration(Path::new("rig.yaml"), b"").expect_err("refused");
        assert!(
            other.to_string().contains("expected .toml or .json"),
            "{other}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..600) {
            let mut text = TOML.as_bytes()[..cut.min(TOML.len())].to_vec();
            text.extend(bytes);
            for name in ["a.toml", "a.json"] {
                match parse_calibration(Path::new(name), &text) {
                    Ok(cameras) => prop_assert!(!cameras.is_empty()),
                    Err(error) => prop_assert!(error.to_string().contains(name), "{}", error),
                }
            }
        }
    }
}
