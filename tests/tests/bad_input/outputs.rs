//! Places that cannot be written to.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use bevfusion_tests::command::{Ended, bevfusion};
use bevfusion_tests::home::Home;
use bevfusion_tests::small::{small, weights_of};
use bevfusion_tests::torch_file::write_checkpoint;

use super::refusals::refused;

/// Every command that writes, with the given place as its output.
fn writers(home: &Home, output: &str) -> Vec<(&'static str, Ended)> {
    let weights = home.weights(false).expect("weights");
    let checkpoint = home.path("a.pth");
    write_checkpoint(&checkpoint, &weights_of(&small(false))).expect("a checkpoint");
    let points = home.file("a.bin", [0; 20]).expect("written");
    let results = home.file("r.json", r#"{"meta":{"use_camera":false,"use_lidar":true,"use_radar":false,"use_map":false,"use_external":false},"results":{}}"#).expect("written");
    let toml = format!("{weights}/model.toml");
    let merged = format!("{output}/merged.json");
    vec![
        (
            "detect",
            bevfusion(&["detect", "-w", &weights, "--points", &points, "-o", output]),
        ),
        (
            "export",
            bevfusion(&["export", "-w", &weights, "-o", output]),
        ),
        (
            "import",
            bevfusion(&[
                "import",
                &checkpoint.display().to_string(),
                "-m",
                &toml,
                "-o",
                output,
            ]),
        ),
        ("merge", bevfusion(&["merge", &results, "-o", &merged])),
    ]
}

#[test]
fn an_output_that_is_a_file_or_below_one_is_refused() {
    let home = Home::new().expect("a folder");
    let file = home.file("taken", "mine").expect("written");
    for output in [file.clone(), format!("{file}/below")] {
        for (command, ended) in writers(&home, &output) {
            refused(
                &ended,
                &["cannot write", &output, "is a file, not a folder"],
            );
            assert!(ended.err.contains("another"), "{command}: {}", ended.err);
        }
    }
    assert_eq!(fs::read(home.path("taken")).expect("a file"), b"mine");
}

#[test]
fn a_read_only_folder_is_refused() -> std::io::Result<()> {
    let home = Home::new()?;
    let folder = home.path("locked");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o555))?;
    let may_anyway = fs::write(folder.join("probe"), "").is_ok();
    for (command, ended) in writers(&home, &home.arg("locked")) {
        // `import` looks at the permissions themselves, which bind no superuser.
        if may_anyway && command != "import" {
            writeln!(
                std::io::stderr(),
                "skipped {command}: permissions do not bind this user"
            )?;
            continue;
        }
        refused(&ended, &["cannot write", "locked", "another"]);
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o755))
}

#[test]
#[cfg(target_os = "linux")]
fn a_place_where_nobody_can_make_a_folder_is_refused() {
    let home = Home::new().expect("a folder");
    for (_, ended) in writers(&home, "/proc/bevfusion") {
        refused(&ended, &["cannot ", "/proc/bevfusion", "check "]);
    }
}

#[test]
fn a_merged_file_needs_a_file_name_and_result_files() {
    let home = Home::new().expect("a folder");
    let results = home.file("not.json", r#"{"scores": []}"#).expect("written");
    let merged = home.arg("merged.json");
    refused(
        &bevfusion(&["merge", &results, "-o", &merged]),
        &[
            "not.json is not a nuScenes detection result",
            "expected {\"meta\"",
        ],
    );
    refused(
        &bevfusion(&["merge", &home.arg("no.json"), "-o", &merged]),
        &["cannot read", "no.json", "check the path"],
    );
    assert!(!home.path("merged.json").exists());
    assert_eq!(bevfusion(&["merge", "-o", &merged]).code, 2);
}
