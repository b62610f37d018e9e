#![no_main]
//! The tables of nuScenes and T4 datasets, and calibration files of single frames.

use std::path::Path;

use bevfusion::dataset::{parse_calibration, parse_table};
use libfuzzer_sys::fuzz_target;

const TABLES: [&str; 13] = [
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "calibrated_sensor",
    "sensor",
    "sample_annotation",
    "instance",
    "category",
    "attribute",
    "visibility",
    "log",
    "map",
];

fuzz_target!(|bytes: &[u8]| {
    for name in TABLES {
        if let Err(error) = parse_table(name, bytes) {
            assert!(error.to_string().contains(name));
        }
    }
    for name in ["rig.toml", "rig.json"] {
        match parse_calibration(Path::new(name), bytes) {
            Ok(cameras) => assert!(!cameras.is_empty()),
            Err(error) => assert!(error.to_string().contains(name)),
        }
    }
});
