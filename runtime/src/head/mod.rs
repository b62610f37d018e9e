//! From raw head outputs to boxes: decoding, filters, suppression.
//!
//! [`postprocess()`] is the straight path: decode each proposal, drop what a filter refuses, suppress
//! duplicates, change classes by size.

mod decode;
mod device;
mod filter;
mod nms;
mod postprocess;
mod remap;
#[cfg(test)]
mod test_spec;

pub use decode::HeadOutput;
pub use device::{counts_of, detection_of, device_settings, proposal_config};
pub use postprocess::{PostprocessCounts, postprocess};
pub use remap::remapped_row;
