//! Sparse convolutions and their gradients against a dense convolution written as loops.

use super::{Activation, Convolution, Epilogue, sparse_conv};
use crate::reference::rulebook::{ConvGeometry, Rulebook};
use crate::reference::sites::Sites;
use crate::reference::sparse_conv_backward::{
    ForwardPass, SparseConvGradients, sparse_conv_backward,
};
use crate::reference::sparse_weights::{PreparedWeights, WeightShape};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Case {
    shape: [usize; 3],
    geometry: ConvGeometry,
    submanifold: bool,
    input: usize,
    output: usize,
    coords: Vec<[i32; 3]>,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let axis = || (2_usize..8, 1_usize..4, 1_usize..4, 0_usize..3);
    let sizes = ([axis(), axis(), axis()], 1_usize..6, 1_usize..36);
    (sizes, proptest::bool::ANY, proptest::num::u64::ANY)
        .prop_flat_map(|((axes, input, output), submanifold, seed)| {
            let shape = axes.map(|a| a.0);
            let [x, y, z] = shape.map(|extent| 0..extent as i32);
            let coords = proptest::collection::btree_set((x, y, z), 0..60)
                .prop_map(|set| set.into_iter().map(|(x, y, z)| [x, y, z]).collect());
            let geometry = if submanifold {
                ConvGeometry::submanifold(axes.map(|a| if a.1 > 1 { 3 } else { 1 }))
            } else {
                ConvGeometry {
                    kernel: axes.map(|a| a.1),
                    stride: axes.map(|a| a.2),
                    padding: axes.map(|a| a.3),
                }
            };
            (
                coords,
                Just((shape, geometry, submanifold, input, output, seed)),
            )
        })
        .prop_map(
            |(coords, (shape, geometry, submanifold, input, output, seed))| Case {
                shape,
                geometry,
                submanifold,
                input,
                output,
                coords,
                seed,
            },
        )
}

/// Small integers, so that float32 sums are exact in any order.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 40) % 9) as f32 - 4.0
    };
    (0..len).map(|_| next()).collect()
}

struct Tensors {
    sites: Sites,
    outputs: Sites,
    rules: Rulebook,
    features: Vec<f32>,
    weight: Vec<f32>,
    weight_shape: WeightShape,
}

fn tensors(case: &Case) -> Tensors {
    let (mut sites, mut outputs, mut rules) =
        (Sites::default(), Sites::default(), Rulebook::default());
    sites
        .assign(case.shape, &case.coords, &mut Vec::new())
        .expect("valid");
    if case.submanifold {
        rules.build_submanifold(case.geometry.kernel, &sites);
        outputs.clone_from(&sites);
    } else {
        rules.build_strided(&case.geometry, &sites, &mut outputs);
    }
    let weight_shape = WeightShape {
        output: case.output,
        kernel_volume: case.geometry.kernel_volume(),
        input: case.input,
    };
    Tensors {
        features: numbers(case.seed, sites.len() * case.input),
        weight: numbers(case.seed ^ 0x55AA, weight_shape.len()),
        sites,
        outputs,
        rules,
        weight_shape,
    }
}

