#![no_main]
//! The native weight format.

use std::path::Path;

use bevfusion::weights::parse_safetensors;
use bevfusion_fuzz::{FILE, check_tensor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse_safetensors(Path::new(FILE), bytes) {
        Ok(weights) => weights.tensors.values().for_each(check_tensor),
        Err(error) => assert!(error.to_string().contains(FILE)),
    }
});
