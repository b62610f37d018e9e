//! JSON schemas of the Foxglove messages that a recording holds, with the fields that are written.
//!
//! Names and fields are those of the published message schemas
//! (<https://docs.foxglove.dev/docs/sdk/schemas>); Foxglove recognises a message by its schema's name.

use serde_json::{Map, Value, json};

/// A message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    PointCloud,
    SceneUpdate,
    CompressedImage,
    CameraCalibration,
    ImageAnnotations,
    FrameTransforms,
}

impl Message {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PointCloud => "foxglove.PointCloud",
            Self::SceneUpdate => "foxglove.SceneUpdate",
            Self::CompressedImage => "foxglove.CompressedImage",
            Self::CameraCalibration => "foxglove.CameraCalibration",
            Self::ImageAnnotations => "foxglove.ImageAnnotations",
            Self::FrameTransforms => "foxglove.FrameTransforms",
        }
    }

    pub(super) fn schema(self) -> Value {
        let mut schema = match self {
            Self::PointCloud => point_cloud(),
            Self::SceneUpdate => scene_update(),
            Self::CompressedImage => compressed_image(),
            Self::CameraCalibration => camera_calibration(),
            Self::ImageAnnotations => image_annotations(),
            Self::FrameTransforms => object([("transforms", list(frame_transform()))]),
        };
        schema["title"] = json!(self.name());
        schema
    }
}

/// An object in which every field is required.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let required: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: Map<_, _> = fields
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({"type": "object", "properties": properties, "required": required})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn numbers(count: usize) -> Value {
    json!({"type": "array", "items": number(), "minItems": count, "maxItems": count})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn integer() -> Value {
    json!({"type": "integer"})
}

fn string() -> Value {
    json!({"type": "string"})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn bytes() -> Value {
    json!({"type": "string", "contentEncoding": "base64"})
}

fn time() -> Value {
    let mut schema = object([("sec", integer()), ("nsec", integer())]);
    schema["title"] = json!("time");
    schema
}

fn duration() -> Value {
    let mut schema = object([("sec", integer()), ("nsec", integer())]);
    schema["title"] = json!("duration");
    schema
}

fn point2() -> Value {
    object([("x", number()), ("y", number())])
}

fn vector3() -> Value {
    object([("x", number()), ("y", number()), ("z", number())])
}

fn quaternion() -> Value {
    object([
        ("x", number()),
        ("y", number()),
        ("z", number()),
        ("w", number()),
    ])
}

fn pose() -> Value {
    object([("position", vector3()), ("orientation", quaternion())])
}

fn color() -> Value {
    object([
        ("r", number()),
        ("g", number()),
        ("b", number()),
        ("a", number()),
    ])
}

fn metadata() -> Value {
    list(object([("key", string()), ("value", string())]))
}

fn point_cloud() -> Value {
    let field = object([
        ("name", string()),
        ("offset", integer()),
        ("type", integer()),
    ]);
    object([
        ("timestamp", time()),
        ("frame_id", string()),
        ("pose", pose()),
        ("point_stride", integer()),
        ("fields", list(field)),
        ("data", bytes()),
    ])
}

fn compressed_image() -> Value {
    object([
        ("timestamp", time()),
        ("frame_id", string()),
        ("data", bytes()),
        ("format", string()),
    ])
}

fn camera_calibration() -> Value {
    object([
        ("timestamp", time()),
        ("frame_id", string()),
        ("width", integer()),
        ("height", integer()),
        ("distortion_model", string()),
        ("D", list(number())),
        ("K", numbers(9)),
        ("R", numbers(9)),
        ("P", numbers(12)),
    ])
}

fn frame_transform() -> Value {
    object([
        ("timestamp", time()),
        ("parent_frame_id", string()),
        ("child_frame_id", string()),
        ("translation", vector3()),
        ("rotation", quaternion()),
    ])
}

fn image_annotations() -> Value {
    let points = object([
        ("timestamp", time()),
        ("type", integer()),
        ("points", list(point2())),
        ("outline_color", color()),
        ("outline_colors", list(color())),
        ("fill_color", color()),
        ("thickness", number()),
        ("metadata", metadata()),
    ]);
    let text = object([
        ("timestamp", time()),
        ("position", point2()),
        ("text", string()),
        ("font_size", number()),
        ("text_color", color()),
        ("background_color", color()),
        ("metadata", metadata()),
    ]);
    object([
        ("circles", list(json!({"type": "object"}))),
        ("points", list(points)),
        ("texts", list(text)),
    ])
}

fn scene_update() -> Value {
    let deletion = object([("timestamp", time()), ("type", integer()), ("id", string())]);
    let unused = || list(json!({"type": "object"}));
    let entity = object([
        ("timestamp", time()),
        ("frame_id", string()),
        ("id", string()),
        ("lifetime", duration()),
        ("frame_locked", boolean()),
        ("metadata", metadata()),
        ("arrows", list(arrow())),
        ("cubes", list(cube())),
        ("spheres", unused()),
        ("cylinders", unused()),
        ("lines", list(line())),
        ("triangles", unused()),
        ("texts", list(text())),
        ("models", unused()),
    ]);
    object([("deletions", list(deletion)), ("entities", list(entity))])
}

fn cube() -> Value {
    object([("pose", pose()), ("size", vector3()), ("color", color())])
}

fn arrow() -> Value {
    object([
        ("pose", pose()),
        ("shaft_length", number()),
        ("shaft_diameter", number()),
        ("head_length", number()),
        ("head_diameter", number()),
        ("color", color()),
    ])
}

fn line() -> Value {
    object([
        ("type", integer()),
        ("pose", pose()),
        ("thickness", number()),
        ("scale_invariant", boolean()),
        ("points", list(vector3())),
        ("color", color()),
        ("colors", list(color())),
        ("indices", list(integer())),
    ])
}

fn text() -> Value {
    object([
        ("pose", pose()),
        ("billboard", boolean()),
        ("font_size", number()),
        ("scale_invariant", boolean()),
        ("color", color()),
        ("text", string()),
    ])
}
