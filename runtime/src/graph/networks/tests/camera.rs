//! Swin and LSSFPN (appendix T.4), depth network and down-sampling (T.5).

use super::fixtures::{StateDict, Stream, assert_close, nuscenes, sums};
use super::{f32s, run, run_on};
use crate::config::DepthNetForm;
use crate::graph::networks::{bev_downsample, camera_backbone, depth_net};

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
    assert!((sums(&depth)[0] - 1_531.986_29).abs() < 1e-3);

    let weights = StateDict::default()
        .view_transform(DepthNetForm::Mmdet3d, 104)
        .filled(8);
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
fn the_form_of_awml_takes_its_own_names_and_widths() {
    let mut spec = nuscenes(16);
    let camera = spec.camera.as_mut().unwrap();
    camera.view_transform.form = DepthNetForm::Awml;
    let weights = StateDict::default().view_transform(DepthNetForm::Awml, 104);
    let weights = weights.filled(8);
    let graph = depth_net(&spec, &weights, 2).unwrap();
    let depth = depth_image().repeat(2);
    let features = Stream::new(10).take(2 * 256 * 96, 0.2);
    let out = run_on(&graph, &[&depth, &features], 2);
    let [probability, context] = [0, 1].map(|i| f32s(&out[i]));
    assert_eq!(
        (probability.len(), context.len()),
        (2 * 24 * 96, 2 * 80 * 96)
    );
    for cell in 0..96 {
        let sum: f32 = probability[cell..24 * 96].iter().step_by(96).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    assert!(bev_downsample(&spec, &weights).unwrap().is_some());
    spec.camera.as_mut().unwrap().view_transform.downsample = 1;
    assert_eq!(bev_downsample(&spec, &weights).unwrap(), None);
}
