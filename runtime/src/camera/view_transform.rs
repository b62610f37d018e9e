//! From image features to the camera BEV map: depth images, frustum tables, pooling.
//!
//! In: calibration (tables are rebuilt only when it changes), points `[n, columns]` (m), depth
//! probabilities `[N, D, h, w]` and context `[N, C, h, w]` of the depth network. Out: depth images
//! `[N, H, W]` (m) and the pooled map `[Z·C, X, Y]`, rows along x. Source: `DepthLSSTransform` of
//! mmdetection3d and AWML.

use bevfusion_kernels::reference::bev_pool::{BevPool, LiftShape};
use bevfusion_kernels::reference::depth_image::{
    BehindCamera, DepthCamera, DepthImageParams, DepthWinner, depth_image_by,
};
use bevfusion_kernels::reference::frustum::{
    FrustumCamera, FrustumParams, LidarAugmentation, frustum, geometry,
};
use bevfusion_kernels::reference::pool_table::{PoolGrid, PoolTable, Rounding, cells};

use super::matrices::{identity, lidar_augmentation};
use super::{CameraError, CameraMatrices, ImageAug, Matrix4};
use crate::config::{CameraSpec, CellRounding, DepthWinner as WinnerSpec};
use crate::geometry::{CameraCalibration, Transform};

/// The cell of a frustum point whose camera has no image.
const NOWHERE: [i32; 3] = [-1; 3];

/// The matrices that the tables were built from.
#[derive(Clone, Debug, PartialEq)]
struct Calibration {
    cameras: Vec<CameraMatrices>,
    lidar_augmentation: Matrix4,
}

/// Image, feature map and depths of a model's cameras.
pub(crate) fn frustum_params(spec: &CameraSpec) -> FrustumParams {
    let view = &spec.view_transform;
    let [first, end, step] = view.d_bound;
    FrustumParams {
        image_size: spec.image_size,
        feature_size: view.feature_size,
        first_depth: first,
        depth_step: step,
        depths: ((end - first) / step).ceil() as usize,
    }
}

/// The grid that a model pools into.
pub(crate) fn pool_grid(spec: &CameraSpec) -> PoolGrid {
    let view = &spec.view_transform;
    let rounding = match view.cell_rounding {
        CellRounding::Truncate => Rounding::Truncate,
        CellRounding::Floor => Rounding::Floor,
    };
    PoolGrid::from_bounds([view.x_bound, view.y_bound, view.z_bound], rounding)
}

/// What a model does with points behind a camera.
pub(crate) const fn behind_camera(spec: &CameraSpec) -> BehindCamera {
    if spec.view_transform.drop_behind_camera {
        BehindCamera::Drop
    } else {
        BehindCamera::Keep
    }
}

/// Which point on a pixel leaves its depth.
pub(crate) const fn depth_winner(spec: &CameraSpec) -> DepthWinner {
    match spec.view_transform.depth_winner {
        WinnerSpec::Last => DepthWinner::Last,
        WinnerSpec::Nearest => DepthWinner::Nearest,
    }
}

/// The view transform of one model.
#[derive(Clone, Debug)]
pub struct ViewTransform {
    camera_order: Vec<String>,
    image_size: [usize; 2],
    behind_camera: BehindCamera,
    depth_winner: DepthWinner,
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
        let (view, params) = (&spec.view_transform, frustum_params(spec));
        Self {
            camera_order: spec.camera_order.clone(),
            image_size: spec.image_size,
            behind_camera: behind_camera(spec),
            depth_winner: depth_winner(spec),
            shape: LiftShape {
                cameras: spec.camera_order.len(),
                depths: params.depths,
                pixels: view.feature_size[0] * view.feature_size[1],
                channels: view.out_channels,
            },
            grid: pool_grid(spec),
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
        let points = (points, columns);
        depth_image_by(self.depth_winner, points, &self.depth_cameras, &params, out);
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
mod tests;
