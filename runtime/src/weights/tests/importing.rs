//! From a checkpoint file to the weights of a model.

use std::fs;

use super::writer::{Py, TorchFile};
use super::{small_spec, small_weights};
use crate::weights::{
    Checkpoint, ImportOptions, ImportReport, Tensor, TensorData, Weights, WeightsError, check,
    import, import_file,
};

const LENIENT: ImportOptions = ImportOptions {
    strict: false,
    ema: false,
};

fn imported(
    weights: Weights,
    options: ImportOptions,
) -> Result<(Weights, ImportReport), WeightsError> {
    let mut checkpoint = Checkpoint::of_weights("memory".as_ref(), weights);
    import(&mut checkpoint, &small_spec(), options)
}

fn floats(shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor {
        shape: shape.to_vec(),
        data: TensorData::F32(values),
    }
}

/// `[out, kx, ky, kz, in]` to `[kx, ky, kz, in, out]`.
fn in_out_last(tensor: &Tensor) -> Tensor {
    let TensorData::F32(values) = &tensor.data else {
        panic!("kernels are floats");
    };
    let (out, rest) = (tensor.shape[0], values.len() / tensor.shape[0]);
    let mut shape = tensor.shape[1..].to_vec();
    shape.push(out);
    let moved = (0..rest).flat_map(|at| (0..out).map(move |o| (o, at)));
    floats(&shape, moved.map(|(o, at)| values[o * rest + at]).collect())
}

fn is_kernel(name: &str, tensor: &Tensor) -> bool {
    name.starts_with("pts_middle_encoder.") && tensor.shape.len() == 5
}

/// Our names as MIT's release has them.
fn mit_name(name: &str) -> String {
    let table = [
        ("pts_middle_encoder.", "encoders.lidar.backbone."),
        ("pts_backbone.", "decoder.backbone."),
        ("pts_neck.", "decoder.neck."),
        ("bbox_head.", "heads.object."),
        (".self_attn.attn.", ".self_attn."),
        (".cross_attn.attn.", ".multihead_attn."),
        (".ffn.layers.0.0.", ".linear1."),
        (".ffn.layers.1.", ".linear2."),
        (".norms.0.", ".norm1."),
        (".norms.1.", ".norm2."),
        (".norms.2.", ".norm3."),
    ];
    table
        .iter()
        .fold(name.to_owned(), |name, (ours, mit)| name.replace(ours, mit))
}

#[test]
fn a_complete_checkpoint_is_taken_whole() {
    let weights = small_weights(&small_spec());
    let (taken, report) = imported(weights.clone(), ImportOptions::default()).expect("fits");
    assert_eq!(taken, weights);
    assert_eq!(report.loaded, weights.tensors.len());
    assert_eq!((report.renamed, report.permuted), (0, 0));
    assert!(report.is_clean());
    assert!(
        report.modules.iter().all(|m| m.found == m.expected),
        "{report}"
    );
    assert!(report.to_string().contains("fits small_L"), "{report}");
    check(&taken, &small_spec()).expect("what was imported passes the check");
}

#[test]
fn mit_names_and_kernels_give_the_same_weights() {
    let spec = small_spec();
    let weights = small_weights(&spec);
    let mut mit = Weights::default();
    for (name, tensor) in &weights.tensors {
        let stored = if is_kernel(name, tensor) {
            in_out_last(tensor)
        } else {
            tensor.clone()
        };
        mit.tensors.insert(mit_name(name), stored);
    }
    let (taken, report) = imported(mit, ImportOptions::default()).expect("fits");
    let kernels = weights
        .tensors
        .iter()
        .filter(|(name, tensor)| is_kernel(name, tensor));
    assert_eq!(taken, weights);
    assert_eq!(report.renamed, weights.tensors.len());
    assert_eq!(report.permuted, kernels.count());
}

#[test]
fn half_precision_in_a_file_is_widened() {
    let spec = small_spec();
    let weights = small_weights(&spec);
    let mut file = TorchFile::default();
    let dict = file.named(&weights, |file, shape, values| file.half(shape, values));
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("half.pth");
    fs::write(&path, file.zip(&Py::dict(vec![("state_dict", dict)]))).expect("checkpoint");
    let (taken, _) = import_file(&path, &spec, ImportOptions::default()).expect("fits");
    assert_eq!(taken, weights);
}

#[test]
fn a_legacy_file_behind_a_wrapper_is_imported() {
    let spec = small_spec();
    let weights = small_weights(&spec);
    let mut wrapped = Weights::default();
    for (name, tensor) in &weights.tensors {
        wrapped
            .tensors
            .insert(format!("module.{name}"), tensor.clone());
    }
    let mut file = TorchFile::legacy();
    let dict = file.state_dict(&wrapped);
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("old.pth");
    fs::write(&path, file.old(&Py::dict(vec![("model", dict)]))).expect("checkpoint");
    let (taken, report) = import_file(&path, &spec, ImportOptions::default()).expect("fits");
    assert_eq!(taken, weights);
    assert_eq!(report.state_dict, "model");
}

