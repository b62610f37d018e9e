//! The networks against the numbers of the specification's appendix T, on the CPU engine.

use super::fixtures::{StateDict, Stream, assert_close, nuscenes, sums};
use super::{bev_decoder, bev_downsample, camera_backbone, depth_net, head};
use crate::config::{HeatmapBorder, ModelSpec};
use crate::engine::{CpuEngine, Engine, EngineOptions, TensorBuffer};
use crate::graph::Graph;
use crate::weights::Weights;

fn run_on(graph: &Graph, inputs: &[&[f32]], threads: usize) -> Vec<TensorBuffer> {
    let options = EngineOptions {
        threads: Some(threads),
    };
    let mut network = CpuEngine::new(options).load(graph).unwrap();
    let mut outputs = vec![TensorBuffer::default(); graph.outputs.len()];
    network.run(inputs, &mut outputs).unwrap();
    outputs
}

fn run(graph: &Graph, names: &[&str], inputs: &[&[f32]]) -> Vec<TensorBuffer> {
    run_on(&graph.with_outputs(names).unwrap(), inputs, 2)
}

fn f32s(buffer: &TensorBuffer) -> &[f32] {
    buffer.f32().unwrap()
}

/// A LiDAR-only model on 16×16 cells.
fn lidar_only() -> ModelSpec {
    ModelSpec {
        fuser: None,
        camera: None,
        ..nuscenes(16)
    }
}

fn lidar_weights() -> Weights {
    StateDict::default().second().head().filled(1)
}

fn lidar_bev() -> Vec<f32> {
    let values = Stream::new(2).take(256 * 16 * 16, 2.0);
    values.into_iter().map(|v| v.max(0.0)).collect()
}

fn neck_output(weights: &Weights) -> Vec<f32> {
    let graph = bev_decoder(&lidar_only(), weights).unwrap();
    f32s(&run(&graph, &["neck.out"], &[&lidar_bev()])[0]).to_vec()
}

#[test]
fn second_and_its_neck_agree_with_the_original() {
    let input = lidar_bev();
    assert_close("input", &[sums(&input)[0] as f32], &[16387.79], 0.01);
    let neck = neck_output(&lidar_weights());
    let [sum, squares] = sums(&neck);
    assert!((sum - 32151.486).abs() < 0.05, "{sum}");
    assert!((squares - 25522.023).abs() < 0.05, "{squares}");
    assert_close(
        "first",
        &neck[..4],
        &[0.115_600, 0.229_826, 0.344_306, 0.287_523],
        2e-6,
    );
    let second_half = &neck[256 * 256..][..4];
    assert_close(
        "second half",
        second_half,
        &[0.039_826, 0.0, 0.0, 0.102_164],
        2e-6,
    );
}

#[test]
fn the_head_agrees_with_the_original() {
    let weights = lidar_weights();
    let neck = neck_output(&weights);
    let graph = head(&lidar_only(), &weights).unwrap();
    let names = [
        "head.dense_heatmap",
        "head.topk_index",
        "head.pred.center",
        "head.pred.heatmap",
        "head.query_pos",
    ];
    let out = run(&graph, &names, &[&neck]);
    let dense = f32s(&out[0]);
    assert!((sums(dense)[0] + 565.282_48).abs() < 2e-3);
    assert_close(
        "dense",
        &dense[..4],
        &[-0.200_467, -0.147_792, -0.145_023, -0.221_861],
        2e-6,
    );
    let index = [
        1894, 1892, 1958, 1896, 1962, 1928, 1832, 2408, 1883, 1828, 1862, 1924, 2440, 2442, 1960,
        2468, 1922, 2470, 2500, 2011,
    ];
    assert_eq!(out[1].i64().unwrap(), index);
    let centre = f32s(&out[2]);
    let xs = [5.903_481, 6.293_200, 10.513_906];
    let ys = [4.538_206, 2.781_213, 4.686_222];
    assert_close("x", &centre[..3], &xs, 2e-4);
    assert_close("y", &centre[20..23], &ys, 2e-4);
    let logits: Vec<f32> = f32s(&out[3]).iter().copied().step_by(20).collect();
    let want = [
        0.369_264, 0.357_990, 2.854_370, -1.326_522, -1.031_979, -0.924_027, 1.698_275, -0.107_207,
        -0.393_409, -0.610_471,
    ];
    assert_close("logits of the first", &logits, &want, 2e-4);
    let cell = index[0] % 256;
    let position = [(cell / 16) as f64 + 0.5, (cell % 16) as f64 + 0.5];
    assert_close("position", &f32s(&out[4])[..2], &position, 0.0);
}

