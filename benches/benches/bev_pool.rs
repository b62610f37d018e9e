//! Lifting and pooling the context of six cameras into the BEV map of nuscenes_CL.
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::camera::{ImageAug, ViewTransform};
use bevfusion::config::ModelConfig;
use bevfusion::geometry::CameraCalibration;
use bevfusion_benches::synthetic::{Noise, calibration};
use criterion::{Criterion, criterion_group, criterion_main};

fn bench(c: &mut Criterion) {
    let config = ModelConfig::preset("nuscenes_CL").expect("a shipped model");
    let camera = config.camera.as_ref().expect("a model with cameras");
    let count = camera.camera_order.len();
    let rig: Vec<CameraCalibration> = (0..count).map(|index| calibration(index, count)).collect();
    let augmentations = vec![ImageAug::for_test(camera, 1600, 900); count];
    let mut view = ViewTransform::new(camera);
    view.set_calibration(&rig, &augmentations, None)
        .expect("a rig");
    let mut noise = Noise::new(1);
    let bins = view.shape().depths as f64;
    let depth_prob = noise.take(view.shape().points(), [0.0, 2.0 / bins]);
    let context = noise.take(view.shape().context(), [-1.0, 1.0]);
    let mut out = Vec::new();

    let mut group = c.benchmark_group("bev pool");
    group.sample_size(10);
    group.bench_function(format!("{} frustum points", view.shape().points()), |b| {
        b.iter(|| {
            view.pool(&depth_prob, &context, &mut out)
                .expect("sizes of the model")
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
