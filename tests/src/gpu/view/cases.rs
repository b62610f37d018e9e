//! The cases: sizes, rigs and grids.

use bevfusion_kernels::cuda::view_tables::ViewTablesConfig;
use bevfusion_kernels::reference::frustum::{FrustumParams, geometry};
use bevfusion_kernels::reference::pool_table::{PoolGrid, Rounding, cells};

use super::rig::{Mount, Rig};

/// A rig and what it is pooled into.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) config: ViewTablesConfig,
    pub(super) mount: Mount,
}

impl Case {
    pub(super) fn rig(&self) -> Rig {
        Rig::new(&self.mount, self.config.cameras)
    }

    /// Another calibration of the same cameras.
    pub(super) fn other_rig(&self) -> Rig {
        let mount = Mount {
            yaw: self.mount.yaw + 0.35,
            ..self.mount
        };
        Rig::new(&mount, self.config.cameras)
    }

    /// Cells as the twins compute them, `[N, D, h, w]`.
    pub(super) fn cells(&self, rig: &Rig) -> Vec<[i32; 3]> {
        let frustum = bevfusion_kernels::reference::frustum::frustum(&self.config.frustum);
        let mut points = Vec::new();
        geometry(&frustum, &rig.frustum, &rig.forward, &mut points);
        let mut found = Vec::new();
        cells(&points, &self.config.grid, &mut found);
        found
    }
}

/// A small rig: the image is a small part of that of [`Mount::NUSCENES`] at a sixteenth of its size.
fn small(name: &'static str) -> Case {
    Case {
        name,
        config: ViewTablesConfig {
            cameras: 3,
            frustum: FrustumParams {
                image_size: [32, 88],
                feature_size: [4, 11],
                first_depth: 1.0,
                depth_step: 0.5,
                depths: 33,
            },
            grid: grid([15.0, 0.6], [-10.0, 10.0, 20.0], Rounding::Truncate),
        },
        mount: Mount {
            scale: 0.06,
            shift: [-4.0, -11.0],
            ..Mount::NUSCENES
        },
    }
}

fn grid([extent, cell]: [f64; 2], z: [f64; 3], rounding: Rounding) -> PoolGrid {
    PoolGrid::from_bounds(
        [[-extent, extent, cell], [-extent, extent, cell], z],
        rounding,
    )
}

/// Cameras that look down, with everything augmented, rows beyond a block of 32 and several levels.
fn tilted() -> Case {
    let mut case = small("tilted");
    case.config.cameras = 2;
    case.config.frustum.image_size = [264, 40];
    case.config.frustum.feature_size = [33, 5];
    case.config.grid = grid([12.0, 0.5], [-3.0, 3.0, 2.0], Rounding::Floor);
    case.mount = Mount {
        yaw: 0.2,
        pitch: 0.5,
        roll: 0.2,
        focal: 400.0,
        center: [60.0, 300.0],
        scale: 0.45,
        shift: [-5.0, -10.0],
        turn: 0.1,
        flip: true,
        lidar_augmentation: true,
    };
    case
}

/// Every point in one cell, in `columns` image columns of two cameras.
fn crowded(name: &'static str, columns: usize) -> Case {
    let mut case = small(name);
    case.config.cameras = 2;
    case.config.frustum.feature_size = [3, columns];
    case.config.grid = grid([1000.0, 2000.0], [-1000.0, 1000.0, 2000.0], Rounding::Floor);
    case
}

/// Every point outside.
fn outside() -> Case {
    let mut case = small("outside");
    case.config.grid = grid([15.0, 0.6], [500.0, 520.0, 20.0], Rounding::Truncate);
    case
}

/// Cells at most; `quick` leaves the long ones out.
pub(super) fn all(quick: bool) -> Vec<Case> {
    let mut floored = small("floored");
    floored.config.grid.rounding = Rounding::Floor;
    let mut cases = vec![
        small("small"),
        floored,
        tilted(),
        outside(),
        crowded("one cell", 2),
    ];
    if !quick {
        cases.extend([
            crowded("one large cell", 8),
            crowded("one huge cell", 61),
            nuscenes(),
            t4(),
        ]);
    }
    cases
}

/// The nuScenes model.
pub(super) fn nuscenes() -> Case {
    Case {
        name: "nuScenes",
        config: ViewTablesConfig {
            cameras: 6,
            frustum: FrustumParams {
                image_size: [256, 704],
                feature_size: [32, 88],
                first_depth: 1.0,
                depth_step: 0.5,
                depths: 118,
            },
            grid: grid([54.0, 0.3], [-10.0, 10.0, 20.0], Rounding::Truncate),
        },
        mount: Mount::NUSCENES,
    }
}

/// Larger images, five cameras.
fn t4() -> Case {
    let mut case = nuscenes();
    case.name = "T4";
    case.config.cameras = 5;
    case.config.frustum = FrustumParams {
        image_size: [384, 768],
        feature_size: [48, 96],
        first_depth: 1.0,
        depth_step: 1.0,
        depths: 129,
    };
    case.config.grid = grid([122.4, 0.68], [-10.0, 10.0, 20.0], Rounding::Floor);
    case.mount.pitch = 0.05;
    case
}
