#![no_main]
//! Point clouds: raw float32 with several column counts, and PCD.

use bevfusion::input::{PointCloud, parse_pcd, parse_points, with_columns};
use libfuzzer_sys::fuzz_target;

const COLUMNS: [usize; 8] = [0, 2, 3, 4, 5, 6, 11, usize::MAX];

fuzz_target!(|bytes: &[u8]| {
    for columns in COLUMNS {
        match parse_points(bytes, columns) {
            Ok(cloud) => check(cloud, columns),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    match parse_pcd(bytes) {
        Ok(cloud) => check(cloud, 4),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn check(cloud: PointCloud, columns: usize) {
    let points = cloud.len();
    assert_eq!(cloud.columns, columns);
    assert_eq!(cloud.values.len(), points * columns);
    assert_eq!(with_columns(cloud, 5).len(), points);
}
