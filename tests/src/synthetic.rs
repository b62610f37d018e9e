//! A small made-up drive, written as a genuine nuScenes or T4 dataset.
//!
//! Out: a folder with all 13 tables, point files and JPEGs. The vehicle drives a curve past two moving
//! objects and a standing one. Three samples half a second apart: the second has two sweeps before it,
//! the third has one camera and no cloud. Points are a grid inside each box and a few on the ground, in
//! the same order in every cloud, so that a test can follow them.

use std::fs;
use std::io;
use std::path::Path;

use bevfusion::dataset::Layout;
use bevfusion::geometry::Transform;
use bevfusion::input::{RgbImage, encode_jpeg};
use serde_json::{Value, json};

/// Time of the first sample (µs).
pub const START_US: i64 = 1_600_000_000_000_000;
/// Time between samples (µs).
pub const SAMPLE_INTERVAL_US: i64 = 500_000;
/// Sweeps before the second sample's key cloud (µs before it), nearest first.
pub const SWEEP_LAGS_US: [i64; 2] = [50_000, 100_000];
/// A cloud is this much later than its sample (µs).
pub const LIDAR_DELAY_US: i64 = 2_000;
/// An image is this much earlier than its sample (µs).
pub const CAMERA_LEAD_US: i64 = 30_000;
/// Points inside each box.
pub const POINTS_PER_BOX: usize = 27;
/// Points on the ground, behind those of the boxes.
pub const GROUND_POINTS: usize = 20;
/// Camera channels; the third sample has only the first.
pub const CAMERAS: [&str; 2] = ["CAM_FRONT", "CAM_BACK"];
/// Pinhole matrix of both cameras (px).
pub const IMAGE_FROM_CAMERA: [[f64; 3]; 3] =
    [[40.0, 0.0, 32.0], [0.0, 40.0, 24.0], [0.0, 0.0, 1.0]];
/// Width, height of the images (px).
pub const IMAGE_SIZE: [usize; 2] = [64, 48];

const SAMPLES: i64 = 3;

/// An object that drives straight on; all lengths in m, speeds in m/s, global frame.
pub struct Object {
    /// Category in nuScenes, in T4.
    pub categories: [&'static str; 2],
    /// Width, length, height.
    pub size: [f64; 3],
    /// Heading (rad).
    pub yaw: f64,
    /// x, y at [`START_US`]; the bottom is at z = 0.
    pub start: [f64; 2],
    /// x, y velocity.
    pub velocity: [f64; 2],
}

/// The objects of the drive; the last one stands.
pub const OBJECTS: [Object; 3] = [
    Object {
        categories: ["vehicle.car", "car"],
        size: [1.9, 4.5, 1.6],
        yaw: 0.4,
        start: [612.0, 1604.0],
        velocity: [3.0, 1.25],
    },
    Object {
        categories: ["human.pedestrian.adult", "pedestrian.adult"],
        size: [0.7, 0.6, 1.8],
        yaw: -1.2,
        start: [592.0, 1606.0],
        velocity: [-0.5, 1.0],
    },
    Object {
        categories: ["vehicle.truck", "vehicle.truck"],
        size: [2.5, 7.0, 3.0],
        yaw: 2.9,
        start: [605.0, 1590.0],
        velocity: [0.0, 0.0],
    },
];

impl Object {
    /// The box's frame (origin in its centre) in the global frame at a time.
    #[must_use]
    pub fn global_from_box(&self, time_us: i64) -> Transform {
        Transform::from_quaternion(heading(self.yaw), self.center(time_us))
    }

