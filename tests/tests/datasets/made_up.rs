//! What the readers must find in the made-up drive of `bevfusion_tests::synthetic`.

use bevfusion::dataset::{Dataset, Layout, SampleFrame, Shard, SingleFiles, read_single};
use bevfusion::geometry::Transform;
use bevfusion_tests::synthetic::{
    CAMERA_LEAD_US, CAMERAS, GROUND_POINTS, IMAGE_FROM_CAMERA, IMAGE_SIZE, LIDAR_DELAY_US, OBJECTS,
    POINTS_PER_BOX, SWEEP_LAGS_US, ego_from_camera, ego_from_lidar, global_from_ego,
    sample_time_us, token, write_dataset,
};

use super::drive::{drive, names, points};

const BOTH: [Layout; 2] = [Layout::Nuscenes, Layout::T4];

fn second(dataset: &Dataset) -> SampleFrame {
    let order = names(&CAMERAS);
    dataset
        .frame(&token("sample 1"), &points(9), Some(&order))
        .expect("a frame")
}

fn lidar_pose(layout: Layout, time_us: i64) -> Transform {
    global_from_ego(time_us).compose(&ego_from_lidar(layout))
}

fn gap(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f64::max)
}

fn xyz(point: &[f32]) -> [f32; 3] {
    [point[0], point[1], point[2]]
}

#[test]
fn scenes_and_samples_come_in_the_order_of_time() {
    for layout in BOTH {
        let (_folder, dataset) = drive(layout);
        assert_eq!(dataset.layout(), layout);
        let scenes = dataset.scenes().expect("scenes");
        assert_eq!(
            (scenes[0].name.as_str(), scenes[0].location.as_str()),
            ("scene-0001", "yard")
        );
        let samples = dataset.samples("scene-0001").expect("samples");
        let times: Vec<i64> = samples.iter().map(|s| s.timestamp_us).collect();
        assert_eq!(times, [0, 1, 2].map(sample_time_us));
        assert_eq!(dataset.all_samples().expect("samples"), samples);
        assert_eq!(
            dataset.samples(&scenes[0].token).expect("by token"),
            samples
        );
        let rest = Shard::new(1, 2).expect("a part").range(samples.len());
        assert_eq!(samples[rest], samples[2..]);
        let map = dataset.map_file(&scenes[0]).expect("table").expect("a map");
        assert!(map.ends_with("map.png"));
    }
}

#[test]
fn a_unique_start_of_a_token_finds_its_sample() {
    let (_folder, dataset) = drive(Layout::Nuscenes);
    let whole = token("sample 1");
    assert_eq!(
        dataset.find_sample(&whole[..12]).expect("unique").token,
        whole
    );
}

#[test]
fn boxes_hold_their_points_and_have_class_heading_and_velocity() {
    for layout in BOTH {
        let (_folder, dataset) = drive(layout);
        let SampleFrame { frame, truth, .. } = second(&dataset);
        assert_eq!(
            frame.points.len(),
            OBJECTS.len() * POINTS_PER_BOX + GROUND_POINTS
        );
        let classes: Vec<_> = truth.boxes.iter().map(|b| b.class).collect();
        assert_eq!(classes, [Some("car"), Some("pedestrian"), Some("truck")]);
        let time_us = sample_time_us(1);
        assert_eq!(truth.lidar_timestamp_us, time_us + LIDAR_DELAY_US);
        assert_eq!(frame.stamp_ns, Some(1000 * truth.lidar_timestamp_us));
        let image_ns = 1000 * (time_us - CAMERA_LEAD_US);
        let stamps = frame.cameras.iter().map(|camera| camera.stamp_ns);
        assert!(stamps.into_iter().all(|stamp| stamp == Some(image_ns)));
        let lidar_pose = lidar_pose(layout, truth.lidar_timestamp_us);
        assert_eq!(truth.global_from_lidar(), lidar_pose);
        let lidar_from_global = lidar_pose.inverse().expect("rigid");
        for (object, found) in OBJECTS.iter().zip(&truth.boxes) {
            let inside = found.count_inside(frame.points.values.chunks_exact(5).map(xyz));
            assert_eq!(inside, POINTS_PER_BOX);
            assert_eq!(found.num_lidar_pts, POINTS_PER_BOX as i64);
            let expected = lidar_from_global.compose(&object.global_from_box(time_us));
            assert!(gap(&found.center(), &expected.translation()) < 1e-9);
            let [width, length, height] = object.size;
            assert!(gap(&found.size, &[length, width, height]) < 1e-12);
            assert!((found.center()[2] - found.bottom_center[2] - 0.5 * height).abs() < 1e-9);
            let along = expected.apply_direction([1.0, 0.0, 0.0]);
            assert!(gap(&[found.yaw.cos(), found.yaw.sin()], &along[..2]) < 1e-9);
            let velocity = [object.velocity[0], object.velocity[1], 0.0];
            let velocity = lidar_from_global.apply_direction(velocity);
            assert!(gap(&found.velocity.expect("known"), &velocity[..2]) < 1e-9);
            assert_eq!(found.visibility.as_deref(), Some("full"));
            assert_eq!(found.attributes, ["moving"]);
        }
    }
}

