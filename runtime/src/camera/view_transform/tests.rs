//! The numeric checks made with the original modules, and what must not go wrong.

use super::ViewTransform;
use crate::camera::{CameraError, CameraMatrices, Matrix4, identity, test_spec};
use crate::config::DepthWinner;
use crate::geometry::{CameraCalibration, Transform};

/// Intrinsics, pose and augmentations of the numeric checks made with the original modules.
fn checked() -> (CameraCalibration, Matrix4, Transform) {
    let calibration = CameraCalibration {
        image_from_camera: [[60.0, 0.0, 48.0], [0.0, 60.0, 32.0], [0.0, 0.0, 1.0]],
        camera_from_lidar: Transform::new(
            [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]],
            [0.1, 1.5, -0.3],
        ),
    };
    let img_aug = [
        [0.5, 0.05, 0.0, 20.0],
        [-0.05, 0.5, 0.0, 12.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
    let (sin, cos) = 0.3_f64.sin_cos();
    let lidar_aug = Transform::new(
        [
            [1.05 * cos, -1.05 * sin, 0.0],
            [1.05 * sin, 1.05 * cos, 0.0],
            [0.0, 0.0, 1.05],
        ],
        [0.4, -0.2, 0.1],
    );
    (calibration, img_aug, lidar_aug)
}

fn float32(transform: &Transform) -> Matrix4 {
    transform.matrix().map(|row| row.map(|value| value as f32))
}

fn view() -> (ViewTransform, Transform) {
    let (calibration, img_aug, lidar_aug) = checked();
    let mut view = ViewTransform::new(&test_spec());
    let matrices = CameraMatrices::new(&calibration, img_aug);
    view.set_matrices(&[matrices], float32(&lidar_aug))
        .expect("regular");
    (view, lidar_aug)
}

/// The pseudo-random stream of the checks: values in 0..1.
fn stream(seed: u32) -> impl Iterator<Item = f64> {
    let step = |s: &u32| Some(s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), step)
        .skip(1)
        .map(|s| f64::from(s) / 4_294_967_296.0)
}

fn points(lidar_aug: &Transform) -> Vec<f32> {
    let values: Vec<f64> = stream(9).take(900).collect();
    let scene = values.as_chunks::<3>().0.iter();
    let raw = scene.map(|[a, b, c]| [1.5 + 10.0 * a, -6.0 + 12.0 * b, -1.5 + 2.5 * c]);
    let raw = raw.map(|p| p.map(|v| f64::from(v as f32)));
    raw.flat_map(|p| lidar_aug.apply(p).map(|v| v as f32))
        .collect()
}

#[test]
fn the_geometry_agrees_with_the_original_module() {
    let (view, _) = view();
    let at = |depth: usize, v: usize, u: usize| {
        let start = ((depth * 8 + v) * 12 + u) * 3;
        [
            view.geometry()[start],
            view.geometry()[start + 1],
            view.geometry()[start + 2],
        ]
    };
    let cases = [
        (at(0, 0, 0), [1.232_241, 1.728_566, 2.720_148]),
        (at(10, 4, 6), [7.006_693, 0.826_612, -0.616_665]),
        (at(23, 7, 11), [19.053_627, -15.022_987, -16.665_348]),
    ];
    for (got, want) in cases {
        let away = got
            .iter()
            .zip(&want)
            .map(|(a, b): (&f32, &f32)| (a - b).abs());
        assert!(away.fold(0.0, f32::max) < 2e-5, "{got:?} {want:?}");
    }
}

#[test]
fn the_depth_image_agrees_with_the_original_module() {
    let (view, lidar_aug) = view();
    let mut image = vec![0.0; view.depth_image_len()];
    view.depth_image(&points(&lidar_aug), 3, &mut image)
        .expect("fits");
    assert_eq!(image.iter().filter(|depth| **depth > 0.0).count(), 237);
    let sum: f64 = image.iter().map(|depth| f64::from(*depth)).sum();
    assert!((sum - 1_531.986_29).abs() < 1e-3, "{sum}");
    let row = image
        .chunks(96)
        .position(|row| row.iter().any(|d| *d > 0.0));
    assert_eq!(row, Some(26));
    let want: [(usize, f32); 3] = [(53, 11.131_964), (60, 8.114_296), (65, 6.847_189)];
    for (column, depth) in want {
        assert!((image[26 * 96 + column] - depth).abs() < 1e-5);
    }
}

