//! Rulebooks alone, and the whole sparse encoder of nuscenes_L, on the voxels of one made-up revolution.
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::config::ModelConfig;
use bevfusion::lidar::{
    GatheredPoints, LidarEncoder, VoxelStage, Voxels, gather_points, point_range,
};
use bevfusion_benches::synthetic;
use bevfusion_kernels::reference::rulebook::{ConvGeometry, Rulebook};
use bevfusion_kernels::reference::sites::Sites;
use criterion::{Criterion, criterion_group, criterion_main};

/// The first strided convolution of the encoder.
const DOWN: ConvGeometry = ConvGeometry {
    kernel: [3; 3],
    stride: [2; 3],
    padding: [1; 3],
};

fn voxels(config: &ModelConfig) -> Voxels {
    let frame = synthetic::frame(config, 1);
    let mut points = GatheredPoints::default();
    let range = point_range(&config.voxel);
    gather_points(&config.points, range, &frame, &mut points).expect("columns of the model");
    let mut voxels = Voxels::default();
    VoxelStage::new(&config.voxel).run(&points, &mut voxels);
    voxels
}

fn bench(c: &mut Criterion) {
    let config = ModelConfig::preset("nuscenes_L").expect("a shipped model");
    let encoder = config.lidar_encoder.as_ref().expect("a LiDAR model");
    let voxels = voxels(&config);
    let mut sites = Sites::default();
    let mut order = Vec::new();
    sites
        .assign(encoder.sparse_shape, &voxels.coords, &mut order)
        .expect("distinct voxels");

    let mut group = c.benchmark_group(format!("sparse encoder, {} voxels", voxels.len()));
    group.sample_size(10);
    let mut rules = Rulebook::default();
    group.bench_function("submanifold rulebook of the first level", |b| {
        b.iter(|| rules.build_submanifold([3; 3], &sites));
    });
    let mut next = Sites::default();
    group.bench_function("rulebook of the first strided convolution", |b| {
        b.iter(|| rules.build_strided(&DOWN, &sites, &mut next));
    });
    let weights = synthetic::weights(&config, 1);
    let columns = config.points.use_dim.len();
    let mut encoder = LidarEncoder::new(encoder, columns, &weights).expect("weights of the model");
    group.bench_function("encoder, rulebooks included", |b| {
        b.iter(|| {
            encoder
                .run(&voxels, None)
                .expect("voxels of the model")
                .len()
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
