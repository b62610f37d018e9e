//! The tensors that a description makes us expect against the state dicts of the original modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bevfusion::config::ModelSpec;
use bevfusion::weights::{TensorKind, expected_tensors};
use bevfusion_tests::golden::{skipped, spec_dir};
use bevfusion_tests::specs::preset;

/// Name to shape and kind.
type StateDict = BTreeMap<String, (Vec<usize>, TensorKind)>;

/// One model of the table: entries with a shape, and names that are absent.
#[derive(Default)]
struct Listed {
    entries: StateDict,
    absent: Vec<String>,
}

#[expect(
    clippy::expect_used,
    reason = "a test ends at the first entry that cannot be read"
)]
fn table(folder: &Path) -> BTreeMap<String, Listed> {
    let text = fs::read_to_string(folder.join("state_dict_nuscenes.tsv")).expect("table");
    let mut models: BTreeMap<String, Listed> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().expect("four columns");
        let (model, name, shape, note) = (column(), column(), column(), column());
        let listed = models.entry(model.into()).or_default();
        if shape == "-" {
            listed.absent.push(name.into());
            continue;
        }
        let numbers = shape
            .trim_matches(['[', ']'])
            .split(", ")
            .filter(|n| !n.is_empty());
        let shape = numbers.map(|n| n.parse().expect("extent")).collect();
        listed
            .entries
            .insert(name.into(), (shape, kind(name, note)));
    }
    models
}

fn kind(name: &str, note: &str) -> TensorKind {
    let derived = [
        "num_batches_tracked",
        "relative_position_index",
        "aug_features_min_values",
        "aug_features_max_values",
        "exponents",
    ];
    if note.starts_with("param(no grad)") || derived.iter().any(|suffix| name.ends_with(suffix)) {
        TensorKind::Constant
    } else if note.starts_with("param ") {
        TensorKind::Parameter
    } else {
        assert!(note.starts_with("buffer "), "{name}: {note}");
        TensorKind::Buffer
    }
}

/// A state dict with the differences of a variant applied.
fn changed(base: &StateDict, differences: &Listed) -> StateDict {
    let mut dict = base.clone();
    dict.extend(differences.entries.clone());
    for name in &differences.absent {
        assert!(dict.remove(name).is_some(), "{name} was not there");
    }
    // AWML registers its normalisation bounds empty where it does not use them: nothing to expect.
    dict.retain(|_, (shape, _)| !shape.contains(&0));
    dict
}

fn assert_same(model: &str, spec: &ModelSpec, listed: &StateDict) {
    let expected = expected_tensors(spec).into_iter();
    let ours: StateDict = expected.map(|t| (t.name, (t.shape, t.kind))).collect();
    for (name, entry) in listed {
        assert_eq!(ours.get(name), Some(entry), "{model}: {name}");
    }
    for name in ours.keys() {
        assert!(
            listed.contains_key(name),
            "{model}: {name} is not in the original"
        );
    }
}

#[test]
fn every_variant_expects_the_tensors_of_the_original() {
    let Some(folder) = spec_dir() else {
        return skipped("the folder of facts");
    };
    let models = table(&folder);
    let lidar = &models["nuscenes_L_mmdet3d"].entries;
    let fusion = &models["nuscenes_CL_mmdet3d"].entries;
    assert_eq!((lidar.len(), fusion.len()), (306, 582));
    assert_same("nuscenes_L", &preset("nuscenes_L"), lidar);
    assert_same("nuscenes_CL", &preset("nuscenes_CL"), fusion);
    for (name, variant, base) in [
        ("t4_L_base", "t4_L", lidar),
        ("t4_L_intensity", "t4_L_intensity", lidar),
        ("t4_L_offline", "t4_L_offline", lidar),
        ("t4_CL", "t4_CL", fusion),
        ("t4_C", "t4_C", fusion),
    ] {
        assert_same(name, &preset(variant), &changed(base, &models[name]));
    }
}

#[test]
fn the_image_backbone_has_the_published_number_of_tensors() {
    let backbone = |kind: Option<TensorKind>| {
        let all = expected_tensors(&preset("nuscenes_CL")).into_iter();
        all.filter(|t| t.name.starts_with("img_backbone."))
            .filter(|t| kind.is_none_or(|kind| t.kind == kind))
            .count()
    };
    assert_eq!(backbone(None), 187);
    assert_eq!(backbone(Some(TensorKind::Parameter)), 175);
    assert_eq!(backbone(Some(TensorKind::Constant)), 12);
}

#[test]
fn trainable_parameters_are_as_many_as_published() {
    let count = |spec: &ModelSpec| -> usize {
        let all = expected_tensors(spec).into_iter();
        all.filter(|t| t.kind == TensorKind::Parameter)
            .map(|t| t.shape.iter().product::<usize>())
            .sum()
    };
    assert_eq!(count(&preset("nuscenes_L")), 8_306_030);
    assert_eq!(count(&preset("nuscenes_CL")), 39_803_214);
    assert_eq!(count(&preset("t4_L")), 8_310_964);
    assert_eq!(count(&preset("t4_L_intensity")), 8_318_740);
    assert_eq!(count(&preset("t4_L_offline")), 8_299_300);
    assert_eq!(count(&preset("t4_C")), 31_784_983);
}
