//! Model descriptions from text: what is accepted, and how everything else is answered.

use std::fs;
use std::path::Path;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::form::{Field, Form};
use super::{
    ConfigErrors, ConfigProblem, DepthWinner, ModelConfig, PRESETS, SweepAlignment, presets, schema,
};

fn preset(name: &str) -> ModelConfig {
    ModelConfig::preset(name).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A preset's text with `from` replaced.
pub(super) fn edited(name: &str, edits: &[(&str, &str)]) -> String {
    let mut text = presets::text(name).unwrap().to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has no `{from}`");
        text = text.replacen(from, to, 1);
    }
    text
}

fn errors(text: &str) -> ConfigErrors {
    ModelConfig::from_toml_str(text, "model.toml").unwrap_err()
}

pub(super) fn only(text: &str) -> ConfigProblem {
    let errors = errors(text);
    assert_eq!(errors.problems.len(), 1, "{errors}");
    errors.problems.into_iter().next().unwrap()
}

#[test]
fn every_preset_is_valid_carries_its_name_and_survives_toml() {
    for name in PRESETS {
        let config = preset(name);
        assert_eq!(config.name, name);
        assert_eq!(config.points.sweep_alignment, SweepAlignment::Rigid);
        let text = config.to_toml().unwrap();
        let again = ModelConfig::from_toml_str(&text, name).unwrap();
        assert_eq!(again, config, "{text}");
        assert_eq!(ModelConfig::new((*config).clone()).unwrap(), config);
    }
}

#[test]
fn the_depth_winner_may_be_absent_and_is_then_the_last_point() {
    let flag = "drop_behind_camera = false";
    let with = |value: &str| {
        let line = format!("{flag}\ndepth_winner = {value}");
        edited("nuscenes_CL", &[(flag, &line)])
    };
    let winner = |config: &ModelConfig| {
        let camera = config.camera.as_ref().unwrap();
        camera.view_transform.depth_winner
    };
    let absent = preset("nuscenes_CL");
    assert_eq!(winner(&absent), DepthWinner::Last);
    assert!(!absent.to_toml().unwrap().contains("depth_winner"));
    let last = ModelConfig::from_toml_str(&with("\"last\""), "model.toml").unwrap();
    assert_eq!(last, absent);
    let nearest = ModelConfig::from_toml_str(&with("\"nearest\""), "model.toml").unwrap();
    assert_eq!(winner(&nearest), DepthWinner::Nearest);
    let again = ModelConfig::from_toml_str(&nearest.to_toml().unwrap(), "again").unwrap();
    assert_eq!(again, nearest);
    let problem = only(&with("\"first\""));
    assert_eq!(problem.key, "camera.view_transform.depth_winner");
}

#[test]
fn a_model_has_at_most_twelve_cameras() {
    let mut spec = (*preset("nuscenes_CL")).clone();
    for (cameras, is_model) in [(12, true), (13, false)] {
        let camera = spec.camera.as_mut().unwrap();
        camera.camera_order = (0..cameras).map(|i| format!("camera{i}")).collect();
        let checked = ModelConfig::new(spec.clone());
        assert_eq!(checked.is_ok(), is_model);
        if let Err(errors) = checked {
            assert_eq!(errors.problems[0].key, "camera.camera_order");
        }
    }
}

