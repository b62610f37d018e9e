//! SECOND, SECONDFPN and head (appendix T.2).

use super::fixtures::{StateDict, Stream, assert_close, nuscenes, sums};
use super::{f32s, run, run_on};
use crate::config::{HeatmapBorder, ModelSpec};
use crate::graph::networks::{bev_decoder, camera_backbone, head};
use crate::weights::Weights;

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
