#![no_main]
//! Autoware's parameter files: up to three, divided by lines of `---`.

use bevfusion::config::{AutowareFile, AutowareModel};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] = ["package.yaml", "node.yaml", "remapper.yaml"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let texts = text.split("\n---\n");
    let files: Vec<AutowareFile<'_>> = NAMES
        .into_iter()
        .zip(texts)
        .map(|(origin, text)| AutowareFile { origin, text })
        .collect();
    match AutowareModel::read(&files) {
        Ok(model) => assert!(!model.config.class_names.is_empty()),
        Err(errors) => assert!(errors.to_string().contains("package.yaml")),
    }
});