#[test]
fn derived_sizes_are_those_of_the_published_models() {
    let nuscenes = preset("nuscenes_CL");
    assert_eq!(nuscenes.voxel_grid(), [1440, 1440, 40]);
    assert_eq!(nuscenes.bev_shape(), [180, 180]);
    assert!((nuscenes.cell_size()[0] - 0.6).abs() < 1e-12);
    assert_eq!(nuscenes.encoder_in_channels(), 5);
    assert_eq!(nuscenes.encoder_out_shape(), [180, 180, 2]);
    assert_eq!(nuscenes.bev_channels(), 256);
    assert_eq!(nuscenes.decoder_in_channels(), 256);
    assert_eq!(nuscenes.head_in_channels(), 512);
    assert_eq!(nuscenes.depth_bins(), 118);
    assert_eq!(nuscenes.pooled_shape(), [360, 360]);
    assert_eq!(nuscenes.camera_count(), 6);
    assert!(nuscenes.has_lidar() && nuscenes.has_camera());

    let t4 = preset("t4_CL");
    assert_eq!((t4.camera_count(), t4.depth_bins()), (5, 129));
    assert!((t4.cell_size()[1] - 1.36).abs() < 1e-12);
    assert_eq!(preset("t4_L").encoder_in_channels(), 32);
    assert_eq!(preset("t4_L").point_columns(), 4);
    assert_eq!(preset("t4_L_intensity").encoder_in_channels(), 50);

    let camera_only = preset("t4_C");
    assert!(!camera_only.has_lidar());
    assert_eq!(camera_only.bev_channels(), 0);
    assert_eq!(camera_only.head_in_channels(), 80);
    assert_eq!(camera_only.bev_shape(), [180, 180]);

    let offline = preset("t4_L_offline");
    assert_eq!(offline.voxel_grid(), [3264, 3264, 40]);
    assert_eq!(offline.bev_shape(), [408, 408]);
    assert_eq!(offline.encoder_in_channels(), 5);
    assert_eq!(offline.camera_count(), 0);
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest_key() {
    let text = edited("nuscenes_L", &[("max_voxels", "max_voxel")]);
    let problem = only(&text);
    let line = text.lines().position(|l| l.starts_with("max_voxel "));
    assert_eq!(problem.line, line.map(|line| line + 1));
    assert_eq!(
        problem.to_string(),
        format!(
            "line {}: voxel.max_voxel: expected one of point_cloud_range, voxel_size, \
             max_points_per_voxel, max_voxels, found an unknown key; did you mean `max_voxels`?",
            problem.line.unwrap()
        )
    );
}

#[test]
fn a_misspelt_section_does_not_drag_in_other_problems() {
    let text = edited("nuscenes_CL", &[("[fuser]", "[fusre]")]);
    let problem = only(&text);
    assert_eq!(problem.key, "fusre");
    assert_eq!(problem.remedy, "did you mean `fuser`?");
}

#[test]
fn a_missing_key_is_named_with_its_type() {
    let text = edited("nuscenes_L", &[("num_proposals = 200\n", "")]);
    let problem = only(&text);
    assert_eq!(problem.key, "head.num_proposals");
    assert_eq!(problem.expected, "a whole number from 0 to 16777216");
    assert_eq!(problem.found, "no such key");
    assert_eq!(problem.remedy, "add `head.num_proposals`");
}

#[test]
fn a_wrong_type_says_what_stands_there() {
    let cases = [
        ("sweeps_num = 9", "sweeps_num = \"9\"", "the string \"9\""),
        ("sweeps_num = 9", "sweeps_num = -9", "-9"),
        ("sweeps_num = 9", "sweeps_num = 9.5", "9.5"),
        ("sweeps_num = 9", "sweeps_num = [9]", "a list of 1"),
        ("\"rigid\"", "\"stiff\"", "the string \"stiff\""),
        ("remove_close = 1.0", "remove_close = nan", "NaN"),
        ("remove_close = 1.0", "remove_close = 1e300", "1e300"),
        ("0.075, 0.075, 0.2]", "0.075, 0.075]", "a list of 2"),
        ("sweeps_num = 9", "sweeps_num = 2026-01-01", "2026-01-01"),
    ];
    for (from, to, found) in cases {
        let problem = only(&edited("nuscenes_L", &[(from, to)]));
        assert_eq!(problem.found, found, "{to}");
        assert!(problem.line.is_some(), "{to}");
    }
}

#[test]
fn a_long_list_and_a_long_text_are_refused_whole() {
    let names = (0..2000).map(|i| format!("\"{i}\", ")).collect::<String>();
    let text = edited("nuscenes_L", &[("\"car\"", &format!("{names}\"car\""))]);
    let problem = only(&text);
    assert_eq!(problem.key, "class_names");
    assert_eq!(problem.expected, "at most 1024 entries");

    let text = edited(
        "nuscenes_L",
        &[("name", &format!("#{}\nname", " ".repeat(1 << 20)))],
    );
    assert_eq!(only(&text).expected, "at most 1048576 bytes of TOML");
}

#[test]
fn messages_stay_short_when_there_are_many_names() {
    let many: String = (0..900).map(|i| format!(", \"class{i}\"")).collect();
    let strangers: String = (0..900).map(|i| format!("\"other{i}\", ")).collect();
    let text = edited(
        "nuscenes_L",
        &[
            ("\"traffic_cone\"]", &format!("\"traffic_cone\"{many}]")),
            ("classes = [", &format!("classes = [{strangers}")),
        ],
    );
    let errors = errors(&text);
    let of_strangers = errors.problems.iter();
    let of_strangers = of_strangers.filter(|p| p.key.contains("pooling_classes["));
    assert_eq!(of_strangers.clone().count(), 900);
    for problem in of_strangers {
        assert!(problem.expected.ends_with("… 910 in all)"), "{problem}");
        assert!(problem.to_string().len() < 1000, "{problem}");
    }
}

#[test]
fn a_problem_in_a_long_list_hides_what_follows_from_it_alone() {
    let names: String = (0..7).map(|i| format!(", \"class{i}\"")).collect();
    let row = "[0.1, 0.1, 0.1, 0.1], ";
    let rows = format!("{row}[\"\", 1.5, 0.1, 0.1], {}", row.repeat(5));
    let text = edited(
        "t4_L",
        &[
            ("\"pedestrian\"]", &format!("\"pedestrian\"{names}]")),
            (
                "confidence_scores = [",
                &format!("confidence_scores = [{rows}"),
            ),
            ("0.1, 0.1, 0.1],\n]", "1.5, 0.1, 0.1],\n]"),
            ("[0.3, 0.3, 0.3, 0.3, 0.0]", "[]"),
        ],
    );
    let errors = errors(&text);
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    let key = |at: &str| format!("postprocess.min_confidence_scores{at}");
    assert_eq!(
        keys,
        [key("[1][0]"), key("[1][1]"), key("[11][1]")],
        "{errors}"
    );
}

#[test]
fn a_grid_that_does_not_divide_says_what_would() {
    let text = edited(
        "nuscenes_L",
        &[("[0.075, 0.075, 0.2]", "[0.08, 0.075, 0.3]")],
    );
    let errors = errors(&text);
    let first = &errors.problems[0];
    assert_eq!(first.key, "voxel.voxel_size");
    assert_eq!(
        first.expected,
        "point_cloud_range over voxel_size along z: a whole number of cells"
    );
    assert_eq!(first.found, "(3 - -5) / 0.3 = 26.6667");
    assert_eq!(
        first.remedy,
        "use a cell of 0.296296 m, or an upper bound of 3.1 m"
    );
    let sparse = errors
        .problems
        .iter()
        .find(|p| p.key == "lidar_encoder.sparse_shape");
    assert_eq!(
        sparse.unwrap().expected,
        "[1350, 1440, 28], the voxel grid with one more layer in z"
    );
}

#[test]
fn several_problems_are_reported_together_in_the_order_of_the_file() {
    let text = edited(
        "nuscenes_CL",
        &[
            ("load_dim = 5", "load_dim = \"five\""),
            ("downsample = 2", "downsample = 1"),
            ("kernel_size = 3", "kernel_size = 4"),
            ("num_heads = 8", "num_heads = 7"),
            ("\"barrier\",\n", "\"barier\",\n"),
            ("\"suppress\"", "\"supress\""),
        ],
    );
    let errors = errors(&text);
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "points.load_dim",
            "camera.view_transform.x_bound",
            "camera.view_transform.y_bound",
            "fuser.kernel_size",
            "head.num_heads",
            "head.dense_heatmap_pooling_classes[5]",
            "head.heatmap_border",
        ],
        "{errors}"
    );
    let text = errors.to_string();
    assert!(
        text.starts_with("model.toml: 7 problems\n  line "),
        "{text}"
    );
    assert!(
        text.contains("found `barier`; did you mean `barrier`?"),
        "{text}"
    );
    assert!(
        text.contains("expected 180 cells, downsample (1) times the BEV grid, found 360 cells")
    );
}