#[test]
fn scores_labels_and_boxes_agree_with_the_original() {
    let weights = lidar_weights();
    let neck = neck_output(&weights);
    let graph = head(&lidar_only(), &weights).unwrap();
    let out = run_on(&graph, &[&neck], 2);
    let want = [
        0.441_203, 0.316_999, 0.272_711, 0.439_673, 0.442_007, 0.440_548, 0.460_237, 0.316_496,
    ];
    assert_close("score", &f32s(&out[1])[..8], &want, 2e-5);
    assert_eq!(out[2].i64().unwrap()[..8], [7, 7, 7, 7, 7, 7, 7, 9]);
    let rows: Vec<f64> = f32s(&out[0])
        .iter()
        .step_by(20)
        .map(|v| f64::from(*v))
        .collect();
    let decoded = [
        rows[0] * 0.6 - 54.0,
        rows[1] * 0.6 - 54.0,
        rows[2] - rows[5].exp() / 2.0,
        rows[3].exp(),
        rows[4].exp(),
        rows[5].exp(),
        rows[6].atan2(rows[7]),
        rows[8],
        rows[9],
    ]
    .map(|v| v as f32);
    let want = [
        -50.457_912,
        -51.277_077,
        -0.653_047,
        4.186_702,
        7.876_266,
        1.771_502,
        -2.612_595,
        1.215_714,
        -2.376_829,
    ];
    assert_close("first box", &decoded, &want, 5e-4);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let weights = lidar_weights();
    let neck = neck_output(&weights);
    let graph = head(&lidar_only(), &weights).unwrap();
    assert_eq!(run_on(&graph, &[&neck], 1), run_on(&graph, &[&neck], 3));
}

#[test]
fn a_kept_border_finds_maxima_that_the_original_suppresses() {
    let weights = lidar_weights();
    let neck = neck_output(&weights);
    let maxima = |border: HeatmapBorder| {
        let mut spec = lidar_only();
        spec.head.heatmap_border = border;
        let graph = head(&spec, &weights).unwrap();
        f32s(&run(&graph, &["head.heatmap_nms"], &[&neck])[0]).to_vec()
    };
    let [suppressed, kept] = [HeatmapBorder::Suppress, HeatmapBorder::Keep].map(maxima);
    let mut ring = 0;
    for (i, (a, b)) in suppressed.iter().zip(&kept).enumerate() {
        let (class, x, y) = (i / 256, i / 16 % 16, i % 16);
        let border = class < 8 && (x % 15 == 0 || y % 15 == 0);
        assert!(
            if border {
                *a <= 0.0
            } else {
                a.to_bits() == b.to_bits()
            },
            "{i}"
        );
        ring += usize::from(border && *b > 0.0);
    }
    assert!(ring > 0);
}

