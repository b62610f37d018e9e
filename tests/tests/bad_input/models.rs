//! Checkpoints, weights folders and model descriptions that do not fit.

use std::fs;

use bevfusion::config::ModelConfig;
use bevfusion_tests::command::bevfusion;
use bevfusion_tests::home::Home;
use bevfusion_tests::small::{small, weights_of};
use bevfusion_tests::specs::preset;
use bevfusion_tests::torch_file::write_checkpoint;

use super::refusals::refused;

/// A home with the checkpoint of the small LiDAR model; its path.
fn with_checkpoint() -> (Home, String) {
    let home = Home::new().expect("a folder");
    let path = home.path("epoch_20.pth");
    write_checkpoint(&path, &weights_of(&small(false))).expect("a checkpoint");
    let path = path.display().to_string();
    (home, path)
}

#[test]
fn a_checkpoint_of_another_variant_is_told_which_one_it_is() {
    let home = Home::new().expect("a folder");
    for (spec, name) in [
        (preset("nuscenes_L"), "nuscenes_L"),
        (preset("t4_L_intensity"), "t4_L_intensity"),
    ] {
        let path = home.path(&format!("{name}.pth"));
        write_checkpoint(&path, &weights_of(&spec)).expect("a checkpoint");
        let out = home.arg("weights");
        let ended = bevfusion(&[
            "import",
            &path.display().to_string(),
            "--model",
            "t4_L",
            "-o",
            &out,
        ]);
        refused(
            &ended,
            &[
                &format!("{name}.pth (state_dict) does not fit t4_L"),
                &format!("this looks like {name}: "),
                &format!("Import it as {name}"),
                "mismatched pts_middle_encoder.conv_input.0.weight: expected [16, 3, 3, 3, 32], found [16, 3, 3, 3, ",
            ],
        );
        assert!(!home.path("weights").exists(), "half a weights folder");
    }
}

#[test]
fn a_damaged_checkpoint_is_named_with_its_damage() {
    let (home, checkpoint) = with_checkpoint();
    let bytes = fs::read(&checkpoint).expect("a checkpoint");
    let import = |name: &str, bytes: &[u8]| {
        let file = home.file(name, bytes).expect("written");
        bevfusion(&[
            "import",
            &file,
            "--model",
            "nuscenes_L",
            "-o",
            &home.arg("w"),
        ])
    };
    refused(
        &import("cut.pth", &bytes[..bytes.len() / 2]),
        &[
            "cut.pth is not a checkpoint",
            "zip directory cannot be read",
            "download it again",
        ],
    );
    let mut flipped = bytes.clone();
    let place = bytes
        .windows(4)
        .position(|word| word == b"\x80\x02}X")
        .expect("the pickle");
    flipped[place + 1] = 9;
    refused(
        &import("flipped.pth", &flipped),
        &["flipped.pth, entry \"archive/data.pkl\"", "damaged"],
    );
    refused(
        &import("empty.pth", b""),
        &["empty.pth is not a checkpoint: the file is empty"],
    );
    refused(
        &import("text.pth", b"not a model"),
        &["text.pth is not a checkpoint", "neither torch's zip"],
    );
    let absent = bevfusion(&[
        "import",
        &home.arg("no.pth"),
        "-m",
        "nuscenes_L",
        "-o",
        &home.arg("w"),
    ]);
    refused(&absent, &["cannot open", "no.pth", "check the path"]);
    assert!(!home.path("w").exists());
}

#[test]
fn averaged_weights_that_are_not_there_are_refused_with_what_is() {
    let (home, checkpoint) = with_checkpoint();
    let ended = bevfusion(&[
        "import",
        &checkpoint,
        "-m",
        "nuscenes_L",
        "-o",
        &home.arg("w"),
        "--ema",
    ]);
    refused(
        &ended,
        &[
            "epoch_20.pth holds no averaged (EMA) state dict",
            "1 keys: \"state_dict\"",
            "without asking for averaged",
        ],
    );
}

