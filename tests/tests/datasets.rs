//! Dataset readers on a made-up drive, and on real nuScenes and T4 samples where they are installed.

#[path = "datasets/made_up.rs"]
mod made_up;
#[path = "datasets/messages.rs"]
mod messages;
#[path = "datasets/real.rs"]
mod real;

use std::path::Path;

use bevfusion::config::{PointsSpec, SweepAlignment};
use bevfusion::dataset::{Dataset, Layout};
use bevfusion_tests::synthetic::write_dataset;

/// Five columns, up to `sweeps_num` sweeps.
fn points(sweeps_num: usize) -> PointsSpec {
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
fn drive(layout: Layout) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().expect("temporary folder");
    write_dataset(folder.path(), layout).expect("written");
    let dataset = open(folder.path());
    (folder, dataset)
}

fn open(root: &Path) -> Dataset {
    Dataset::open(root, None).expect("a dataset")
}

fn names(cameras: &[&str]) -> Vec<String> {
    cameras.iter().map(|name| (*name).into()).collect()
}
