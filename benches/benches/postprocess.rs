//! Decoding, filters and suppression of made-up proposals: nuscenes_CL (200, no suppression) and t4_CL
//! (500, circle and IoU suppression).
#![expect(clippy::expect_used, reason = "a bench ends at a broken assumption")]

use bevfusion::config::ModelConfig;
use bevfusion::head::{HeadOutput, postprocess};
use bevfusion_benches::synthetic::Noise;
use criterion::{Criterion, criterion_group, criterion_main};

/// Range of each row of `bbox_pred` in cells, m, ln m, sin, cos, m/s; centres lie close enough that some
/// boxes overlap.
const ROWS: [[f64; 2]; 10] = [
    [60.0, 120.0],
    [60.0, 120.0],
    [-1.0, 1.0],
    [1.0, 1.6],
    [0.4, 0.8],
    [0.3, 0.7],
    [-1.0, 1.0],
    [-1.0, 1.0],
    [-5.0, 5.0],
    [-5.0, 5.0],
];

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("postprocess");
    group.sample_size(50);
    for name in ["nuscenes_CL", "t4_CL"] {
        let config = ModelConfig::preset(name).expect("a shipped model");
        let count = config.head.num_proposals;
        let mut noise = Noise::new(1);
        let bbox_pred: Vec<f32> = ROWS
            .iter()
            .flat_map(|range| noise.take(count, *range))
            .collect();
        let score = noise.take(count, [0.0, 1.0]);
        let classes = config.class_names.len() as i64;
        let label: Vec<i64> = (0..count as i64).map(|index| index % classes).collect();
        let output = HeadOutput {
            bbox_pred: &bbox_pred,
            score: &score,
            label: &label,
        };
        let mut detections = Vec::new();
        group.bench_function(format!("{name}, {count} proposals"), |b| {
            b.iter(|| postprocess(&config, &output, &mut detections));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