#[test]
fn swin_and_its_neck_agree_with_the_original() {
    let weights = StateDict::default().swin().lssfpn().filled(6);
    let graph = camera_backbone(&nuscenes(16), &weights, 1).unwrap();
    let image = Stream::new(7).take(3 * 64 * 96, 4.0);
    let out = run(
        &graph,
        &["swin.out0", "swin.out1", "swin.out2", "fpn.out0"],
        &[&image],
    );
    let want = [
        [24.643_44, 18581.616],
        [-9.306_39, 9230.398],
        [3.386_14, 4624.819],
        [9566.0076, 12581.871],
    ];
    for (i, [sum, squares]) in want.into_iter().enumerate() {
        let got = sums(f32s(&out[i]));
        assert!((got[0] - sum).abs() < 2e-2, "{i}: {got:?}");
        assert!((got[1] - squares).abs() < 2e-2, "{i}: {got:?}");
    }
    let [f0, f1, f2, neck] = [0, 1, 2, 3].map(|i| f32s(&out[i]));
    assert_close(
        "f0",
        &f0[..4],
        &[0.579_861, 0.273_769, 0.437_719, -0.329_583],
        2e-5,
    );
    let row = 5 * 24 + 6;
    assert_close(
        "f1",
        &f1[row..row + 4],
        &[-0.037_777, 0.473_720, 0.889_060, -0.540_080],
        2e-5,
    );
    let row = 7 * 6 + 3;
    assert_close(
        "f2",
        &f2[row..row + 3],
        &[1.230_843, 0.710_568, 0.246_261],
        2e-5,
    );
    assert_close(
        "neck",
        &neck[..4],
        &[0.531_641, 0.159_609, 0.801_594, 0.0],
        2e-5,
    );
    let row = 10 * 96 + 3 * 12;
    assert_close(
        "neck",
        &neck[row..row + 4],
        &[1.159_047, 1.465_718, 2.930_883, 0.942_206],
        2e-5,
    );
}

/// Appendix T.5: the image augmentation, its inverse, and the camera.
const AUGMENT: [[f64; 2]; 2] = [[0.5, 0.05], [-0.05, 0.5]];
const SHIFT: [f64; 2] = [20.0, 12.0];
const FOCAL: f64 = 60.0;
const MIDDLE: [f64; 2] = [48.0, 32.0];

/// 300 points on the image; the last one on a pixel wins.
fn depth_image() -> Vec<f32> {
    let mut stream = Stream::new(9);
    let mut image = vec![0.0; 64 * 96];
    for _ in 0..300 {
        let [v1, v2, v3] = [0; 3].map(|_| stream.v());
        let point = [1.5 + 10.0 * v1, -6.0 + 12.0 * v2, -1.5 + 2.5 * v3];
        let camera = [0.1 - point[1], 1.5 - point[2], point[0] - 0.3];
        let raw = [0, 1].map(|i| FOCAL * camera[i] / camera[2] + MIDDLE[i]);
        let [u, v] = [0, 1].map(|i| AUGMENT[i][0] * raw[0] + AUGMENT[i][1] * raw[1] + SHIFT[i]);
        if (0.0..96.0).contains(&u) && (0.0..64.0).contains(&v) {
            image[v as usize * 96 + u as usize] = camera[2] as f32;
        }
    }
    image
}

/// Cell of the pooled map for depth bin d and feature cell (row, column); none outside.
fn pooled_cell(d: usize, row: usize, column: usize) -> Option<usize> {
    let depth = 1.0 + 0.5 * d as f64;
    let seen = [
        95.0 * column as f64 / 11.0 - SHIFT[0],
        63.0 * row as f64 / 7.0 - SHIFT[1],
    ];
    let determinant = AUGMENT[0][0] * AUGMENT[1][1] - AUGMENT[0][1] * AUGMENT[1][0];
    let u = (AUGMENT[1][1] * seen[0] - AUGMENT[0][1] * seen[1]) / determinant;
    let v = (AUGMENT[0][0] * seen[1] - AUGMENT[1][0] * seen[0]) / determinant;
    let camera = [
        (u - MIDDLE[0]) / FOCAL * depth - 0.1,
        (v - MIDDLE[1]) / FOCAL * depth - 1.5,
        depth + 0.3,
    ];
    let lidar = [camera[2], -camera[0], -camera[1]];
    let (sin, cos) = 0.3_f64.sin_cos();
    let x = 1.05 * (cos * lidar[0] - sin * lidar[1]) + 0.4;
    let y = 1.05 * (sin * lidar[0] + cos * lidar[1]) - 0.2;
    let z = 1.05 * lidar[2] + 0.1;
    let [x, y, z] = [(x + 12.0) / 0.5, (y + 12.0) / 0.5, (z + 10.0) / 20.0].map(f64::trunc);
    let inside = (0.0..48.0).contains(&x) && (0.0..48.0).contains(&y) && z.abs() < 0.5;
    inside.then_some(x as usize * 48 + y as usize)
}

