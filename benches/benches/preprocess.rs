//! One camera image of nuScenes' size to the network's image: resize, crop, normalise.
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::camera::CameraPreprocessor;
use bevfusion::config::ModelConfig;
use bevfusion_benches::synthetic::image;
use criterion::{Criterion, criterion_group, criterion_main};

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("preprocess");
    group.sample_size(20);
    for name in ["nuscenes_CL", "t4_CL"] {
        let config = ModelConfig::preset(name).expect("a shipped model");
        let camera = config.camera.as_ref().expect("a model with cameras");
        // T4 images are larger: the factor says by how much.
        let size = match name {
            "t4_CL" => [2880, 1860],
            _ => [1600, 900],
        };
        let raw = image(size, 1);
        let mut preprocessor = CameraPreprocessor::new(camera);
        let mut out = vec![0.0; preprocessor.output_len()];
        group.bench_function(format!("{name}, {} x {} px", size[0], size[1]), |b| {
            b.iter(|| preprocessor.run(&raw, &mut out).expect("an image"));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