/// Calls `visit(output coordinate, kernel offset, input row)` for every pair that a dense
/// convolution over the whole grid would multiply with an active input.
fn dense_pairs(case: &Case, sites: &Sites, mut visit: impl FnMut([i32; 3], usize, usize)) {
    let rows: BTreeMap<[i32; 3], usize> = sites.coords().iter().copied().zip(0..).collect();
    let ConvGeometry {
        kernel,
        stride,
        padding,
    } = case.geometry;
    let out = case.geometry.output_shape(case.shape);
    let cells = |e: [usize; 3]| {
        (0..e[0] * e[1] * e[2]).map(move |i| [i / (e[1] * e[2]), i / e[2] % e[1], i % e[2]])
    };
    for o in cells(out) {
        for (offset, k) in cells(kernel).enumerate() {
            let input =
                std::array::from_fn(|a| (o[a] * stride[a] + k[a]) as i32 - padding[a] as i32);
            if let Some(row) = rows.get(&input) {
                visit(o.map(|v| v as i32), offset, *row);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_equals_a_dense_convolution_at_the_active_sites(case in case()) {
        let t = tensors(&case);
        let mut want: BTreeMap<[i32; 3], Vec<f32>> = BTreeMap::new();
        dense_pairs(&case, &t.sites, |o, offset, row| {
            if case.submanifold && t.sites.coords().binary_search(&o).is_err() {
                return;
            }
            let sums = want.entry(o).or_insert_with(|| vec![0.0; case.output]);
            for (channel, sum) in sums.iter_mut().enumerate() {
                for i in 0..case.input {
                    let w = (channel * t.weight_shape.kernel_volume + offset) * case.input + i;
                    *sum += t.weight[w] * t.features[row * case.input + i];
                }
            }
        });
        let keys: Vec<[i32; 3]> = want.keys().copied().collect();
        prop_assert_eq!(t.outputs.coords(), &keys[..]);

        let scale: Vec<f64> = (0..case.output).map(|c| 1.0 + (c % 2) as f64).collect();
        let bias: Vec<f64> = (0..case.output).map(|c| c as f64 - 3.0).collect();
        let residual = numbers(case.seed ^ 0x77, keys.len() * case.output);
        let weights = PreparedWeights::folded(t.weight_shape, &t.weight, &scale, &bias);
        let epilogue = Epilogue { residual: Some(&residual), activation: Activation::Relu };
        let mut got = vec![f32::NAN; 5];
        sparse_conv(&weights, &t.rules, &t.features, &epilogue, &mut got);
        let folded = want.values().flatten().zip(&residual).enumerate().map(|(i, (sum, r))| {
            let c = i % case.output;
            (sum * scale[c] as f32 + bias[c] as f32 + r).max(0.0)
        });
        prop_assert_eq!(got, folded.collect::<Vec<f32>>());
    }

    #[test]
    fn machines_without_wide_registers_get_the_same_sums(case in case()) {
        let t = tensors(&case);
        let weights = PreparedWeights::plain(t.weight_shape, &t.weight);
        let epilogue = Epilogue { residual: None, activation: Activation::Identity };
        let mut out = Vec::new();
        sparse_conv(&weights, &t.rules, &t.features, &epilogue, &mut out);
        let convolution = Convolution {
            weights: &weights,
            rules: &t.rules,
            features: &t.features,
            epilogue: &epilogue,
        };
        let mut portable = vec![f32::NAN; out.len()];
        for (tile, rows) in portable.chunks_mut(super::TILE * case.output).enumerate() {
            convolution.tile_portable(tile * super::TILE, rows);
        }
        prop_assert_eq!(out, portable);
    }

    #[test]
    fn gradients_are_those_of_the_dense_convolution(case in case()) {
        let t = tensors(&case);
        let gradient = numbers(case.seed ^ 0x99, t.outputs.len() * case.output);
        let mut features = vec![0.0; t.features.len()];
        let mut weight = vec![0.0; t.weight.len()];
        dense_pairs(&case, &t.sites, |o, offset, row| {
            let Ok(out_row) = t.outputs.coords().binary_search(&o) else { return };
            for channel in 0..case.output {
                let slope = gradient[out_row * case.output + channel];
                for i in 0..case.input {
                    let w = (channel * t.weight_shape.kernel_volume + offset) * case.input + i;
                    features[row * case.input + i] += slope * t.weight[w];
                    weight[w] += slope * t.features[row * case.input + i];
                }
            }
        });
        let pass = ForwardPass {
            rules: &t.rules,
            shape: t.weight_shape,
            weight: &t.weight,
            features: &t.features,
        };
        let mut got = SparseConvGradients::default();
        sparse_conv_backward(&pass, &gradient, &mut got);
        prop_assert_eq!(got.features, features);
        prop_assert_eq!(got.weight, weight);
    }

    #[test]
    fn bytes_do_not_depend_on_the_number_of_threads(seed in proptest::num::u64::ANY) {
        let coords = (0..400).map(|i| [i / 40, i / 4 % 10, i % 4 * 2]).collect();
        let case = Case {
            shape: [10, 10, 8],
            geometry: ConvGeometry::submanifold([3; 3]),
            submanifold: true,
            input: 7,
            output: 19,
            coords,
            seed,
        };
        let t = tensors(&case);
        let uneven: Vec<f32> = t.features.iter().map(|v| v / 3.7).collect();
        let weights = PreparedWeights::plain(t.weight_shape, &t.weight);
        let epilogue = Epilogue { residual: None, activation: Activation::Identity };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            let mut out = Vec::new();
            pool.install(|| sparse_conv(&weights, &t.rules, &uneven, &epilogue, &mut out));
            out
        };
        let (one, three) = (run(1), run(3));
        prop_assert!(one.iter().zip(&three).all(|(a, b)| a.to_bits() == b.to_bits()));
        prop_assert!(one.iter().any(|v| *v > 1.0));
    }
}
