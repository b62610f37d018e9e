//! Foxglove messages of one frame, as JSON values of the types in
//! [`foxglove_schema`](super::foxglove_schema).
//!
//! Lengths are metres, angles quaternions, pixels count from the top left corner.

use serde_json::{Value, json};

use super::projection::{EDGES, Projector, corners};
use super::rotation::{quaternion, yaw_quaternion};
use super::style::{GROUND_TRUTH, Ink, class_color};
use super::{Detection, FrameView, base64};
use crate::geometry::Transform;
use crate::input::{CameraFrame, PointCloud, RgbImage};

const NS_PER_S: u64 = 1_000_000_000;
/// `NumericType::FLOAT32`.
const FLOAT32: u8 = 7;
const POINT_FIELDS: [&str; 4] = ["x", "y", "z", "intensity"];
const BYTES_PER_VALUE: usize = 4;
/// `SceneEntityDeletionType::ALL`.
const DELETE_ALL: u8 = 1;
/// `LinePrimitive` type `LINE_LIST`.
const SCENE_LINE_LIST: u8 = 2;
/// `PointsAnnotationType::LINE_LIST`.
const IMAGE_LINE_LIST: u8 = 4;
/// Arrows of slower objects are left out (m/s).
const LEAST_ARROW_SPEED: f32 = 0.5;

/// What a group of boxes is and how it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Filled, in the colour of the class, with score and velocity.
    Found,
    /// White outlines.
    Truth,
}

impl Kind {
    fn ink(self, view: &FrameView<'_>, found: &Detection) -> Ink {
        match self {
            Self::Found => Ink::solid(class_color(&view.class_name(found.label), found.label)),
            Self::Truth => GROUND_TRUTH,
        }
    }
}

pub(super) fn time(timestamp_ns: u64) -> Value {
    json!({"sec": timestamp_ns / NS_PER_S, "nsec": timestamp_ns % NS_PER_S})
}

