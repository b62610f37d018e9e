//! From image features to the camera BEV map: depth images, frustum tables, pooling.
//!
//! In: calibration (tables are rebuilt only when it changes), points `[n, columns]` (m), depth
//! probabilities `[N, D, h, w]` and context `[N, C, h, w]` of the depth network. Out: depth images
//! `[N, H, W]` (m) and the pooled map `[Z·C, X, Y]`, rows along x. Source: `DepthLSSTransform` of
//! mmdetection3d and AWML.

use bevfusion_kernels::reference::bev_pool::{BevPool, LiftShape};
use bevfusion_kernels::reference::depth_image::{
    BehindCamera, DepthCamera, DepthImageParams, depth_image,
};
use bevfusion_kernels::reference::frustum::{
    FrustumCamera, FrustumParams, LidarAugmentation, frustum, geometry,
};
use bevfusion_kernels::reference::pool_table::{PoolGrid, PoolTable, Rounding, cells};

use super::matrices::{identity, lidar_augmentation};
use super::{CameraError, CameraMatrices, ImageAug, Matrix4};
use crate::config::{CameraSpec, CellRounding};
use crate::geometry::{CameraCalibration, Transform};

/// The cell of a frustum point whose camera has no image.
const NOWHERE: [i32; 3] = [-1; 3];

/// The matrices that the tables were built from.
#[derive(Clone, Debug, PartialEq)]
struct Calibration {
    cameras: Vec<CameraMatrices>,
    lidar_augmentation: Matrix4,
}

/// The view transform of one model.
#[derive(Clone, Debug)]
pub struct ViewTransform {
    camera_order: Vec<String>,
    image_size: [usize; 2],
    behind_camera: BehindCamera,
    shape: LiftShape,
    grid: PoolGrid,
    frustum: Vec<f32>,
    calibration: Option<Calibration>,
    depth_cameras: Vec<DepthCamera>,
    undo_augmentation: LidarAugmentation,
    geometry: Vec<f32>,
    cells: Vec<[i32; 3]>,
    overrides: Vec<(usize, [i32; 3])>,
    active: Vec<bool>,
    table: PoolTable,
    pool: BevPool,
}

impl ViewTransform {
    /// For the cameras of `spec`; tables follow with the first calibration.
    #[must_use]
    pub fn new(spec: &CameraSpec) -> Self {
        let view = &spec.view_transform;
        let [first, end, step] = view.d_bound;
        let params = FrustumParams {
            image_size: spec.image_size,
            feature_size: view.feature_size,
            first_depth: first,
            depth_step: step,
            depths: ((end - first) / step).ceil() as usize,
        };
        let rounding = match view.cell_rounding {
            CellRounding::Truncate => Rounding::Truncate,
            CellRounding::Floor => Rounding::Floor,
        };
        let behind_camera = if view.drop_behind_camera {
            BehindCamera::Drop
        } else {
            BehindCamera::Keep
        };
        Self {
            camera_order: spec.camera_order.clone(),
            image_size: spec.image_size,
            behind_camera,
            shape: LiftShape {
                cameras: spec.camera_order.len(),
                depths: params.depths,
                pixels: view.feature_size[0] * view.feature_size[1],
                channels: view.out_channels,
            },
            grid: PoolGrid::from_bounds([view.x_bound, view.y_bound, view.z_bound], rounding),
            frustum: frustum(&params),
            calibration: None,
            depth_cameras: Vec::new(),
            undo_augmentation: LidarAugmentation {
                linear: [[0.0; 3]; 3],
                translation: [0.0; 3],
            },
            geometry: Vec::new(),
            cells: Vec::new(),
            overrides: Vec::new(),
            active: vec![true; spec.camera_order.len()],
            table: PoolTable::default(),
            pool: BevPool::default(),
        }
    }

    /// Takes the calibration of all cameras in `camera_order` with the augmentation of their images.
    /// Returns whether it differs from the one before, in which case the tables were rebuilt.
    ///
    /// `lidar_aug` is augmented lidar from lidar; absent outside training.
    ///
    /// # Errors
    /// Names the camera whose intrinsics, pose or augmentation cannot be inverted; the tables stay as
    /// they were.
    pub fn set_calibration(
        &mut self,
        cameras: &[CameraCalibration],
        img_aug: &[ImageAug],
        lidar_aug: Option<&Transform>,
    ) -> Result<bool, CameraError> {
        let count = self.shape.cameras;
        CameraError::check_length("image augmentations", "cameras", count, img_aug.len())?;
        let matrices: Vec<CameraMatrices> = cameras
            .iter()
            .zip(img_aug)
            .map(|(calibration, aug)| CameraMatrices::new(calibration, aug.matrix()))
            .collect();
        let augmentation = lidar_aug.map_or_else(identity, |transform| {
            transform.matrix().map(|row| row.map(|value| value as f32))
        });
        self.set_matrices(&matrices, augmentation)
    }

