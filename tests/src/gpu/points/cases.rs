//! The cases: configurations, and frames of clouds for each.

use bevfusion_kernels::cuda::frame::RowLayout;
use bevfusion_kernels::cuda::rulebook::StridedLevel;
use bevfusion_kernels::cuda::sweep::PointGrid;
use bevfusion_kernels::reference::rulebook::ConvGeometry;
use bevfusion_kernels::reference::sweep::CloudPlacement;

use super::rig::{Fourier, Setup};
use super::scene::{Cloud, Noise, moved, random_rows, unaligned, wide, xyzirc};

/// A configuration and what goes through it, frame by frame.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) setup: Setup,
    pub(super) frames: Vec<Vec<Cloud>>,
}

/// Small ones.
pub(super) fn short() -> Vec<Case> {
    vec![
        layouts(),
        crowded(),
        empty(),
        too_many_cells(),
        too_many_points(),
        too_many_sites(),
        fourier(),
        other_kernels(),
        few_points_on_large_grid(),
    ]
}

/// Others.
pub(super) fn long() -> Vec<Case> {
    vec![
        sizes(),
        one_point_per_voxel(),
        many_points_per_voxel(),
        large_grid(),
    ]
}

/// A small grid with the levels of the nuScenes encoder.
fn small(name: &str) -> Setup {
    let grid = PointGrid {
        min: [-4.8, -4.0, -5.0],
        size: [0.1, 0.1, 0.2],
        grid: [96, 80, 40],
        sparse_shape: [96, 80, 41],
    };
    Setup {
        name: name.to_owned(),
        point_capacity: 6000,
        use_dim: vec![0, 1, 2, 3, 4],
        time_column: 4,
        range: [-4.8, -4.0, -5.0, 4.8, 4.0, 3.0],
        grid,
        max_points: 10,
        max_voxels: 6000,
        channels: 16,
        fourier: None,
        means: true,
        strided: encoder([30_000, 20_000, 3000, 960]),
        submanifold: vec![Some([3; 3]); 4],
    }
}

/// The nuScenes model.
pub(super) fn full(name: &str) -> Setup {
    let grid = PointGrid {
        min: [-54.0, -54.0, -5.0],
        size: [0.075, 0.075, 0.2],
        grid: [1440, 1440, 40],
        sparse_shape: [1440, 1440, 41],
    };
    Setup {
        point_capacity: 300_000,
        max_voxels: 160_000,
        range: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0],
        grid,
        strided: encoder([256_000, 128_000, 64_000, 64_800]),
        ..small(name)
    }
}

fn encoder(capacities: [usize; 4]) -> Vec<StridedLevel> {
    let conv = |kernel, stride, padding| ConvGeometry {
        kernel,
        stride,
        padding,
    };
    let geometries = [
        conv([3; 3], [2; 3], [1; 3]),
        conv([3; 3], [2; 3], [1; 3]),
        conv([3; 3], [2; 3], [1, 1, 0]),
        conv([1, 1, 3], [1, 1, 2], [0; 3]),
    ];
    let levels = geometries.into_iter().zip(capacities);
    levels
        .map(|(geometry, capacity)| StridedLevel { geometry, capacity })
        .collect()
}

fn cloud(seed: u64, points: usize, setup: &Setup) -> Cloud {
    let mut noise = Noise(seed);
    Cloud::key(random_rows(
        &mut noise,
        points,
        &setup.range,
        setup.grid.size[0],
    ))
}

fn laid_out(cloud: Cloud, layout: RowLayout, lead: usize, pinned: bool) -> Cloud {
    Cloud {
        layout,
        lead,
        pinned,
        ..cloud
    }
}

fn placed(cloud: Cloud, placement: CloudPlacement) -> Cloud {
    Cloud { placement, ..cloud }
}

