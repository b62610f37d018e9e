//! Timing of bevfusion-rt: what the stage benches and the two harnesses share.
//!
//! `cargo bench -p bevfusion-benches` times single stages on made-up inputs. `frame` times whole frames,
//! `dense` each dense network beside onnxruntime; `benches/cpu.sh` runs both and keeps raw samples.
#![forbid(unsafe_code)]

pub mod frames;
pub mod machine;
pub mod peer;
pub mod record;
pub mod samples;
pub mod synthetic;