#[test]
fn sweeps_carry_the_motion_of_the_vehicle_and_their_age() {
    for layout in BOTH {
        let (_folder, dataset) = drive(layout);
        let frame = second(&dataset).frame;
        // Two sweeps, then the first sample's key cloud, where the chain ends.
        assert_eq!(frame.sweeps.len(), 3);
        let reference_us = match layout {
            Layout::Nuscenes => sample_time_us(1) + LIDAR_DELAY_US,
            Layout::T4 => sample_time_us(1),
        };
        let standing = 2 * POINTS_PER_BOX..OBJECTS.len() * POINTS_PER_BOX + GROUND_POINTS;
        for (sweep, lag_us) in frame.sweeps.iter().zip(SWEEP_LAGS_US) {
            let time_us = sample_time_us(1) + LIDAR_DELAY_US - lag_us;
            let lag = (reference_us - time_us) as f64 * 1e-6;
            assert!(
                (sweep.time_lag - lag).abs() < 1e-12,
                "{} {lag}",
                sweep.time_lag
            );
            for index in standing.clone() {
                let row = 5 * index..5 * index + 3;
                let moved = sweep
                    .key_from_sweep
                    .apply(xyz(&sweep.cloud.values[row.clone()]).map(f64::from));
                let key = xyz(&frame.points.values[row]).map(f64::from);
                assert!(gap(&moved, &key) < 2e-5, "{moved:?} {key:?}");
            }
        }
        let fewer = dataset
            .frame(&token("sample 1"), &points(1), None)
            .expect("a frame")
            .frame;
        assert_eq!(fewer.sweeps, frame.sweeps[..1]);
        assert!(fewer.cameras.is_empty());
    }
}

#[test]
fn a_camera_sees_from_where_it_was_when_its_image_was_taken() {
    for layout in BOTH {
        let (_folder, dataset) = drive(layout);
        let order = names(&[CAMERAS[1], CAMERAS[0]]);
        let read = dataset
            .frame(&token("sample 1"), &points(0), Some(&order))
            .expect("a frame");
        assert!(read.missing_cameras.is_empty());
        let global_from_lidar = lidar_pose(layout, sample_time_us(1) + LIDAR_DELAY_US);
        for (camera, place) in read.frame.cameras.iter().zip([1, 0]) {
            assert_eq!(camera.name, CAMERAS[place]);
            assert_eq!(camera.calibration.image_from_camera, IMAGE_FROM_CAMERA);
            let ego = global_from_ego(sample_time_us(1) - CAMERA_LEAD_US);
            let global_from_camera = ego.compose(&ego_from_camera(place));
            let point = [5.0, -3.0, 1.0];
            let there = global_from_camera
                .inverse()
                .expect("rigid")
                .apply(global_from_lidar.apply(point));
            let found = camera.calibration.camera_from_lidar.apply(point);
            assert!(gap(&found, &there) < 1e-9, "{found:?} {there:?}");
            let image = camera.image.as_ref().expect("an image");
            assert_eq!([image.width, image.height], IMAGE_SIZE);
            let red = 60 * (place as u8 + 1);
            assert!(image.pixels[0].abs_diff(red) < 4, "{}", image.pixels[0]);
        }
    }
}

#[test]
fn a_sample_without_a_cloud_is_skipped_and_a_missing_camera_is_listed() {
    let (folder, dataset) = drive(Layout::Nuscenes);
    let refused = dataset
        .frame(&token("sample 2"), &points(0), None)
        .expect_err("no cloud");
    assert!(refused.is_skip());
    assert!(
        refused.to_string().contains("no key frame of LIDAR_TOP"),
        "{refused}"
    );
    let order = names(&["CAM_LEFT", CAMERAS[0]]);
    let read = dataset
        .frame(&token("sample 0"), &points(0), Some(&order))
        .expect("a frame");
    assert_eq!(read.missing_cameras, ["CAM_LEFT"]);
    assert_eq!(read.frame.cameras.len(), 1);
    std::fs::remove_dir_all(folder.path().join("samples/LIDAR_TOP")).expect("removed");
    let refused = dataset
        .frame(&token("sample 0"), &points(0), None)
        .expect_err("no file");
    assert!(
        refused.is_skip() && refused.to_string().contains("does not exist"),
        "{refused}"
    );
}

#[test]
fn a_t4_version_folder_is_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for version in ["0", "1"] {
        write_dataset(&folder.path().join(version), Layout::T4).expect("written");
    }
    let newest = Dataset::open(folder.path(), None).expect("a dataset");
    assert!(newest.table_folder().ends_with("1/annotation"));
    let first = Dataset::open(folder.path(), Some("0")).expect("a dataset");
    assert!(first.table_folder().ends_with("0/annotation"));
    assert_eq!(second(&first), second(&newest));
}

#[test]
fn single_files_make_a_frame_with_the_documented_calibration() {
    let (folder, dataset) = drive(Layout::Nuscenes);
    let page = include_str!("../../../docs/calibration.md");
    let example = page
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let calibration = folder.path().join("rig.toml");
    std::fs::write(&calibration, example.expect("an example")).expect("written");
    let time_us = sample_time_us(0);
    let cloud_us = time_us + LIDAR_DELAY_US;
    let cloud = folder
        .path()
        .join(format!("samples/LIDAR_TOP/{cloud_us}.pcd.bin"));
    let image = |name: &str| {
        let file = format!("samples/{name}/{}.jpg", time_us - CAMERA_LEAD_US);
        folder.path().join(file).display().to_string()
    };
    let files = SingleFiles {
        points: &cloud,
        point_columns: 5,
        images: &CAMERAS.map(image),
        calibration: Some(&calibration),
    };
    let frame = read_single(&files, &points(0)).expect("a frame");
    let whole = dataset.frame(&token("sample 0"), &points(0), Some(&names(&CAMERAS)));
    let whole = whole.expect("a frame").frame;
    assert_eq!(frame.points, whole.points);
    let images = |frame: &bevfusion::input::Frame| -> Vec<_> {
        frame
            .cameras
            .iter()
            .map(|c| (c.name.clone(), c.image.clone()))
            .collect()
    };
    assert_eq!(images(&frame), images(&whole));
}