#[test]
fn syntax_errors_have_a_line() {
    let problem = only("name = \"a\"\nclass_names = [\n");
    assert_eq!(problem.key, "(syntax)");
    assert!(problem.line.is_some(), "{problem}");
}

#[test]
fn an_empty_file_lacks_every_needed_key() {
    let errors = errors("");
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "name",
            "class_names",
            "points",
            "voxel",
            "head",
            "postprocess",
            "lidar_encoder"
        ]
    );
}

#[test]
fn an_unknown_preset_lists_the_known_ones() {
    let errors = ModelConfig::load("nuscene_L").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "model: 1 problem\n  (name): expected the name of a shipped model or the path of a TOML \
         file (nuscenes_L, nuscenes_CL, t4_L, t4_L_intensity, t4_CL, t4_C, t4_L_offline), found \
         `nuscene_L`; did you mean `nuscenes_L`?"
    );
    assert!(ModelConfig::preset("resnet").is_err());
}

#[test]
fn a_model_loads_from_a_file_and_an_absent_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, presets::text("t4_C").unwrap()).unwrap();
    let loaded = ModelConfig::load(path.to_str().unwrap()).unwrap();
    assert_eq!(loaded, preset("t4_C"));

    let absent = folder.path().join("absent.toml");
    let errors = ModelConfig::from_file(&absent).unwrap_err();
    assert!(errors.origin.ends_with("absent.toml"));
    assert_eq!(errors.problems[0].key, "(file)");
}