#[test]
fn everything_that_does_not_fit_is_listed() {
    let mut weights = small_weights(&small_spec());
    weights.tensors.remove("pts_neck.deblocks.0.0.weight");
    weights.tensors.remove("bbox_head.shared_conv.bias");
    weights
        .tensors
        .insert("bbox_head.extra".into(), floats(&[3], vec![0.0; 3]));
    weights.tensors.insert(
        "pts_backbone.blocks.0.0.weight".into(),
        floats(&[1], vec![0.0]),
    );
    let error = imported(weights.clone(), ImportOptions::default()).expect_err("strict");
    let text = error.to_string();
    for words in [
        "missing 2, mismatched 1, unexpected 1",
        "missing    bbox_head.shared_conv.bias [8]",
        "missing    pts_neck.deblocks.0.0.weight [4, 4, 1, 1]",
        "mismatched pts_backbone.blocks.0.0.weight: expected [4, 12, 3, 3], found [1]",
        "unexpected bbox_head.extra [3]",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let (taken, report) = imported(weights, LENIENT).expect("lenient");
    assert_eq!(report.missing.len(), 2);
    assert_eq!(taken.tensors.len(), report.loaded);
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["missing"][0]["name"], "bbox_head.shared_conv.bias");
}

#[test]
fn another_variant_is_recognised() {
    let mut weights = small_weights(&small_spec());
    weights.tensors.insert(
        "pts_middle_encoder.conv_input.0.weight".into(),
        floats(&[2, 3, 3, 3, 50], vec![0.0; 2700]),
    );
    weights.tensors.insert(
        "bbox_head.heatmap_head.1.bias".into(),
        floats(&[5], vec![0.0; 5]),
    );
    let text = imported(weights, ImportOptions::default())
        .expect_err("unfit")
        .to_string();
    assert!(
        text.contains(
            "this looks like t4_L_intensity: 50 input channels, no camera branch, 5 classes"
        ),
        "{text}"
    );
}

#[test]
fn a_kernel_permuted_by_the_stock_loader_is_explained() {
    let mut weights = small_weights(&small_spec());
    let name = "pts_middle_encoder.conv_input.0.weight";
    assert_eq!(weights.tensors[name].shape, [2, 3, 3, 3, 16]);
    weights
        .tensors
        .insert(name.into(), floats(&[16, 2, 3, 3, 3], vec![0.0; 864]));
    let text = imported(weights, ImportOptions::default())
        .expect_err("unfit")
        .to_string();
    assert!(text.contains("import the original file"), "{text}");
}

#[test]
fn values_that_no_network_has_are_refused() {
    let cases = [
        ("pts_neck.deblocks.0.1.running_var", -1.0, "negative"),
        ("pts_neck.deblocks.0.1.bias", f32::NAN, "NaN"),
        ("pts_neck.deblocks.0.1.weight", f32::INFINITY, "inf"),
    ];
    for (name, value, words) in cases {
        let mut weights = small_weights(&small_spec());
        weights
            .tensors
            .insert(name.into(), floats(&[4], vec![1.0, 1.0, value, 1.0]));
        let text = imported(weights, ImportOptions::default())
            .expect_err(name)
            .to_string();
        assert!(text.contains(name) && text.contains(words), "{text}");
    }
}

#[test]
fn constants_are_compared_with_the_description_and_not_kept() {
    let name = "pts_middle_encoder.aug_features_max_values";
    let mut weights = small_weights(&small_spec());
    weights
        .tensors
        .insert(name.into(), floats(&[4], vec![8.0, 8.0, 4.0, 0.2]));
    let (taken, report) = imported(weights.clone(), ImportOptions::default()).expect("agrees");
    assert_eq!(report.constants, 1);
    assert!(!taken.tensors.contains_key(name));
    weights
        .tensors
        .insert(name.into(), floats(&[4], vec![8.0, 8.0, 5.0, 0.2]));
    let text = imported(weights, ImportOptions::default())
        .expect_err("differs")
        .to_string();
    assert!(
        text.contains("value 2 is 5, the model description makes it 4"),
        "{text}"
    );
}

#[test]
fn leftovers_of_training_are_no_error() {
    let mut weights = small_weights(&small_spec());
    for name in ["ema_bbox_head_shared_conv_bias", "data_preprocessor.mean"] {
        weights.tensors.insert(name.into(), floats(&[1], vec![0.0]));
    }
    let empty = floats(&[0], vec![]);
    weights
        .tensors
        .insert("pts_middle_encoder.unused".into(), empty);
    let (_, report) = imported(weights, ImportOptions::default()).expect("fits");
    assert_eq!(report.ignored.len(), 3);
}