    fn center(&self, time_us: i64) -> [f64; 3] {
        let t = elapsed(time_us);
        let [x, y] = self.start;
        [
            x + self.velocity[0] * t,
            y + self.velocity[1] * t,
            0.5 * self.size[2],
        ]
    }
}

/// Time of a sample (µs).
#[must_use]
pub fn sample_time_us(sample: i64) -> i64 {
    START_US + sample * SAMPLE_INTERVAL_US
}

/// The vehicle in the global frame at a time.
#[must_use]
pub fn global_from_ego(time_us: i64) -> Transform {
    Transform::from_quaternion(ego_rotation(time_us), ego_translation(time_us))
}

/// The LiDAR in the vehicle's frame: T4 clouds are in base_link.
#[must_use]
pub fn ego_from_lidar(layout: Layout) -> Transform {
    let (rotation, translation) = lidar_mount(layout);
    Transform::from_quaternion(rotation, translation)
}

/// A camera in the vehicle's frame, by its place in [`CAMERAS`].
#[must_use]
pub fn ego_from_camera(camera: usize) -> Transform {
    let (rotation, translation) = camera_mount(camera);
    Transform::from_quaternion(rotation, translation)
}

/// The token of a record: 32 hexadecimal digits made from its name.
#[must_use]
pub fn token(name: &str) -> String {
    let digest = |seed: u64| {
        name.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    format!(
        "{:016x}{:016x}",
        digest(0xcbf2_9ce4_8422_2325),
        digest(0x9e37_79b9_7f4a_7c15)
    )
}

/// Writes the drive into `root`: for nuScenes as version `v1.0-synthetic`, for T4 flat.
///
/// # Errors
/// When a file cannot be written.
pub fn write_dataset(root: &Path, layout: Layout) -> io::Result<()> {
    let tables = root.join(match layout {
        Layout::Nuscenes => "v1.0-synthetic",
        Layout::T4 => "annotation",
    });
    fs::create_dir_all(&tables)?;
    let mut records = Records::default();
    for sample in 0..SAMPLES {
        if sample == 1 {
            for lag_us in SWEEP_LAGS_US.iter().rev() {
                write_cloud(root, layout, &mut records, (sample, *lag_us))?;
            }
        }
        if sample < 2 {
            write_cloud(root, layout, &mut records, (sample, 0))?;
        }
        let cameras = if sample < 2 { CAMERAS.len() } else { 1 };
        for camera in 0..cameras {
            write_image(root, layout, &mut records, (sample, camera))?;
        }
    }
    link(&mut records.data);
    let named = [
        ("scene", scenes()),
        ("sample", samples()),
        ("sample_data", records.data),
        ("ego_pose", records.poses),
        ("calibrated_sensor", calibrated_sensors(layout)),
        ("sensor", sensors(layout)),
        ("sample_annotation", annotations(layout)),
        ("instance", instances()),
        ("category", categories(layout)),
        (
            "attribute",
            vec![json!({"token": token("moving"), "name": "moving", "description": ""})],
        ),
        (
            "visibility",
            vec![json!({"token": "4", "level": "full", "description": ""})],
        ),
        (
            "log",
            vec![
                json!({"token": token("log"), "logfile": "", "vehicle": "cart", "location": "yard"}),
            ],
        ),
        (
            "map",
            vec![
                json!({"token": token("map"), "log_tokens": [token("log")], "category": "", "filename": "map.png"}),
            ],
        ),
    ];
    for (name, rows) in named {
        fs::write(
            tables.join(name).with_extension("json"),
            Value::Array(rows).to_string(),
        )?;
    }
    Ok(())
}

#[derive(Default)]
struct Records {
    data: Vec<Value>,
    poses: Vec<Value>,
}

/// Names the neighbours of the cloud records, which are in the order of time.
fn link(data: &mut [Value]) {
    let lidar = |row: &Value| row["calibrated_sensor_token"] == token("calibrated LIDAR").as_str();
    let clouds: Vec<usize> = (0..data.len())
        .filter(|index| lidar(&data[*index]))
        .collect();
    for pair in clouds.windows(2) {
        data[pair[1]]["prev"] = data[pair[0]]["token"].clone();
        data[pair[0]]["next"] = data[pair[1]]["token"].clone();
    }
}

fn elapsed(time_us: i64) -> f64 {
    (time_us - START_US) as f64 * 1e-6
}

/// A quaternion w, x, y, z about z.
fn heading(yaw: f64) -> [f64; 4] {
    [(0.5 * yaw).cos(), 0.0, 0.0, (0.5 * yaw).sin()]
}

fn ego_rotation(time_us: i64) -> [f64; 4] {
    heading(0.6 + 0.2 * elapsed(time_us))
}

fn ego_translation(time_us: i64) -> [f64; 3] {
    let t = elapsed(time_us);
    [600.0 + 6.0 * t, 1600.0 + 2.0 * t, 0.0]
}

fn lidar_mount(layout: Layout) -> ([f64; 4], [f64; 3]) {
    match layout {
        Layout::Nuscenes => (heading(-1.57), [0.9, 0.0, 1.8]),
        Layout::T4 => (heading(0.0), [0.0; 3]),
    }
}

fn camera_mount(camera: usize) -> ([f64; 4], [f64; 3]) {
    match camera {
        0 => ([0.5, -0.5, 0.5, -0.5], [1.7, 0.0, 1.5]),
        _ => ([0.5, -0.5, -0.5, 0.5], [0.0, 0.0, 1.6]),
    }
}

fn lidar_channel(layout: Layout) -> &'static str {
    match layout {
        Layout::Nuscenes => "LIDAR_TOP",
        Layout::T4 => "LIDAR_CONCAT",
    }
}

/// x, y, z, intensity, ring of every point in the LiDAR's frame.
fn cloud(layout: Layout, time_us: i64) -> Vec<f32> {
    let pose = global_from_ego(time_us).compose(&ego_from_lidar(layout));
    let Some(lidar_from_global) = pose.inverse() else {
        return Vec::new();
    };
    let mut global = Vec::new();
    for object in &OBJECTS {
        let global_from_box = object.global_from_box(time_us);
        let [width, length, height] = object.size;
        for index in 0..POINTS_PER_BOX {
            let at = |place: usize| 0.4 * ((index / place % 3) as f64 - 1.0);
            global.push(global_from_box.apply([at(1) * length, at(3) * width, at(9) * height]));
        }
    }
    global.extend((0..GROUND_POINTS).map(|i| [580.0 + 2.0 * i as f64, 1625.0, 0.0]));
    let row = |point: [f64; 3]| {
        let [x, y, z] = lidar_from_global.apply(point).map(|v| v as f32);
        [x, y, z, 100.0, 0.0]
    };
    global.into_iter().flat_map(row).collect()
}

fn write_cloud(
    root: &Path,
    layout: Layout,
    records: &mut Records,
    (sample, lag_us): (i64, i64),
) -> io::Result<()> {
    let time_us = sample_time_us(sample) + LIDAR_DELAY_US - lag_us;
    let channel = lidar_channel(layout);
    let filename = match (layout, lag_us) {
        (Layout::T4, _) => format!("data/{channel}/{time_us}.pcd.bin"),
        (Layout::Nuscenes, 0) => format!("samples/{channel}/{time_us}.pcd.bin"),
        (Layout::Nuscenes, _) => format!("sweeps/{channel}/{time_us}.pcd.bin"),
    };
    let bytes: Vec<u8> = cloud(layout, time_us)
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    write_file(&root.join(&filename), &bytes)?;
    add(records, sample, "LIDAR", (time_us, lag_us == 0), &filename);
    Ok(())
}

fn write_image(
    root: &Path,
    layout: Layout,
    records: &mut Records,
    (sample, camera): (i64, usize),
) -> io::Result<()> {
    let (name, time_us) = (CAMERAS[camera], sample_time_us(sample) - CAMERA_LEAD_US);
    let folder = match layout {
        Layout::Nuscenes => "samples",
        Layout::T4 => "data",
    };
    let filename = format!("{folder}/{name}/{time_us}.jpg");
    let [width, height] = IMAGE_SIZE;
    let shade = 60 * (camera as u8 + 1);
    let image = RgbImage {
        width,
        height,
        pixels: [shade, 128, 200].repeat(width * height),
    };
    let bytes = encode_jpeg(&image, 90).map_err(io::Error::other)?;
    write_file(&root.join(&filename), &bytes)?;
    add(records, sample, name, (time_us, true), &filename);
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

/// A `sample_data` record and its `ego_pose`.
fn add(records: &mut Records, sample: i64, sensor: &str, (time_us, key): (i64, bool), file: &str) {
    let own = token(file);
    records.data.push(json!({
        "token": own, "sample_token": token(&format!("sample {sample}")), "ego_pose_token": own,
        "calibrated_sensor_token": token(&format!("calibrated {sensor}")),
        "timestamp": time_us, "is_key_frame": key, "filename": file,
        "fileformat": if sensor == "LIDAR" { "pcd" } else { "jpg" },
        "width": IMAGE_SIZE[0], "height": IMAGE_SIZE[1], "prev": "", "next": "",
    }));
    records.poses.push(json!({
        "token": own, "timestamp": time_us,
        "rotation": ego_rotation(time_us), "translation": ego_translation(time_us),
    }));
}

fn scenes() -> Vec<Value> {
    vec![json!({
        "token": token("scene"), "name": "scene-0001", "description": "A curve in a yard",
        "log_token": token("log"), "nbr_samples": SAMPLES,
        "first_sample_token": token("sample 0"), "last_sample_token": token("sample 2"),
    })]
}

/// The token of `name index`, or none outside `0..count`.
fn neighbour(name: &str, index: i64, count: i64) -> String {
    match (0..count).contains(&index) {
        true => token(&format!("{name} {index}")),
        false => String::new(),
    }
}

fn samples() -> Vec<Value> {
    let sample = |index| {
        json!({
            "token": token(&format!("sample {index}")), "timestamp": sample_time_us(index),
            "scene_token": token("scene"), "prev": neighbour("sample", index - 1, SAMPLES),
            "next": neighbour("sample", index + 1, SAMPLES),
        })
    };
    (0..SAMPLES).map(sample).collect()
}

fn calibrated_sensors(layout: Layout) -> Vec<Value> {
    let row = |sensor: &str, (rotation, translation), intrinsic: Value| {
        json!({
            "token": token(&format!("calibrated {sensor}")), "sensor_token": token(sensor),
            "rotation": rotation, "translation": translation, "camera_intrinsic": intrinsic,
        })
    };
    let cameras = CAMERAS.iter().enumerate();
    let cameras = cameras.map(|(at, name)| row(name, camera_mount(at), json!(IMAGE_FROM_CAMERA)));
    let mut rows: Vec<Value> = cameras.collect();
    rows.push(row("LIDAR", lidar_mount(layout), json!([])));
    rows
}

fn sensors(layout: Layout) -> Vec<Value> {
    let row = |sensor: &str, channel: &str, modality: &str| json!({"token": token(sensor), "channel": channel, "modality": modality});
    let mut rows: Vec<Value> = CAMERAS
        .iter()
        .map(|name| row(name, name, "camera"))
        .collect();
    rows.push(row("LIDAR", lidar_channel(layout), "lidar"));
    rows
}

fn annotations(layout: Layout) -> Vec<Value> {
    let mut rows = Vec::new();
    for sample in 0..SAMPLES {
        for (index, object) in OBJECTS.iter().enumerate() {
            let name = format!("annotation {index}");
            let mut row = json!({
                "token": token(&format!("{name} {sample}")),
                "sample_token": token(&format!("sample {sample}")),
                "instance_token": token(&format!("instance {index}")),
                "visibility_token": "4", "attribute_tokens": [token("moving")],
                "translation": object.center(sample_time_us(sample)),
                "size": object.size, "rotation": heading(object.yaw),
                "prev": neighbour(&name, sample - 1, SAMPLES),
                "next": neighbour(&name, sample + 1, SAMPLES),
                "num_lidar_pts": POINTS_PER_BOX, "num_radar_pts": 0,
            });
            // The first object's T4 velocity is annotated, the others' come from the chain.
            if layout == Layout::T4 {
                let [x, y] = object.velocity;
                row["velocity"] = if index == 0 {
                    json!([x, y, 0.0])
                } else {
                    Value::Null
                };
            }
            rows.push(row);
        }
    }
    rows
}

fn instances() -> Vec<Value> {
    let row = |index| {
        json!({
            "token": token(&format!("instance {index}")),
            "category_token": token(&format!("category {index}")),
            "nbr_annotations": SAMPLES,
        })
    };
    (0..OBJECTS.len()).map(row).collect()
}

fn categories(layout: Layout) -> Vec<Value> {
    let of = |object: &Object| object.categories[usize::from(layout == Layout::T4)];
    let row = |(index, object)| json!({"token": token(&format!("category {index}")), "name": of(object), "description": ""});
    OBJECTS.iter().enumerate().map(row).collect()
}
