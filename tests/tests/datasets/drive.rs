//! The made-up drive, and what the tests ask of a dataset.

use std::path::Path;

use bevfusion::config::{PointsSpec, SweepAlignment};
use bevfusion::dataset::{Dataset, Layout};
use bevfusion_tests::synthetic::write_dataset;

/// Five columns, up to `sweeps_num` sweeps.
pub(crate) fn points(sweeps_num: usize) -> PointsSpec {
    PointsSpec {
        load_dim: 5,
        use_dim: vec![0, 1, 2, 3, 4],
        time_column: 4,
        sweeps_num,
        remove_close: 1.0,
        sweep_alignment: SweepAlignment::Rigid,
    }
}

/// The made-up drive in a temporary folder, which goes with the first value.
pub(crate) fn drive(layout: Layout) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().expect("temporary folder");
    write_dataset(folder.path(), layout).expect("written");
    let dataset = open(folder.path());
    (folder, dataset)
}

pub(crate) fn open(root: &Path) -> Dataset {
    Dataset::open(root, None).expect("a dataset")
}

pub(crate) fn names(cameras: &[&str]) -> Vec<String> {
    cameras.iter().map(|name| (*name).into()).collect()
}