#[test]
fn a_typo_in_a_description_is_told_with_its_line_and_the_nearest_key() {
    let home = Home::new().expect("a folder");
    let text = ModelConfig::new(small(false))
        .expect("a model")
        .to_toml()
        .expect("TOML");
    let line = 1 + text
        .lines()
        .position(|line| line.starts_with("voxel_size"))
        .expect("a key");
    let file = home
        .file(
            "my_model.toml",
            text.replace("voxel_size =", "voxle_size ="),
        )
        .expect("written");
    let ended = bevfusion(&["inspect", "--model", &file]);
    refused(
        &ended,
        &[
            "my_model.toml: ",
            &format!("line {line}: voxel.voxle_size"),
            "did you mean `voxel_size`?",
        ],
    );

    let file = home
        .file(
            "odd.toml",
            text.replace("voxel_size = [0.3,", "voxel_size = [0.29,"),
        )
        .expect("written");
    refused(
        &bevfusion(&["inspect", "--model", &file]),
        &[
            "odd.toml",
            "voxel.voxel_size",
            "a whole number of cells",
            "use a cell of",
        ],
    );
    refused(
        &bevfusion(&["inspect", "--model", "nuscenes_Cl"]),
        &["nuscenes_Cl", "did you mean `nuscenes_CL`?"],
    );
    refused(
        &bevfusion(&["inspect", "--model", &home.arg("no.toml")]),
        &["no.toml", "expected a TOML file"],
    );
    refused(
        &bevfusion(&["inspect"]),
        &["--model NAME|FILE", "bevfusion models"],
    );
}

#[test]
fn a_weights_folder_that_is_none_is_refused_with_what_it_should_hold() {
    let home = Home::new().expect("a folder");
    let points = home.file("a.bin", [0; 20]).expect("written");
    let detect = |weights: &str| home.detect(&["-w", weights, "--points", &points]);
    let absent = home.arg("absent");
    let holds = "a weights folder holds model.safetensors and model.toml, as `bevfusion import` writes them";
    refused(
        &detect(&absent),
        &[
            "absent is no weights folder",
            "model.toml does not exist",
            holds,
        ],
    );
    for file in ["model.toml", "model.safetensors"] {
        let weights = home.weights(false).expect("weights");
        fs::remove_file(home.path("small_L").join(file)).expect("removed");
        refused(
            &detect(&weights),
            &[
                "small_L is no weights folder",
                &format!("{file} does not exist"),
                holds,
            ],
        );
    }
    let weights = home.weights(false).expect("weights");
    home.file("small_L/model.safetensors", [9; 100])
        .expect("written");
    refused(
        &detect(&weights),
        &["model.safetensors is not a checkpoint", "safetensors"],
    );
}

#[test]
fn weights_of_another_model_are_refused_with_both_names() {
    let home = Home::new().expect("a folder");
    let points = home.file("a.bin", [0; 20]).expect("written");
    let weights = home.weights(false).expect("weights");
    let ended = home.detect(&["-w", &weights, "-m", "nuscenes_CL", "--points", &points]);
    refused(
        &ended,
        &[
            "small_L",
            "does not fit nuscenes_CL",
            "missing    img_backbone.",
            "leave --model out to use",
            "small_L/model.toml",
        ],
    );
    home.weights(true).expect("weights");
    fs::copy(
        home.path("small_CL/model.toml"),
        home.path("small_L/model.toml"),
    )
    .expect("copied");
    let ended = home.detect(&["-w", &weights, "--points", &points]);
    refused(
        &ended,
        &[
            "weights folder",
            "does not fit small_CL",
            "holds files of two models: import the checkpoint again",
        ],
    );
    let ended = bevfusion(&["export", "-w", &weights, "-o", &home.arg("onnx")]);
    refused(&ended, &["does not fit small_CL"]);
}

#[test]
fn files_that_are_no_onnx_and_no_parameters_are_named() {
    let home = Home::new().expect("a folder");
    let file = home.file("net.onnx", b"not a network").expect("written");
    refused(&bevfusion(&["inspect", &file]), &["net.onnx: "]);
    refused(
        &bevfusion(&["inspect", &home.arg("no.onnx")]),
        &["cannot read", "no.onnx", "check the path"],
    );
    refused(
        &bevfusion(&["autoware", &home.arg("no.yaml")]),
        &["cannot read", "no.yaml", "check the path"],
    );
    let yaml = home
        .file(
            "bad.param.yaml",
            "/**:\n  ros__parameters:\n    class_names: 3\n",
        )
        .expect("written");
    refused(&bevfusion(&["autoware", &yaml]), &["class_names"]);
}