fn layouts() -> Case {
    let setup = Setup {
        time_column: 9,
        ..small("layouts")
    };
    let of = |seed, points| cloud(seed, points, &setup);
    let shift = |angle, lag| moved(angle, [0.7, -0.4, 0.1], lag, 1.0);
    let frames = vec![
        vec![
            laid_out(of(1, 777), xyzirc(), 0, false),
            placed(laid_out(of(2, 1000), xyzirc(), 4, true), shift(0.3, 0.05)),
        ],
        vec![
            laid_out(of(3, 1), unaligned(), 3, true),
            placed(
                laid_out(of(4, 1025), unaligned(), 1, false),
                shift(-1.0, 0.1),
            ),
            placed(laid_out(of(5, 900), wide(), 5, false), shift(2.0, 0.15)),
            laid_out(of(6, 256), RowLayout::floats(5), 8, true),
        ],
    ];
    Case { setup, frames }
}

fn crowded() -> Case {
    let setup = small("crowded");
    let mut noise = Noise(7);
    let rows = (0..3000).flat_map(|_| {
        let z = noise.between(0.01, 0.19);
        [
            noise.between(0.01, 0.09),
            noise.between(0.01, 0.09),
            z,
            7.0,
            0.0,
        ]
    });
    let one = Cloud::key(rows.collect());
    let spread = Cloud::key(centres(3000, &setup));
    Case {
        frames: vec![vec![one.clone()], vec![spread.clone()], vec![spread, one]],
        setup,
    }
}

/// Points in the middle of distinct cells, scattered.
fn centres(points: usize, setup: &Setup) -> Vec<f32> {
    let [x, y, z] = setup.grid.grid;
    let cells = x * y * z;
    // Coprime to the number of cells, so that cells are distinct.
    let step = 1_000_003 % cells;
    let rows = (0..points).flat_map(|i| {
        let cell = i * step % cells;
        let index = [cell / (y * z), cell / z % y, cell % z];
        let at =
            |axis: usize| setup.grid.min[axis] + (index[axis] as f32 + 0.5) * setup.grid.size[axis];
        [at(0), at(1), at(2), i as f32 % 256.0, 0.0]
    });
    rows.collect()
}

fn empty() -> Case {
    let setup = small("empty");
    let none = Cloud::key(Vec::new());
    let outside = Cloud::key(vec![100.0, 0.0, 0.0, 0.0, 0.0]);
    let some = cloud(8, 300, &setup);
    let frames = vec![
        vec![],
        vec![none.clone(); 3],
        vec![some.clone()],
        vec![outside],
        vec![none.clone(), some.clone(), none.clone(), some, none],
    ];
    Case { setup, frames }
}

fn too_many_cells() -> Case {
    let setup = Setup {
        max_voxels: 1500,
        ..small("too many cells")
    };
    let exact = |cells| Cloud::key(centres(cells, &setup));
    let many = || vec![cloud(9, 2500, &setup), cloud(10, 2500, &setup)];
    let frames = vec![
        vec![exact(1500)],
        vec![exact(1501)],
        many(),
        vec![exact(1501), cloud(11, 3000, &setup)],
        vec![cloud(12, 800, &setup)],
    ];
    Case { setup, frames }
}

fn too_many_points() -> Case {
    let setup = Setup {
        point_capacity: 1000,
        max_voxels: 1,
        ..small("too many points")
    };
    let of = |seed, points| cloud(seed, points, &setup);
    let frames = vec![
        vec![of(13, 1000)],
        vec![of(14, 1001)],
        vec![of(15, 700), of(16, 900), of(17, 400)],
    ];
    Case { setup, frames }
}

fn too_many_sites() -> Case {
    let setup = Setup {
        strided: encoder([1700, 257, 128, 3]),
        ..small("too many sites")
    };
    let frames = vec![
        vec![cloud(18, 3000, &setup)],
        vec![cloud(19, 60, &setup)],
        vec![cloud(20, 5900, &setup)],
    ];
    Case { setup, frames }
}

