//! Real nuScenes and T4 samples against the reference values of their README, which come from the
//! official devkit. Not part of this repository (non-commercial licence): `BEVFUSION_DATA_DIR`.

use std::io::Write;
use std::path::{Path, PathBuf};

use bevfusion::dataset::{Dataset, Layout, SampleFrame, SampleTruth, read_points};
use bevfusion::geometry::Transform;
use bevfusion::input::{CameraFrame, PointCloud};
use bevfusion_tests::golden::{data_dir, skipped};
use serde_json::Value;

use super::drive::{names, open, points};

const CAMERAS: [&str; 6] = [
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
];
/// Start of the token, boxes, points that land in each of [`CAMERAS`].
const COMPLETE: [(&str, usize, [usize; 6]); 2] = [
    ("ca9a282c", 69, [3696, 3053, 3076, 4089, 4820, 3369]),
    ("3e8750f3", 23, [2904, 2980, 2277, 2116, 3626, 1907]),
];

/// A folder of the sample data; `None`, with a note, where it is not installed.
fn folder(name: &str) -> Option<PathBuf> {
    let folder = data_dir().map(|root| root.join(name));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        skipped(&format!("sample data {name} (BEVFUSION_DATA_DIR)"));
    }
    folder
}

fn complete(dataset: &Dataset, sample: &str) -> SampleFrame {
    dataset
        .frame(sample, &points(10), Some(&names(&CAMERAS)))
        .expect("a frame")
}

fn xyz(cloud: &PointCloud) -> impl Iterator<Item = [f32; 3]> {
    cloud
        .values
        .chunks_exact(cloud.columns)
        .map(|p| [p[0], p[1], p[2]])
}

fn check_point_counts(truth: &SampleTruth, cloud: &PointCloud) {
    for found in &truth.boxes {
        let inside = found.count_inside(xyz(cloud)) as i64;
        assert_eq!(inside, found.num_lidar_pts, "box {}", found.token);
    }
}

/// Points deeper than 1 m that fall inside the image without its one-pixel border.
fn seen(camera: &CameraFrame, cloud: &PointCloud) -> usize {
    let image = camera.image.as_ref().expect("an image");
    let (right, low) = ((image.width - 1) as f64, (image.height - 1) as f64);
    let [k0, k1, _] = camera.calibration.image_from_camera;
    let lands = |point: &[f32; 3]| {
        let [x, y, z] = camera
            .calibration
            .camera_from_lidar
            .apply(point.map(f64::from));
        let u = (k0[0] * x + k0[1] * y) / z + k0[2];
        let v = (k1[0] * x + k1[1] * y) / z + k1[2];
        z > 1.0 && u > 1.0 && u < right && v > 1.0 && v < low
    };
    xyz(cloud).filter(lands).count()
}

/// The devkit rounds to float32 after each of five transforms, so a point at the edge may differ.
fn check_projections(read: &SampleFrame, expected: [usize; 6]) {
    assert_eq!(read.frame.cameras.len(), CAMERAS.len());
    for (camera, expected) in read.frame.cameras.iter().zip(expected) {
        let image = camera.image.as_ref().expect("an image");
        assert_eq!((image.width, image.height), (1600, 900));
        let found = seen(camera, &read.frame.points);
        writeln!(std::io::stdout(), "{}: {found} of {expected}", camera.name).expect("stdout");
        assert!(
            found.abs_diff(expected) <= 1,
            "{}: {found}, {expected}",
            camera.name
        );
    }
}

#[test]
fn nuscenes_key_frames_have_their_points_in_boxes_and_images() {
    let Some(root) = folder("nuscenes-sample") else {
        return;
    };
    let dataset = open(&root);
    assert_eq!(dataset.layout(), Layout::Nuscenes);
    for (sample, boxes, landed) in COMPLETE {
        let read = complete(&dataset, sample);
        assert_eq!(read.truth.boxes.len(), boxes);
        check_point_counts(&read.truth, &read.frame.points);
        check_projections(&read, landed);
    }
    let read = complete(&dataset, "fdc39b23");
    assert_eq!(
        (read.frame.points.len(), read.truth.boxes.len()),
        (34_784, 55)
    );
    assert_eq!(read.missing_cameras, CAMERAS);
    check_point_counts(&read.truth, &read.frame.points);
    let skipped: Vec<bool> = ["3950bd41", "c5f58c19", "700c1a25"]
        .iter()
        .map(|sample| dataset.truth(sample).expect_err("no LiDAR").is_skip())
        .collect();
    assert_eq!(skipped, [true; 3]);
}

