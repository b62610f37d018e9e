//! Formula weights against the sums, norms and first values that the golden files state.

use bevfusion::weights::TensorData;
use bevfusion_tests::formula::{
    GainProfile, GoldenWeight, Rule, formula_weights, formula_weights_from_json,
};
use bevfusion_tests::golden::{golden_dir, json, skipped};
use bevfusion_tests::specs::{preset, tiny};

#[test]
fn golden_sums_norms_and_first_values_come_out() {
    let Some(folder) = golden_dir() else {
        return skipped("the golden folder");
    };
    for model in ["tiny-L", "tiny-CL", "nus-L", "nus-CL"] {
        let path = folder.join(format!("models/{model}.weights.json"));
        let stated: Vec<GoldenWeight> = json(&path).expect(model);
        let weights = formula_weights_from_json(&path, "").expect(model);
        for tensor in &stated {
            if tensor.rule == "skip" {
                assert!(!weights.tensors.contains_key(&tensor.name));
                continue;
            }
            let TensorData::F32(values) = &weights.tensors[&tensor.name].data else {
                panic!("{} is not float32", tensor.name);
            };
            compare(model, tensor, values);
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "a test ends at the first entry that cannot be read"
)]
fn compare(model: &str, tensor: &GoldenWeight, values: &[f32]) {
    let name = &tensor.name;
    let first = tensor.first.as_ref().expect("first values");
    assert_eq!(&values[..first.len()], first, "{model} {name}");
    let wide = || values.iter().map(|v| f64::from(*v));
    let l2 = wide().map(|v| v * v).sum::<f64>().sqrt();
    let stated = (tensor.sum.expect("sum"), tensor.l2.expect("l2"));
    let limit = 1e-11 * wide().map(f64::abs).sum::<f64>();
    let sum: f64 = wide().sum();
    assert!(
        (sum - stated.0).abs() <= limit,
        "{model} {name}: {sum} {}",
        stated.0
    );
    assert!(
        (l2 - stated.1).abs() <= 1e-11 * stated.1,
        "{model} {name}: {l2} {}",
        stated.1
    );
}

#[test]
fn rules_by_name_are_the_rules_of_the_golden_files() {
    let Some(folder) = golden_dir() else {
        return skipped("the golden folder");
    };
    let models = [
        ("tiny-L", tiny(false), GainProfile::Tiny),
        ("tiny-CL", tiny(true), GainProfile::Tiny),
        ("nus-L", preset("nuscenes_L"), GainProfile::FullSize),
        ("nus-CL", preset("nuscenes_CL"), GainProfile::FullSize),
    ];
    for (model, spec, profile) in models {
        let path = folder.join(format!("models/{model}.weights.json"));
        let stated: Vec<GoldenWeight> = json(&path).expect(model);
        for tensor in stated.iter().filter(|tensor| tensor.rule != "skip") {
            let rule = Rule::of(&tensor.name, &tensor.shape, profile);
            assert_eq!(Some(rule), tensor.stated_rule(), "{model} {}", tensor.name);
        }
        let expected = bevfusion::weights::expected_tensors(&spec);
        let ours = formula_weights(&expected, "", profile);
        let theirs = formula_weights_from_json(&path, "").expect(model);
        assert!(ours == theirs, "{model}: other tensors or values");
    }
}
