//! Cameras around a vehicle, and their matrices as the kernels and the twins take them.

use bevfusion_kernels::cuda::view_record::ViewRecord;
use bevfusion_kernels::driver::{Context, DriverError, PinnedSlice};
use bevfusion_kernels::reference::depth_image::DepthCamera;
use bevfusion_kernels::reference::frustum::{FrustumCamera, LidarAugmentation};
use std::sync::Arc;

type Matrix = [[f64; 3]; 3];

const IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// How cameras look and what is done to images and points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mount {
    /// Of the first camera, the others follow at equal angles (rad).
    pub(super) yaw: f64,
    /// Downward (rad).
    pub(super) pitch: f64,
    /// Around the optical axis (rad).
    pub(super) roll: f64,
    /// Raw image (px).
    pub(super) focal: f64,
    /// Raw image (px): x, y.
    pub(super) center: [f64; 2],
    /// Network image from raw image.
    pub(super) scale: f64,
    /// (px).
    pub(super) shift: [f64; 2],
    /// In the image plane (rad).
    pub(super) turn: f64,
    /// Mirrors the image.
    pub(super) flip: bool,
    /// Whether points are rotated, scaled, mirrored and moved.
    pub(super) lidar_augmentation: bool,
}

impl Mount {
    /// As on the nuScenes cars.
    pub(super) const NUSCENES: Self = Self {
        yaw: 0.0,
        pitch: 0.01,
        roll: 0.005,
        focal: 1266.0,
        center: [800.0, 450.0],
        scale: 0.48,
        shift: [-32.0, -176.0],
        turn: 0.0,
        flip: false,
        lidar_augmentation: false,
    };
}

/// All matrices of a rig.
#[derive(Clone, Debug)]
pub(super) struct Rig {
    pub(super) frustum: Vec<FrustumCamera>,
    pub(super) depth: Vec<DepthCamera>,
    pub(super) forward: LidarAugmentation,
    pub(super) undo: LidarAugmentation,
}

impl Rig {
    /// `count` cameras around the vehicle.
    pub(super) fn new(mount: &Mount, count: usize) -> Self {
        let step = std::f64::consts::TAU / count.max(1) as f64;
        let yaws = (0..count).map(|camera| mount.yaw + step * camera as f64);
        let (frustum, depth) = yaws.map(|yaw| camera(mount, yaw)).unzip();
        let (linear, translation) = if mount.lidar_augmentation {
            let turned = product(&rotation(2, 0.3), &scaled(&IDENTITY, 1.05));
            let mirrored = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
            (product(&mirrored, &turned), [0.4, -0.2, 0.1])
        } else {
            (IDENTITY, [0.0; 3])
        };
        Self {
            frustum,
            depth,
            forward: LidarAugmentation {
                linear: single(&linear),
                translation,
            },
            undo: LidarAugmentation {
                linear: single(&inverse(&linear)),
                translation,
            },
        }
    }

    /// In pinned memory.
    pub(super) fn pinned(
        &self,
        context: &Arc<Context>,
    ) -> Result<PinnedSlice<ViewRecord>, DriverError> {
        let mut record = PinnedSlice::<ViewRecord>::new(context, 1)?;
        let both = self.frustum.iter().zip(&self.depth);
        let both: Vec<_> = both.map(|(f, d)| (*f, *d)).collect();
        if let Some(record) = record.as_mut_slice().first_mut() {
            record.set(&both, &self.forward, &self.undo)?;
        }
        Ok(record)
    }
}