/// The boxes of `extra/boxes_lidar_frame.json` by sample.
fn reference(root: &Path) -> Vec<Value> {
    let text = std::fs::read(root.join("extra/boxes_lidar_frame.json")).expect("a file");
    let all: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
    all.into_iter()
        .filter(|sample| sample["has_lidar"] == true)
        .collect()
}

fn vector<const N: usize>(value: &Value) -> [f64; N] {
    std::array::from_fn(|index| value[index].as_f64().expect("a number"))
}

#[derive(Default)]
struct Worst {
    center: f64,
    size: f64,
    yaw: f64,
    velocity: f64,
    velocities: usize,
}

impl Worst {
    fn add(&mut self, truth: &SampleTruth, sample: &Value, here_from_lidar: &Transform) {
        let boxes = sample["boxes"].as_array().expect("boxes");
        assert_eq!(truth.boxes.len(), boxes.len());
        let gap = |a: &[f64], b: &[f64]| {
            a.iter()
                .zip(b)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f64::max)
        };
        for (found, expected) in truth.boxes.iter().zip(boxes) {
            let center = here_from_lidar.apply(vector(&expected["center_lidar"]));
            self.center = self.center.max(gap(&found.center(), &center));
            self.size = self
                .size
                .max(gap(&found.size, &vector::<3>(&expected["size_lwh"])));
            let (sin, cos) = expected["yaw_lidar"].as_f64().expect("yaw").sin_cos();
            let [x, y, _] = here_from_lidar.apply_direction([cos, sin, 0.0]);
            let turn = (found.yaw.sin() * x - found.yaw.cos() * y)
                .atan2(found.yaw.cos() * x + found.yaw.sin() * y);
            self.yaw = self.yaw.max(turn.abs());
            assert_eq!(
                found.num_lidar_pts,
                expected["num_lidar_pts"].as_i64().expect("points")
            );
            if let (Some(velocity), true) =
                (found.velocity, expected["velocity_lidar_xy"].is_array())
            {
                let [x, y] = vector(&expected["velocity_lidar_xy"]);
                let turned = here_from_lidar.apply_direction([x, y, 0.0]);
                self.velocity = self.velocity.max(gap(&velocity, &turned[..2]));
                self.velocities += 1;
            }
        }
    }

    fn print(&self, what: &str) {
        writeln!(
            std::io::stdout(),
            "{what}: centre {:.2e} m, size {:.2e} m, yaw {:.2e} rad, velocity {:.2e} m/s ({} boxes)",
            self.center, self.size, self.yaw, self.velocity, self.velocities
        )
        .expect("stdout");
    }
}

#[test]
fn nuscenes_boxes_agree_with_the_reference_boxes() {
    let Some(root) = folder("nuscenes-sample") else {
        return;
    };
    let dataset = open(&root);
    let mut worst = Worst::default();
    for sample in reference(&root) {
        let truth = dataset
            .truth(sample["sample_token"].as_str().expect("token"))
            .expect("truth");
        for (found, expected) in truth
            .boxes
            .iter()
            .zip(sample["boxes"].as_array().expect("boxes"))
        {
            assert_eq!(
                found.token,
                expected["annotation_token"].as_str().expect("token")
            );
            assert_eq!(found.class, expected["detection_name"].as_str());
            assert_eq!(
                found.category,
                expected["category"].as_str().expect("category")
            );
        }
        worst.add(&truth, &sample, &Transform::IDENTITY);
    }
    worst.print("nuScenes");
    // The reference has six decimals. Only the first key frame has neighbours near enough in time.
    assert!(worst.center < 2e-6 && worst.size < 1e-6 && worst.yaw < 2e-6);
    assert!(worst.velocity < 1e-4);
    assert_eq!(worst.velocities, 23);
}

