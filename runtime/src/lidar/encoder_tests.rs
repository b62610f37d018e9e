//! The encoder against published check values of the original modules, and its invariants.

use super::{EncoderInputError, LidarEncoder};
use crate::config::{FourierSpec, LidarEncoderSpec, ModelConfig};
use crate::lidar::Voxels;
use crate::weights::{MissingWeight, Tensor, TensorData, Weights};
use bevfusion_kernels::reference::sites::SiteError;

/// The stream of the check values: a 32-bit linear congruential generator, in 0..1.
struct Stream(u32);

impl Stream {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0) / 4_294_967_296.0
    }

    fn centred(&mut self) -> f64 {
        self.next() - 0.5
    }
}

/// Fills tensors in the order in which the original module registers them.
struct Filler {
    stream: Stream,
    weights: Weights,
}

impl Filler {
    fn add(&mut self, name: &str, shape: &[usize]) {
        let len: usize = shape.iter().product();
        let fan = len / shape[0];
        let stream = &mut self.stream;
        let mut value = || match shape.len() {
            1 if name.ends_with("running_var") => 1.0 + 0.5 * stream.centred(),
            1 if name.ends_with(".weight") => 1.0 + 0.1 * stream.centred(),
            1 => 0.1 * stream.centred(),
            _ => stream.centred() * (24.0 / fan as f64).sqrt(),
        };
        let tensor = Tensor {
            shape: shape.to_vec(),
            data: TensorData::F32((0..len).map(|_| value() as f32).collect()),
        };
        let name = format!("pts_middle_encoder.{name}");
        self.weights.tensors.insert(name, tensor);
    }

    fn conv(&mut self, conv: &str, norm: &str, shape: [usize; 5]) {
        self.add(&format!("{conv}.weight"), &shape);
        for field in ["weight", "bias", "running_mean", "running_var"] {
            self.add(&format!("{norm}.{field}"), &shape[..1]);
        }
    }
}

fn spec(sparse_shape: [usize; 3]) -> LidarEncoderSpec {
    let config = ModelConfig::preset("nuscenes_L").expect("shipped");
    let mut spec = config.lidar_encoder.clone().expect("an encoder");
    spec.sparse_shape = sparse_shape;
    spec
}

fn weights(in_channels: usize) -> Weights {
    let mut filler = Filler {
        stream: Stream(3),
        weights: Weights::default(),
    };
    filler.conv("conv_input.0", "conv_input.1", [16, 3, 3, 3, in_channels]);
    for stage in 1..=4 {
        let c = 8 << stage;
        let name = format!("encoder_layers.encoder_layer{stage}");
        for block in 0..2 {
            for conv in 1..=2 {
                let at = |kind: &str| format!("{name}.{block}.{kind}{conv}");
                filler.conv(&at("conv"), &at("bn"), [c, 3, 3, 3, c]);
            }
        }
        if stage < 4 {
            let at = |part: u8| format!("{name}.2.{part}");
            filler.conv(&at(0), &at(1), [2 * c, 3, 3, 3, c]);
        }
    }
    filler.conv("conv_out.0", "conv_out.1", [128, 1, 1, 3, 128]);
    filler.weights
}

fn voxels() -> Voxels {
    let mut stream = Stream(4);
    let mut voxels = Voxels {
        columns: 5,
        ..Voxels::default()
    };
    for index in 0..700 {
        let v: [f64; 3] = std::array::from_fn(|_| stream.next());
        let (scale, shift) = if index < 400 {
            ([16.0, 16.0, 12.0], [20, 24, 10])
        } else {
            ([64.0, 64.0, 40.0], [0; 3])
        };
        let coord = std::array::from_fn(|j| (v[j] * scale[j]).floor() as i32 + shift[j]);
        if !voxels.coords.contains(&coord) {
            voxels.coords.push(coord);
        }
    }
    let mut stream = Stream(5);
    let len = 5 * voxels.len();
    voxels.mean = (0..len).map(|_| (2.0 * stream.centred()) as f32).collect();
    voxels
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
}

#[test]
fn the_check_values_of_the_original_encoder_are_met() {
    let voxels = voxels();
    assert_eq!(voxels.len(), 674);
    assert_eq!(voxels.coords[..2], [[23, 34, 16], [33, 24, 17]]);
    let mut encoder =
        LidarEncoder::new(&spec([64, 64, 41]), 5, &weights(5)).expect("complete weights");
    assert_eq!(encoder.output_shape(), [256, 8, 8]);
    let bev = encoder.run(&voxels, None).expect("valid voxels");
    let wide = || bev.iter().map(|v| f64::from(*v));
    close(wide().sum(), 1810.9512, 2e-3);
    close(wide().map(|v| v * v).sum(), 636.42746, 2e-3);
    assert_eq!(bev.iter().filter(|v| **v != 0.0).count(), 9229);
    let rows = [
        (
            0,
            3,
            [0.280_482, 0.352_481, 0.249_328, 0.374_397, 0.839_705],
        ),
        (
            1,
            3,
            [0.243_854, 0.159_873, 0.292_270, 0.321_073, 1.029_220],
        ),
    ];
    for (channel, x, values) in rows {
        for (y, want) in values.into_iter().enumerate() {
            close(bev[(channel * 8 + x) * 8 + y].into(), want, 3e-6);
        }
    }
    for (x, want) in [(2, 0.143_813), (3, 0.189_889), (4, 0.100_092)] {
        close(bev[(7 * 8 + x) * 8 + 6].into(), want, 3e-6);
    }
}

