#![no_main]
//! Model descriptions in TOML. What is accepted survives a round trip, and its weights can be listed.

use bevfusion::config::ModelConfig;
use bevfusion::weights::expected_tensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match ModelConfig::from_toml_str(text, "input.toml") {
        Ok(config) => {
            let written = config.to_toml().expect("a checked model is TOML");
            let again = ModelConfig::from_toml_str(&written, "again.toml");
            assert_eq!(again.expect("a written model is valid"), config);
            assert!(!expected_tensors(&config).is_empty());
        }
        Err(errors) => assert!(errors.to_string().contains("input.toml")),
    }
});