#[test]
fn t4_frames_of_the_same_scenes_agree() {
    let Some(root) = folder("nuscenes-sample") else {
        return;
    };
    let t4 = root.join("../t4-sample");
    let expected = reference(&root);
    let mut worst = Worst::default();
    for (index, scene, at) in [
        (0, "nuscenes-scene-0061", 0),
        (1, "nuscenes-scene-0103", 0),
        (2, "nuscenes-scene-0103", 4),
    ] {
        let dataset = open(&t4.join(scene));
        assert_eq!(dataset.layout(), Layout::T4);
        let samples = dataset.all_samples().expect("samples");
        let read = complete(&dataset, &samples[at].token);
        check_point_counts(&read.truth, &read.frame.points);
        if let Some((_, _, landed)) = COMPLETE.get(index) {
            check_projections(&read, *landed);
        }
        let mount = &expected[index]["lidar2ego"];
        let ego_from_lidar =
            Transform::from_quaternion(vector(&mount["rotation"]), vector(&mount["translation"]));
        assert_eq!(read.truth.ego_from_lidar, Transform::IDENTITY);
        worst.add(&read.truth, &expected[index], &ego_from_lidar);
    }
    worst.print("T4");
    assert!(worst.center < 2e-6 && worst.size < 1e-6);
    // A yaw about the tilted LiDAR's z is not one about the vehicle's z; likewise velocities.
    assert!(worst.yaw < 2e-3 && worst.velocity < 0.05 && worst.velocities > 0);
}

#[test]
fn the_minimal_t4_dataset_reads() {
    let Some(root) = folder("t4-sample/minimal") else {
        return;
    };
    let dataset = open(&root);
    let samples = dataset.all_samples().expect("samples");
    let order = names(&["CAM_FRONT", "CAM_BACK"]);
    let frames: Vec<SampleFrame> = samples
        .iter()
        .map(|s| {
            dataset
                .frame(&s.token, &points(1), Some(&order))
                .expect("a frame")
        })
        .collect();
    let shape = |f: &SampleFrame| {
        (
            f.frame.points.len(),
            f.frame.cameras.len(),
            f.frame.sweeps.len(),
        )
    };
    assert_eq!(
        frames.iter().map(shape).collect::<Vec<_>>(),
        [(8, 2, 0), (8, 2, 1), (8, 2, 1)]
    );
    assert_eq!(frames.iter().map(|f| f.truth.boxes.len()).sum::<usize>(), 4);
    let sweep = &frames[1].frame.sweeps[0];
    let moved = Transform::new(Transform::IDENTITY.linear(), [-10.0, 0.0, 0.0]);
    assert_eq!(sweep.key_from_sweep, moved);
    assert!((sweep.time_lag - 1.0).abs() < 1e-12);
}

#[test]
fn real_point_files_of_other_formats_read() {
    let Some(root) = folder("lidar-frames") else {
        return;
    };
    let expected = [
        (
            "autoware-drivers/velodyne-vls128-1585897255376374245.pcd",
            208_680,
        ),
        (
            "autoware-drivers/hesai-pandar-xt32-1673400678101968885.pcd",
            63_021,
        ),
        (
            "autoware-drivers/velodyne-vlp16-1673400472138016708.pcd",
            14_831,
        ),
    ];
    for (file, len) in expected {
        let cloud = read_points(&root.join(file), 5).expect("a cloud");
        assert_eq!((cloud.len(), cloud.columns), (len, 4));
        let far = xyz(&cloud)
            .flatten()
            .fold(0.0_f32, |most, v| most.max(v.abs()));
        assert!(far > 1.0 && far < 300.0, "{file}: {far}");
    }
    let vlp16 = read_points(&root.join(expected[2].0), 5).expect("a cloud");
    assert!(
        vlp16.values.chunks_exact(4).any(|p| p[3] > 0.0),
        "intensity"
    );
    let kitti = std::fs::read_dir(root.join("kitti/training/velodyne_reduced")).expect("KITTI");
    let bin = kitti
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|p| p.extension().is_some_and(|e| e == "bin"));
    let cloud = read_points(&bin.expect("a file"), 4).expect("a cloud");
    assert_eq!(cloud.len(), 19_097);
}