fn fourier() -> Case {
    let setup = Setup {
        use_dim: vec![0, 1, 2, 4],
        channels: 48,
        fourier: Some(Fourier {
            min: vec![-4.8, -4.0, -5.0, 0.0],
            max: vec![4.8, 4.0, 3.0, 1.0],
            frequencies: 5,
        }),
        ..small("fourier")
    };
    let late = placed(cloud(21, 500, &setup), moved(0.1, [0.0; 3], 0.35, 0.5));
    Case {
        frames: vec![vec![cloud(22, 900, &setup), late]],
        setup,
    }
}

fn other_kernels() -> Case {
    let conv = |kernel, stride, padding, capacity| StridedLevel {
        geometry: ConvGeometry {
            kernel,
            stride,
            padding,
        },
        capacity,
    };
    let setup = Setup {
        max_points: 3,
        strided: vec![
            conv([2, 3, 2], [1, 2, 3], [1, 0, 1], 7001),
            conv([3, 3, 1], [2, 1, 1], [0, 2, 0], 9000),
            conv([1, 1, 2], [1, 1, 1], [0, 0, 1], 9000),
        ],
        submanifold: vec![Some([5, 1, 3]), None, Some([1, 1, 1]), Some([1, 1, 3])],
        ..small("other kernels")
    };
    Case {
        frames: vec![vec![cloud(23, 2500, &setup)]],
        setup,
    }
}

fn sizes() -> Case {
    let setup = Setup {
        point_capacity: 50_000,
        max_voxels: 20_000,
        strided: encoder([20_000, 5000, 600, 300]),
        ..small("sizes")
    };
    let of = |seed, points| cloud(seed, points, &setup);
    let mut frames: Vec<Vec<Cloud>> = [1, 255, 256, 257, 4097, 50_000]
        .map(|n| vec![of(24, n)])
        .to_vec();
    let sweeps = (0..16).map(|i| {
        let age = i as f32;
        placed(
            of(40 + i, 1500),
            moved(0.05 * age, [0.1 * age, 0.0, 0.0], 0.05 * age, 1.0),
        )
    });
    frames.push(sweeps.collect());
    Case { setup, frames }
}

fn one_point_per_voxel() -> Case {
    let setup = Setup {
        max_points: 1,
        ..small("one point per voxel")
    };
    Case {
        frames: vec![vec![cloud(25, 6000, &setup)]],
        setup,
    }
}

fn many_points_per_voxel() -> Case {
    let setup = Setup {
        max_points: 30,
        ..small("30 points per voxel")
    };
    let crowd = |points| {
        let range = [-0.3, -0.3, -0.3, 0.3, 0.3, 0.3];
        Cloud::key(random_rows(&mut Noise(28), points, &range, 0.1))
    };
    Case {
        frames: vec![vec![crowd(2000)], vec![crowd(5000), crowd(700)]],
        setup,
    }
}

fn few_points_on_large_grid() -> Case {
    let setup = Setup {
        point_capacity: 5000,
        max_voxels: 4000,
        strided: encoder([9000, 9000, 9000, 2000]),
        ..full("few points on large grid")
    };
    Case {
        frames: vec![vec![cloud(29, 3000, &setup)], vec![cloud(30, 5000, &setup)]],
        setup,
    }
}

fn large_grid() -> Case {
    let setup = full("large grid");
    let sweep = placed(
        cloud(26, 120_000, &setup),
        moved(0.02, [1.5, 0.1, 0.0], 0.05, 1.0),
    );
    let key = cloud(27, 100_000, &setup);
    let frames = vec![
        vec![key.clone(), sweep.clone()],
        vec![key.clone(), sweep, key],
    ];
    Case { setup, frames }
}

/// A cloud of rows in the recorded layout at full size, and cut.
pub(super) fn recorded(rows: &[f32]) -> Case {
    let setup = Setup {
        // The ages are in the rows already.
        time_column: 9,
        ..full("recorded cloud")
    };
    let whole = Cloud::key(rows.to_vec());
    let pinned = laid_out(whole.clone(), RowLayout::floats(5), 0, true);
    Case {
        frames: vec![vec![whole], vec![pinned]],
        setup,
    }
}