#[test]
fn neither_the_order_of_voxels_nor_the_frame_before_matters() {
    let forward = voxels();
    let mut backward = Voxels {
        coords: forward.coords.iter().rev().copied().collect(),
        ..forward.clone()
    };
    backward.mean = forward.mean.chunks(5).rev().flatten().copied().collect();
    let mut encoder = LidarEncoder::new(&spec([64, 64, 41]), 5, &weights(5)).expect("complete");
    let first = encoder.run(&forward, None).expect("valid").to_vec();
    let nothing = encoder.run(&Voxels::default(), None).expect("valid");
    assert!(nothing.len() == first.len() && nothing.iter().all(|v| v.to_bits() == 0));
    let again = encoder.run(&backward, None).expect("valid");
    assert!(
        first
            .iter()
            .zip(again)
            .all(|(a, b)| a.to_bits() == b.to_bits())
    );
}

#[test]
fn the_observer_sees_every_stage_in_order_and_changes_nothing() {
    let mut encoder = LidarEncoder::new(&spec([64, 64, 41]), 5, &weights(5)).expect("complete");
    let plain = encoder.run(&voxels(), None).expect("valid").to_vec();
    let mut seen = Vec::new();
    let mut look = |name: &str, coords: &[[i32; 3]], features: &[f32]| {
        assert!(coords.is_sorted());
        seen.push((name.to_owned(), features.len() / coords.len()));
    };
    let observed = encoder.run(&voxels(), Some(&mut look)).expect("valid");
    assert_eq!(observed, plain);
    let names: Vec<&str> = seen.iter().map(|(name, _)| &name[4..]).collect();
    let want = "conv_input stage1.0 stage1.1 stage1 stage2.0 stage2.1 stage2 stage3.0 stage3.1 \
                stage3 stage4.0 stage4.1 stage4 conv_out";
    assert_eq!(names.join(" "), want);
    let channels: Vec<usize> = seen.iter().map(|(_, channels)| *channels).collect();
    let want = [16, 16, 16, 32, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128];
    assert_eq!(channels, want);
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let mut incomplete = weights(5);
    let name = "pts_middle_encoder.encoder_layers.encoder_layer3.2.1.running_var";
    incomplete.tensors.remove(name);
    let error = LidarEncoder::new(&spec([64, 64, 41]), 5, &incomplete).expect_err("one missing");
    assert!(matches!(error, MissingWeight::Absent { name: n, .. } if n == name));

    let mut shallow = spec([64, 64, 41]);
    shallow.encoder_paddings.pop();
    assert!(LidarEncoder::new(&shallow, 5, &weights(5)).is_err());
    let error = LidarEncoder::new(&spec([64, 64, 41]), 4, &weights(5)).expect_err("5 columns");
    assert!(matches!(error, MissingWeight::Mismatched { found, .. } if found[4] == 5));
}

#[test]
fn fourier_features_widen_the_first_convolution() {
    let with_fourier = |columns: usize| LidarEncoderSpec {
        voxel_features: Some(FourierSpec {
            num_frequencies: 4,
            min: vec![-1.0; columns],
            max: vec![1.0; columns],
        }),
        ..spec([64, 64, 41])
    };
    let mut encoder = LidarEncoder::new(&with_fourier(5), 5, &weights(40)).expect("40 columns");
    let bev = encoder.run(&voxels(), None).expect("valid");
    assert!(bev.iter().all(|v| v.is_finite()) && bev.iter().any(|v| *v > 0.0));
    let error = LidarEncoder::new(&with_fourier(4), 5, &weights(40)).expect_err("4 bounds");
    assert!(error.to_string().contains("aug_features_min_values"));
}

#[test]
fn voxels_that_do_not_fit_are_refused() {
    let mut encoder = LidarEncoder::new(&spec([64, 64, 41]), 5, &weights(5)).expect("complete");
    let mut outside = voxels();
    outside.coords[7] = [0, 0, 41];
    let error = encoder.run(&outside, None).expect_err("z 41");
    assert!(matches!(
        error,
        EncoderInputError::Sites(SiteError::Outside { .. })
    ));
    let mut narrow = voxels();
    (narrow.columns, narrow.mean) = (4, vec![0.0; 4 * 674]);
    let error = encoder.run(&narrow, None).expect_err("4 columns");
    let want = EncoderInputError::Columns {
        expected: 5,
        found: 4,
    };
    assert_eq!(error, want);
}