pub(super) fn point_cloud(time: &Value, frame_id: &str, cloud: &PointCloud) -> Value {
    let width = POINT_FIELDS.len().min(cloud.columns);
    let mut bytes = Vec::with_capacity(cloud.len() * width * BYTES_PER_VALUE);
    for row in cloud.values.chunks_exact(cloud.columns.max(1)) {
        for value in row.iter().take(width) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    let fields: Vec<_> = POINT_FIELDS
        .iter()
        .take(width)
        .enumerate()
        .map(|(i, name)| json!({"name": name, "offset": i * BYTES_PER_VALUE, "type": FLOAT32}))
        .collect();
    json!({
        "timestamp": time,
        "frame_id": frame_id,
        "pose": pose([0.0; 3], yaw_quaternion(0.0)),
        "point_stride": width * BYTES_PER_VALUE,
        "fields": fields,
        "data": base64::encode(&bytes),
    })
}

/// Replaces all boxes of a topic by these.
pub(super) fn scene_update(
    time: &Value,
    frame_id: &str,
    view: &FrameView<'_>,
    boxes: &[Detection],
    kind: Kind,
) -> Value {
    let entities: Vec<_> = boxes
        .iter()
        .enumerate()
        .map(|(index, found)| {
            let ink = kind.ink(view, found);
            let mut metadata = vec![json!({"key": "class", "value": view.class_name(found.label)})];
            if kind == Kind::Found {
                let score = format!("{:.3}", found.score);
                metadata.push(json!({"key": "score", "value": score}));
            }
            let is_found = kind == Kind::Found;
            json!({
                "timestamp": time,
                "frame_id": frame_id,
                "id": index.to_string(),
                "lifetime": {"sec": 0, "nsec": 0},
                "frame_locked": true,
                "metadata": metadata,
                "cubes": if is_found { vec![cube(found, ink)] } else { Vec::new() },
                "lines": [outline(found, ink)],
                "arrows": if is_found { arrows(found, ink) } else { Vec::new() },
                "texts": if is_found { vec![score_text(found, ink)] } else { Vec::new() },
                "spheres": [], "cylinders": [], "triangles": [], "models": [],
            })
        })
        .collect();
    json!({
        "deletions": [{"timestamp": time, "type": DELETE_ALL, "id": ""}],
        "entities": entities,
    })
}

fn cube(found: &Detection, ink: Ink) -> Value {
    json!({
        "pose": pose(found.center().map(f64::from), yaw_quaternion(found.yaw.into())),
        "size": vector3(found.size.map(f64::from)),
        "color": color(ink.with_alpha(0.15 + 0.35 * found.score.clamp(0.0, 1.0))),
    })
}

fn outline(found: &Detection, ink: Ink) -> Value {
    let corners = corners(found);
    let points: Vec<_> = EDGES
        .iter()
        .flatten()
        .map(|&corner| vector3(corners[corner]))
        .collect();
    json!({
        "type": SCENE_LINE_LIST,
        "pose": pose([0.0; 3], yaw_quaternion(0.0)),
        "thickness": 2.0,
        "scale_invariant": true,
        "points": points,
        "color": color(ink),
        "colors": [],
        "indices": [],
    })
}

/// The way of one second.
fn arrows(found: &Detection, ink: Ink) -> Vec<Value> {
    let [vx, vy] = found.velocity;
    let speed = vx.hypot(vy);
    if speed.is_nan() || speed < LEAST_ARROW_SPEED {
        return Vec::new();
    }
    let heading = yaw_quaternion(f64::from(vy).atan2(vx.into()));
    let head = 0.6_f32.min(speed);
    vec![json!({
        "pose": pose(found.center().map(f64::from), heading),
        "shaft_length": speed - head,
        "shaft_diameter": 0.12,
        "head_length": head,
        "head_diameter": 0.35,
        "color": color(ink),
    })]
}

fn score_text(found: &Detection, ink: Ink) -> Value {
    let [x, y, z] = found.center().map(f64::from);
    let above = z + 0.5 * f64::from(found.size[2]) + 0.4;
    json!({
        "pose": pose([x, y, above], yaw_quaternion(0.0)),
        "billboard": true,
        "font_size": 12.0,
        "scale_invariant": true,
        "color": color(ink),
        "text": format!("{:.2}", found.score),
    })
}

pub(super) fn compressed_image(time: &Value, frame_id: &str, jpeg: &[u8]) -> Value {
    json!({
        "timestamp": time,
        "frame_id": frame_id,
        "data": base64::encode(jpeg),
        "format": "jpeg",
    })
}

pub(super) fn camera_calibration(time: &Value, camera: &CameraFrame, image: &RgbImage) -> Value {
    let [a, b, c] = camera.calibration.image_from_camera;
    let row = |r: [f64; 3]| [r[0], r[1], r[2], 0.0];
    json!({
        "timestamp": time,
        "frame_id": camera.name,
        "width": image.width,
        "height": image.height,
        "distortion_model": "plumb_bob",
        "D": [0.0, 0.0, 0.0, 0.0, 0.0],
        "K": ([a, b, c].concat()),
        "R": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "P": ([row(a), row(b), row(c)].concat()),
    })
}

/// The boxes that a camera sees, as lines and labels on its image.
pub(super) fn image_annotations(
    time: &Value,
    view: &FrameView<'_>,
    (camera, image): (&CameraFrame, &RgbImage),
    boxes: &[(Kind, &[Detection])],
) -> Value {
    let projector = Projector::new(camera.calibration, [image.width, image.height]);
    let (mut lines, mut texts) = (Vec::new(), Vec::new());
    let all = boxes
        .iter()
        .flat_map(|(kind, boxes)| boxes.iter().map(move |found| (*kind, found)));
    for (kind, found) in all {
        let Some(visible) = projector.project(found) else {
            continue;
        };
        let ink = kind.ink(view, found);
        let points: Vec<_> = visible.edges.iter().flatten().map(|p| point2(*p)).collect();
        lines.push(json!({
            "timestamp": time,
            "type": IMAGE_LINE_LIST,
            "points": points,
            "outline_color": color(ink),
            "outline_colors": [],
            "fill_color": color(ink.with_alpha(0.0)),
            "thickness": if kind == Kind::Found { 3.0 } else { 1.0 },
            "metadata": [],
        }));
        if kind == Kind::Found {
            let corner = visible
                .edges
                .iter()
                .flatten()
                .fold([f32::MAX; 2], |a, b| [a[0].min(b[0]), a[1].min(b[1])]);
            let name = view.class_name(found.label);
            texts.push(json!({
                "timestamp": time,
                "position": point2(corner),
                "text": format!("{name} {:.2}", found.score),
                "font_size": 18.0,
                "text_color": color(ink),
                "background_color": {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.6},
                "metadata": [],
            }));
        }
    }
    json!({"circles": [], "points": lines, "texts": texts})
}

/// Where `child` is in `parent`.
pub(super) fn frame_transform(
    time: &Value,
    (parent, child): (&str, &str),
    parent_from_child: &Transform,
) -> Value {
    json!({
        "timestamp": time,
        "parent_frame_id": parent,
        "child_frame_id": child,
        "translation": vector3(parent_from_child.translation()),
        "rotation": rotation(quaternion(parent_from_child)),
    })
}

fn pose(position: [f64; 3], wxyz: [f64; 4]) -> Value {
    json!({"position": vector3(position), "orientation": rotation(wxyz)})
}

fn rotation([w, x, y, z]: [f64; 4]) -> Value {
    json!({"x": x, "y": y, "z": z, "w": w})
}

fn vector3([x, y, z]: [f64; 3]) -> Value {
    json!({"x": x, "y": y, "z": z})
}

fn point2([x, y]: [f32; 2]) -> Value {
    json!({"x": x, "y": y})
}

fn color(ink: Ink) -> Value {
    let [r, g, b] = ink.rgb.map(|v| f64::from(v) / f64::from(u8::MAX));
    json!({"r": r, "g": g, "b": b, "a": ink.alpha})
}
