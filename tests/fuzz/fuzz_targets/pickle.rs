#![no_main]
//! The pickle machine. The input is what stands behind the header of a legacy torch file: a pickle of the
//! objects, a pickle of the storage keys, and the storages. No checksum stands in the fuzzer's way here.

use bevfusion::weights::StateDict;
use bevfusion_fuzz::check_checkpoint;
use libfuzzer_sys::fuzz_target;

/// Pickles of torch's magic number, its protocol 1001 and `{'little_endian': True}`.
const HEADER: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\
    \x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";

fuzz_target!(|bytes: &[u8]| check_checkpoint([HEADER, bytes].concat(), StateDict::Model));