#[test]
fn a_description_built_in_code_is_checked_like_a_file() {
    let mut spec = (*preset("nuscenes_L")).clone();
    spec.voxel.voxel_size[0] = f64::NAN;
    spec.head.num_heads = usize::MAX >> 1;
    let errors = ModelConfig::new(spec).unwrap_err();
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, ["voxel.voxel_size[0]", "head.num_heads"], "{errors}");

    let mut spec = (*preset("nuscenes_L")).clone();
    spec.head.num_heads = usize::MAX;
    assert!(ModelConfig::new(spec).is_err());
}

fn keys(path: &str, fields: &[Field], found: &mut Vec<String>) {
    for field in fields {
        let path = format!("{path}{}", field.name);
        match &field.form {
            Form::Table(fields) => keys(&format!("{path}."), fields, found),
            Form::List(Form::Tagged(variants)) => {
                for (_, fields) in *variants {
                    keys(&format!("{path}."), fields, found);
                }
            }
            _ => {}
        }
        found.push(path);
    }
}

#[test]
fn every_key_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let document = fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    keys("", schema::MODEL, &mut found);
    assert!(found.len() > 80);
    let tables = ["points", "voxel", "head", "postprocess"];
    for key in found.iter().filter(|key| !tables.contains(&key.as_str())) {
        let row = format!("| `{key}` |");
        assert!(
            document.contains(&row),
            "docs/configuration.md has no row `{key}`"
        );
    }
}

/// A preset with a piece cut out, doubled or overwritten.
fn mangled() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        "-1",
        "0",
        "1e308",
        "nan",
        "inf",
        "99999999999999999999",
        "\"",
        "[",
        "]",
        "[[",
        "=",
        "[]",
        "{}",
        "true",
        "16777216",
        "\n",
        "#",
        "\u{0}",
        "é",
        "9223372036854775807",
        "2026-01-01",
    ]);
    let edit = (any::<usize>(), 0_usize..12, pieces);
    let preset = prop::sample::select(PRESETS.to_vec());
    (preset, prop::collection::vec(edit, 1..6)).prop_map(|(name, edits)| {
        let mut chars: Vec<char> = presets::text(name).unwrap().chars().collect();
        for (at, length, piece) in edits {
            let at = at % chars.len();
            let end = (at + length).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

/// A preset with one number overwritten.
fn renumbered() -> impl Strategy<Value = String> {
    let numbers = prop::sample::select(vec![
        "0", "1", "2", "-1", "7", "16777216", "0.0", "-0.5", "1e38", "1e-38", "3.3",
    ]);
    let preset = prop::sample::select(PRESETS.to_vec());
    (preset, any::<usize>(), numbers).prop_map(|(name, at, number)| {
        let text = presets::text(name).unwrap();
        let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let starts: Vec<usize> = text
            .char_indices()
            .filter(|(i, c)| is_number(*c) && text[..*i].ends_with([' ', '[']))
            .map(|(i, _)| i)
            .collect();
        let start = starts[at % starts.len()];
        let rest = &text[start..];
        let end = rest.find(|c| !is_number(c)).unwrap_or(rest.len());
        format!("{}{number}{}", &text[..start], &rest[end..])
    })
}

proptest! {
    #[test]
    fn mangled_text_never_panics_and_what_is_accepted_survives(text in mangled()) {
        survives(&text)?;
    }

    #[test]
    fn any_number_in_any_place_never_panics(text in renumbered()) {
        survives(&text)?;
    }
}

fn survives(text: &str) -> Result<(), proptest::test_runner::TestCaseError> {
    match ModelConfig::from_toml_str(text, "mangled") {
        Ok(config) => {
            let again = ModelConfig::from_toml_str(&config.to_toml().unwrap(), "again");
            prop_assert_eq!(again.unwrap(), config);
        }
        Err(errors) => prop_assert!(!errors.problems.is_empty()),
    }
    Ok(())
}
