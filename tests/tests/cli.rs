//! The `bevfusion` command from end to end on the made-up drive and the small model.

#[cfg(test)]
#[path = "cli/bench.rs"]
mod bench;
#[cfg(test)]
#[path = "cli/datasets.rs"]
mod datasets;
#[cfg(test)]
#[path = "cli/engines.rs"]
mod engines;
#[cfg(test)]
#[path = "cli/models.rs"]
mod models;
#[cfg(test)]
#[path = "cli/results.rs"]
mod results;
#[cfg(test)]
#[path = "cli/single_files.rs"]
mod single_files;
