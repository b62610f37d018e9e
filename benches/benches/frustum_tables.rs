//! What a new calibration costs: frustum geometry, cells and pooling tables of six cameras; and the depth
//! images, which each frame has anew.
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::camera::{ImageAug, ViewTransform};
use bevfusion::config::ModelConfig;
use bevfusion::geometry::CameraCalibration;
use bevfusion_benches::synthetic::{POINTS, calibration, cloud};
use criterion::{Criterion, criterion_group, criterion_main};

fn bench(c: &mut Criterion) {
    let config = ModelConfig::preset("nuscenes_CL").expect("a shipped model");
    let camera = config.camera.as_ref().expect("a model with cameras");
    let count = camera.camera_order.len();
    let rig: Vec<CameraCalibration> = (0..count).map(|index| calibration(index, count)).collect();
    let augmentation = ImageAug::for_test(camera, 1600, 900);
    let augmentations = vec![augmentation; count];
    // Two rigs in turn, because the tables of an unchanged one are kept.
    let mut moved = rig.clone();
    moved[0].image_from_camera[0][2] += 1.0;

    let mut group = c.benchmark_group("view transform");
    group.sample_size(10);
    let mut view = ViewTransform::new(camera);
    let mut turn = 0;
    group.bench_function("tables of a new calibration", |b| {
        b.iter(|| {
            turn += 1;
            let rig = if turn % 2 == 0 { &rig } else { &moved };
            view.set_calibration(rig, &augmentations, None)
                .expect("a rig")
        });
    });
    let columns = config.points.load_dim;
    let points = cloud(POINTS, columns, 1);
    let mut out = vec![0.0; view.depth_image_len()];
    group.bench_function("depth images", |b| {
        b.iter(|| {
            view.depth_image(&points.values, columns, &mut out)
                .expect("points")
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
