//! The native folder: written, read, refused.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use super::{small_spec, small_weights};
use crate::weights::{
    MODEL_FILE, TensorData, WEIGHTS_FILE, WeightsError, load, parse_safetensors, read_safetensors,
    save,
};

#[test]
fn a_saved_folder_reads_back_equal_and_without_temporary_files() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let target = folder.path().join("new/model");
    let weights = small_weights(&small_spec());
    save(&target, &weights, "name = \"small_L\"\n").expect("saved");
    let first = fs::read(target.join(WEIGHTS_FILE)).expect("weights");
    save(&target, &weights, "name = \"small_L\"\n").expect("saved again");
    assert_eq!(fs::read(target.join(WEIGHTS_FILE)).expect("weights"), first);
    for path in [target.clone(), target.join(WEIGHTS_FILE)] {
        let model = load(&path).expect("loaded");
        assert_eq!(model.weights, weights);
        assert_eq!(model.model_toml, "name = \"small_L\"\n");
    }
    assert_eq!(fs::read_dir(&target).expect("folder").count(), 2);
}

#[test]
fn a_read_only_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut permissions = fs::metadata(folder.path()).expect("folder").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.path(), permissions).expect("read-only");
    let error = save(folder.path(), &small_weights(&small_spec()), "").expect_err("read-only");
    assert!(matches!(error, WeightsError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("choose another output folder"));
}

#[test]
fn the_first_of_several_problems_is_told_every_time() {
    let names: Vec<String> = (0..16).map(|i| format!("w{i:02}")).collect();
    let header: Vec<String> = names
        .iter()
        .map(|name| format!(r#""{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", header.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    for _ in 0..8 {
        let read = parse_safetensors(Path::new("bytes.safetensors"), &bytes);
        let error = read.expect_err("no such elements").to_string();
        assert!(
            error.contains("bytes.safetensors") && error.contains("\"w00\""),
            "{error}"
        );
    }
}

#[test]
fn half_precision_files_are_widened() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join(WEIGHTS_FILE);
    let half: Vec<u8> = f16::from_f32(1.5).to_le_bytes().to_vec();
    let brain: Vec<u8> = bf16::from_f32(-2.0).to_le_bytes().to_vec();
    let views = [
        (
            "half",
            TensorView::new(Dtype::F16, vec![1], &half).expect("view"),
        ),
        (
            "brain",
            TensorView::new(Dtype::BF16, vec![1], &brain).expect("view"),
        ),
    ];
    fs::write(&path, serialize(views, None).expect("bytes")).expect("file");
    let weights = read_safetensors(&path).expect("read");
    assert_eq!(weights.tensors["half"].data, TensorData::F32(vec![1.5]));
    assert_eq!(weights.tensors["brain"].data, TensorData::F32(vec![-2.0]));
}

#[test]
fn absent_and_damaged_parts_are_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let error = load(folder.path()).expect_err("empty folder").to_string();
    assert!(error.contains(MODEL_FILE), "{error}");
    fs::write(folder.path().join(MODEL_FILE), "").expect("description");
    let error = load(folder.path()).expect_err("no weights").to_string();
    assert!(error.contains(WEIGHTS_FILE), "{error}");
    fs::write(folder.path().join(WEIGHTS_FILE), b"\xff\0\0\0\0\0\0\0{").expect("weights");
    let error = load(folder.path()).expect_err("damaged").to_string();
    assert!(error.contains("cannot be read as safetensors"), "{error}");
}