#[test]
fn the_view_transform_networks_agree_with_the_original() {
    let spec = nuscenes(16);
    let weights = StateDict::default().swin().lssfpn().filled(6);
    let graph = camera_backbone(&spec, &weights, 1).unwrap();
    let image = Stream::new(7).take(3 * 64 * 96, 4.0);
    let features = run_on(&graph, &[&image], 2);
    let features: Vec<f32> = f32s(&features[0]).iter().map(|v| v * 0.05).collect();
    let depth = depth_image();
    assert_eq!(depth.iter().filter(|d| **d > 0.0).count(), 237);
    assert!((sums(&depth)[0] - 1531.986_29).abs() < 1e-3);

    let weights = StateDict::default().view_transform(104).filled(8);
    let graph = depth_net(&spec, &weights, 1).unwrap();
    let out = run_on(&graph, &[&depth, &features], 2);
    let [probability, context] = [0, 1].map(|i| f32s(&out[i]));
    let mut lifted = [0.0; 2];
    let mut pooled = vec![0.0_f32; 80 * 48 * 48];
    for cell in 0..96 {
        let of =
            |values: &[f32]| -> Vec<f32> { values[cell..].iter().step_by(96).copied().collect() };
        let ([p1, p2], [c1, c2]) = (sums(&of(probability)), sums(&of(context)));
        lifted = [lifted[0] + p1 * c1, lifted[1] + p2 * c2];
        for (d, p) in of(probability).into_iter().enumerate() {
            let Some(target) = pooled_cell(d, cell / 12, cell % 12) else {
                continue;
            };
            for (c, value) in of(context).into_iter().enumerate() {
                pooled[c * 48 * 48 + target] += p * value;
            }
        }
    }
    assert!((lifted[0] + 673.969_75).abs() < 5e-3, "{lifted:?}");
    assert!((lifted[1] - 3775.6008).abs() < 5e-3, "{lifted:?}");
    assert!((sums(&pooled)[0] + 466.750_11).abs() < 5e-3);

    let graph = bev_downsample(&spec, &weights).unwrap().unwrap();
    let out = run_on(&graph, &[&pooled], 2);
    let [sum, squares] = sums(f32s(&out[0]));
    assert!((sum - 3243.0929).abs() < 5e-3, "{sum}");
    assert!((squares - 1261.0132).abs() < 5e-3, "{squares}");
    let row = 14 * 24 + 10;
    let want = [0.062_211, 0.089_641, 0.022_684, 0.027_514];
    assert_close("output", &f32s(&out[0])[row..row + 4], &want, 5e-6);
}

#[test]
fn what_the_networks_do_not_do_is_refused_by_name() {
    let weights = lidar_weights();
    let mut spec = lidar_only();
    spec.head.num_decoder_layers = 2;
    let error = head(&spec, &weights).unwrap_err().to_string();
    assert!(error.contains("head.num_decoder_layers = 2"), "{error}");
    let error = camera_backbone(&lidar_only(), &weights, 6).unwrap_err();
    assert!(error.to_string().contains("no camera branch"), "{error}");
    let error = bev_decoder(&nuscenes(16), &weights).unwrap_err();
    assert!(
        error.to_string().contains("fusion_layer.0.weight"),
        "{error}"
    );
}
