//! Gathering and voxelising one made-up revolution (34,688 points) and ten of them (key cloud and sweeps).
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::config::ModelConfig;
use bevfusion::geometry::Transform;
use bevfusion::input::{Frame, Sweep};
use bevfusion::lidar::{GatheredPoints, VoxelStage, Voxels, gather_points, point_range};
use bevfusion_benches::synthetic::{POINTS, cloud};
use criterion::{Criterion, criterion_group, criterion_main};

fn frame(sweeps: u64, columns: usize) -> Frame {
    let sweep = |index: u64| Sweep {
        cloud: cloud(POINTS, columns, 2 + index),
        key_from_sweep: Transform::new(
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [-0.4 * index as f64, 0.0, 0.0],
        ),
        time_lag: 0.05 * (1 + index) as f64,
    };
    Frame {
        points: cloud(POINTS, columns, 1),
        sweeps: (0..sweeps).map(sweep).collect(),
        cameras: Vec::new(),
        stamp_ns: None,
    }
}

fn bench(c: &mut Criterion) {
    let config = ModelConfig::preset("nuscenes_L").expect("a shipped model");
    let range = point_range(&config.voxel);
    let mut group = c.benchmark_group("voxelize");
    group.sample_size(20);
    for (name, sweeps) in [("key cloud", 0), ("key cloud and 9 sweeps", 9)] {
        let frame = frame(sweeps, config.points.load_dim);
        let mut points = GatheredPoints::default();
        group.bench_function(format!("gather {name}"), |b| {
            b.iter(|| gather_points(&config.points, range, &frame, &mut points).expect("columns"));
        });
        let mut stage = VoxelStage::new(&config.voxel);
        let mut voxels = Voxels::default();
        group.bench_function(format!("voxelize {name}"), |b| {
            b.iter(|| stage.run(&points, &mut voxels));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