fn camera(mount: &Mount, yaw: f64) -> (FrustumCamera, DepthCamera) {
    let (sin, cos) = yaw.sin_cos();
    // Columns: right, down, ahead.
    let level = [[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]];
    let tilt = product(&rotation(0, -mount.pitch), &rotation(2, mount.roll));
    let pose = product(&level, &tilt);
    let center = [0.5 * cos, 0.5 * sin, 1.5];
    let intrinsics = [
        [mount.focal, 0.0, mount.center[0]],
        [0.0, mount.focal, mount.center[1]],
        [0.0, 0.0, 1.0],
    ];
    let mut augmentation = rotation(2, mount.turn);
    for row in augmentation.iter_mut().take(2) {
        row.iter_mut().for_each(|value| *value *= mount.scale);
    }
    let mut shift = [mount.shift[0], mount.shift[1], 0.0];
    if mount.flip {
        augmentation[0] = augmentation[0].map(|value| -value);
        shift[0] += 2.0 * mount.center[0] * mount.scale;
    }
    let forward = product(&intrinsics, &transposed(&pose));
    let moved = apply(&forward, center).map(|value| -value);
    let frustum = FrustumCamera {
        augmentation_shift: shift.map(|v| v as f32),
        undo_augmentation: single(&inverse(&augmentation)),
        lidar_from_image: single(&product(&pose, &inverse(&intrinsics))),
        camera_center: center.map(|v| v as f32),
    };
    let depth = DepthCamera {
        linear: single(&forward),
        translation: moved.map(|v| v as f32),
        augmentation: single(&augmentation),
        augmentation_shift: shift.map(|v| v as f32),
    };
    (frustum, depth)
}

/// Around an axis.
fn rotation(axis: usize, angle: f64) -> Matrix {
    let (sin, cos) = angle.sin_cos();
    let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut matrix = IDENTITY;
    matrix[a][a] = cos;
    matrix[a][b] = -sin;
    matrix[b][a] = sin;
    matrix[b][b] = cos;
    matrix
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    a.map(|row| std::array::from_fn(|j| (0..3).map(|k| row[k] * b[k][j]).sum()))
}

fn apply(a: &Matrix, v: [f64; 3]) -> [f64; 3] {
    a.map(|row| (0..3).map(|k| row[k] * v[k]).sum())
}

fn transposed(a: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

fn scaled(a: &Matrix, by: f64) -> Matrix {
    a.map(|row| row.map(|value| value * by))
}

fn inverse(a: &Matrix) -> Matrix {
    let minor = |i: usize, j: usize| {
        let (r, s) = ((i + 1) % 3, (i + 2) % 3);
        let (c, d) = ((j + 1) % 3, (j + 2) % 3);
        a[r][c] * a[s][d] - a[r][d] * a[s][c]
    };
    let determinant: f64 = (0..3).map(|j| a[0][j] * minor(0, j)).sum();
    std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) / determinant))
}

fn single(a: &Matrix) -> [[f32; 3]; 3] {
    a.map(|row| row.map(|value| value as f32))
}

#[cfg(test)]
mod tests {
    use super::{Mount, inverse, product, rotation};

    #[test]
    fn an_inverse_undoes_its_matrix() {
        let mut matrix = product(&rotation(0, 0.4), &rotation(2, 1.1));
        matrix[0][1] += 2.0;
        let one = product(&matrix, &inverse(&matrix));
        for (i, row) in one.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_point_ahead_falls_into_the_middle_of_the_image() {
        let mount = Mount {
            pitch: 0.0,
            ..Mount::NUSCENES
        };
        let (_, camera) = super::camera(&mount, 0.7);
        let point = [0.5 * 0.7_f32.cos(), 0.5 * 0.7_f32.sin(), 1.5];
        let ahead = [
            point[0] + 9.0 * 0.7_f32.cos(),
            point[1] + 9.0 * 0.7_f32.sin(),
            1.5,
        ];
        let seen: Vec<f32> = (0..3)
            .map(|i| {
                let row = camera.linear[i];
                row[0] * ahead[0] + row[1] * ahead[1] + row[2] * ahead[2] + camera.translation[i]
            })
            .collect();
        assert!((seen[2] - 9.0).abs() < 1e-3);
        assert!((seen[0] / seen[2] - 800.0).abs() < 0.1 && (seen[1] / seen[2] - 450.0).abs() < 0.1);
    }
}