#[test]
fn of_two_points_on_a_pixel_the_last_or_the_nearest_leaves_its_depth() {
    let (calibration, _, _) = checked();
    let mut unmoved = calibration;
    unmoved.camera_from_lidar =
        Transform::new(calibration.camera_from_lidar.linear(), [0.0, 0.0, 0.0]);
    // Straight ahead, near, then far.
    let points = [4.0, 0.0, 0.0, 9.0, 0.0, 0.0];
    for (winner, want) in [(DepthWinner::Last, 9.0), (DepthWinner::Nearest, 4.0)] {
        let mut spec = test_spec();
        spec.view_transform.depth_winner = winner;
        let mut view = ViewTransform::new(&spec);
        let matrices = CameraMatrices::new(&unmoved, identity());
        view.set_matrices(&[matrices], identity()).expect("regular");
        let mut image = vec![0.0; view.depth_image_len()];
        view.depth_image(&points, 3, &mut image).expect("fits");
        let drawn: Vec<f32> = image.into_iter().filter(|depth| *depth > 0.0).collect();
        assert_eq!(drawn, [want], "{winner:?}");
    }
}

#[test]
fn eleven_points_owe_their_cell_to_truncation() {
    let (truncated, _) = view();
    let mut spec = test_spec();
    spec.view_transform.cell_rounding = crate::config::CellRounding::Floor;
    let (calibration, img_aug, lidar_aug) = checked();
    let mut floored = ViewTransform::new(&spec);
    floored
        .set_matrices(
            &[CameraMatrices::new(&calibration, img_aug)],
            float32(&lidar_aug),
        )
        .expect("regular");
    let affected = truncated
        .cells()
        .iter()
        .zip(floored.cells())
        .filter(|(a, b)| (a[0] == 0 && b[0] == -1) || (a[1] == 0 && b[1] == -1))
        .count();
    assert_eq!(affected, 11);
}

#[test]
fn tables_are_rebuilt_only_on_change() {
    let (mut view, lidar_aug) = view();
    let (mut calibration, img_aug, _) = checked();
    let same = CameraMatrices::new(&calibration, img_aug);
    assert_eq!(view.set_matrices(&[same], float32(&lidar_aug)), Ok(false));
    let before = view.table().clone();
    calibration.camera_from_lidar =
        Transform::new(calibration.camera_from_lidar.linear(), [0.1, 1.5, 2.0]);
    let moved = CameraMatrices::new(&calibration, img_aug);
    assert_eq!(view.set_matrices(&[moved], float32(&lidar_aug)), Ok(true));
    assert_ne!(view.table(), &before);
}

#[test]
fn a_singular_matrix_names_its_camera_and_leaves_the_tables() {
    let (mut view, _) = view();
    let before = view.table().clone();
    let (mut calibration, img_aug, _) = checked();
    calibration.image_from_camera[0] = [0.0; 3];
    let broken = CameraMatrices::new(&calibration, img_aug);
    let error = view
        .set_matrices(&[broken], super::identity())
        .expect_err("singular");
    assert!(
        error.to_string().contains("\"FRONT\"") && error.to_string().contains("image_from_camera")
    );
    let (mut calibration, ..) = checked();
    calibration.camera_from_lidar = Transform::new([[0.0; 3]; 3], [f64::NAN; 3]);
    let broken = CameraMatrices::new(&calibration, img_aug);
    let error = view.set_matrices(&[broken], super::identity());
    assert!(matches!(error, Err(CameraError::Singular { .. })));
    assert_eq!(view.table(), &before);
}

#[test]
fn a_camera_without_image_leaves_the_pooling() {
    let (mut view, _) = view();
    assert!(!view.table().points().is_empty());
    view.set_active(&[false]);
    assert!(view.table().points().is_empty());
    view.set_active(&[true]);
    assert!(!view.table().points().is_empty());
}

#[test]
fn an_overridden_cell_moves_its_point() {
    let (mut view, _) = view();
    let point = view.table().points()[0] as usize;
    view.override_cells(vec![(point, [47, 47, 0]), (usize::MAX, [0; 3])]);
    assert_eq!(view.cells()[point], [47, 47, 0]);
    assert!(
        view.table()
            .points_of(48 * 48 - 1)
            .contains(&(point as u32))
    );
}

#[test]
fn pooling_sums_probability_times_context_over_all_kept_points() {
    let (mut view, _) = view();
    let shape = view.shape();
    let depth_prob = vec![0.5; shape.points()];
    let context = vec![2.0; shape.context()];
    let mut out = Vec::new();
    view.pool(&depth_prob, &context, &mut out).expect("fits");
    assert_eq!(out.len(), 80 * 48 * 48);
    let first: f32 = out[..48 * 48].iter().sum();
    assert!((first - view.table().points().len() as f32).abs() < 0.5);
    let error = view.pool(&depth_prob, &context[1..], &mut out);
    assert!(matches!(error, Err(CameraError::Length { .. })));
}

#[test]
fn nothing_runs_before_the_first_calibration() {
    let mut view = ViewTransform::new(&test_spec());
    let mut image = vec![0.0; view.depth_image_len()];
    let error = view.depth_image(&[], 3, &mut image);
    assert_eq!(error, Err(CameraError::NoCalibration));
    let error = view.pool(&[], &[], &mut image);
    assert_eq!(error, Err(CameraError::NoCalibration));
}
