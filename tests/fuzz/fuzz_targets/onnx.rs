#![no_main]
//! ONNX files, as `bevfusion inspect` shows them.

use bevfusion::graph::read::summarise;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match summarise(bytes) {
        Ok(model) => {
            assert_eq!(model.op_counts().values().sum::<usize>(), model.nodes.len());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