    /// The same from the float32 matrices themselves.
    ///
    /// # Errors
    /// As [`set_calibration`](Self::set_calibration).
    pub fn set_matrices(
        &mut self,
        cameras: &[CameraMatrices],
        lidar_aug_matrix: Matrix4,
    ) -> Result<bool, CameraError> {
        let count = self.shape.cameras;
        CameraError::check_length("camera calibrations", "cameras", count, cameras.len())?;
        let calibration = Calibration {
            cameras: cameras.to_vec(),
            lidar_augmentation: lidar_aug_matrix,
        };
        if self.calibration.as_ref() == Some(&calibration) {
            return Ok(false);
        }
        let (forward, undo) = lidar_augmentation(&lidar_aug_matrix)?;
        let prepared: Vec<(FrustumCamera, DepthCamera)> = cameras
            .iter()
            .zip(&self.camera_order)
            .map(|(matrices, name)| matrices.prepare(name))
            .collect::<Result<_, _>>()?;
        let (frustum_cameras, depth_cameras): (Vec<_>, Vec<_>) = prepared.into_iter().unzip();
        self.calibration = Some(calibration);
        self.depth_cameras = depth_cameras;
        self.undo_augmentation = undo;
        geometry(
            &self.frustum,
            &frustum_cameras,
            &forward,
            &mut self.geometry,
        );
        self.build_table();
        Ok(true)
    }

    /// Puts single frustum points (flat index over `[N, D, h, w]`) into given cells, now and after each
    /// new calibration: two implementations can only be compared closely when points on a cell border
    /// fall to the same side.
    pub fn override_cells(&mut self, overrides: Vec<(usize, [i32; 3])>) {
        self.overrides = overrides;
        if self.calibration.is_some() {
            self.build_table();
        }
    }

    /// Which cameras of `camera_order` have an image: the frustum points of the others are left out of
    /// the pooling. All do until told otherwise.
    pub fn set_active(&mut self, active: &[bool]) {
        if self.active == active {
            return;
        }
        self.active.clear();
        self.active.extend_from_slice(active);
        if self.calibration.is_some() {
            self.build_table();
        }
    }

    fn build_table(&mut self) {
        cells(&self.geometry, &self.grid, &mut self.cells);
        let per_camera = self.shape.points() / self.shape.cameras.max(1);
        for (cells, active) in self.cells.chunks_mut(per_camera.max(1)).zip(&self.active) {
            if !active {
                cells.fill(NOWHERE);
            }
        }
        for (point, cell) in &self.overrides {
            if let Some(target) = self.cells.get_mut(*point) {
                *target = *cell;
            }
        }
        self.table.build(&self.cells, &self.grid);
    }

    /// Values of all depth images: N·H·W.
    #[must_use]
    pub const fn depth_image_len(&self) -> usize {
        self.shape.cameras * self.image_size[0] * self.image_size[1]
    }

    /// The sparse depth images of `points` (`[n, columns]`, x, y, z first, augmented LiDAR frame) into
    /// `out` (`[N, H, W]`).
    ///
    /// # Errors
    /// Before the first calibration, or when a buffer does not fit.
    pub fn depth_image(
        &self,
        points: &[f32],
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), CameraError> {
        if self.calibration.is_none() {
            return Err(CameraError::NoCalibration);
        }
        CameraError::check_length(
            "depth image",
            "[N, H, W]",
            self.depth_image_len(),
            out.len(),
        )?;
        let whole = points.len() - points.len() % columns.max(1);
        CameraError::check_length("points", "[n, columns]", whole, points.len())?;
        if columns < 3 {
            return Err(CameraError::Length {
                what: "columns of a point",
                expected: 3,
                found: columns,
                shape: "x, y, z at least",
            });
        }
        let params = DepthImageParams {
            image_size: self.image_size,
            behind_camera: self.behind_camera,
            undo_augmentation: self.undo_augmentation,
        };
        depth_image(points, columns, &self.depth_cameras, &params, out);
        Ok(())
    }

    /// Lifts and pools: `depth_prob` `[N, D, h, w]` (softmax over D), `context` `[N, C, h, w]`; `out`
    /// becomes `[Z·C, X, Y]`.
    ///
    /// # Errors
    /// Before the first calibration, or when an input does not fit.
    pub fn pool(
        &mut self,
        depth_prob: &[f32],
        context: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<(), CameraError> {
        if self.calibration.is_none() {
            return Err(CameraError::NoCalibration);
        }
        let shape = self.shape;
        CameraError::check_length(
            "depth probabilities",
            "[N, D, h, w]",
            shape.points(),
            depth_prob.len(),
        )?;
        CameraError::check_length("context", "[N, C, h, w]", shape.context(), context.len())?;
        let lifted = (depth_prob, context);
        self.pool.run(&self.table, &self.grid, shape, lifted, out);
        Ok(())
    }

    /// N, D, h·w and C.
    #[must_use]
    pub const fn shape(&self) -> LiftShape {
        self.shape
    }

    /// The grid of the pooled map.
    #[must_use]
    pub const fn grid(&self) -> &PoolGrid {
        &self.grid
    }

    /// (u px, v px, depth m) of one camera's frustum, `[D, h, w, 3]`.
    #[must_use]
    pub fn frustum(&self) -> &[f32] {
        &self.frustum
    }

    /// Frustum points in the LiDAR frame (m), `[N, D, h, w, 3]`; empty before the first calibration.
    #[must_use]
    pub fn geometry(&self) -> &[f32] {
        &self.geometry
    }

    /// Cell (x, y, z) of each frustum point, before the bounds test.
    #[must_use]
    pub fn cells(&self) -> &[[i32; 3]] {
        &self.cells
    }

    /// The kept frustum points of each cell.
    #[must_use]
    pub const fn table(&self) -> &PoolTable {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::ViewTransform;
    use crate::camera::{CameraError, CameraMatrices, Matrix4, test_spec};
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
        assert!((sum - 1531.986_29).abs() < 1e-3, "{sum}");
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
            error.to_string().contains("\"FRONT\"")
                && error.to_string().contains("image_from_camera")
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
}
