#![no_main]
//! Checkpoint files: torch's zip and legacy formats and safetensors, opened and read tensor by tensor.

use bevfusion::weights::StateDict;
use bevfusion_fuzz::check_checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check_checkpoint(bytes.to_vec(), StateDict::Model);
    check_checkpoint(bytes.to_vec(), StateDict::Averaged);
});
