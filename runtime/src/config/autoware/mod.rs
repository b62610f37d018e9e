//! Autoware's parameter files as a model description.
//!
//! In: `ml_package_bevfusion_*.param.yaml`, and as many of the node's own files and the class
//! remapper as there are, in the order in which ROS would load them. Out: a checked [`ModelConfig`],
//! the parameters of the node shell, and what was assumed or left aside. The files do not state the
//! widths of the network: those are the T4 preset's. Class names stay as the file writes them
//! (`CAR`); they are compared with the preset's without regard to case.

mod convert;
mod keys;
mod postprocess;
#[cfg(test)]
mod tests;
mod yaml;

pub use keys::AutowareRuntime;
pub use yaml::AutowareFile;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::error::{ConfigErrors, ConfigProblem};
use super::form::{Field, Reading};
use super::nearest::nearest;
use super::node::{Node, Value};
use super::{ModelConfig, ModelSpec, read};
use keys::{BINS, IGNORED, READ, SCORES};
use yaml::Parameter;

/// A model described by Autoware's files.
#[derive(Clone, Debug, PartialEq)]
pub struct AutowareModel {
    /// The model.
    pub config: ModelConfig,
    /// What the node shell needs besides.
    pub runtime: AutowareRuntime,
    /// What no file states, and where the value came from.
    pub assumed: Vec<String>,
    /// Parameters that only the original implementation needs.
    pub ignored: Vec<String>,
    /// Parameters that neither Autoware's node, as we know it, nor we have.
    pub unknown: Vec<String>,
}

/// Keys of the model description and the parameters that decide them.
const DECIDED_BY: [(&str, &str); 31] = [
    ("class_names", "class_names"),
    ("head.dense_heatmap_pooling_classes", "class_names"),
    ("points.use_dim", "use_intensity"),
    ("points.sweeps_num", "densification_num_past_frames"),
    ("voxel.point_cloud_range", "point_cloud_range"),
    ("voxel.voxel_size", "voxel_size"),
    ("voxel.max_points_per_voxel", "max_points_per_voxel"),
    ("voxel.max_voxels", "voxels_num"),
    ("lidar_encoder.sparse_shape", "voxel_size"),
    ("lidar_encoder.sparse_shape", "point_cloud_range"),
    ("lidar_encoder.voxel_features", "point_cloud_range"),
    ("lidar_encoder.voxel_features", "use_intensity"),
    ("lidar_encoder.encoder_paddings", "out_size_factor"),
    ("head.num_proposals", "num_proposals"),
    ("head.out_size_factor", "out_size_factor"),
    ("camera.camera_order", "num_cameras"),
    ("camera.image_size", "roi_height"),
    ("camera.image_size", "roi_width"),
    ("camera.resize", "img_aug_scale_x"),
    ("camera.neck_channels", "image_feature_channel"),
    ("camera.view_transform.feature_size", "features_height"),
    ("camera.view_transform.feature_size", "features_width"),
    ("camera.view_transform.x_bound", "x_bound"),
    ("camera.view_transform.y_bound", "y_bound"),
    ("camera.view_transform.z_bound", "z_bound"),
    ("camera.view_transform.d_bound", "d_bound"),
    ("postprocess.distance_bin_upper_limits", BINS),
    ("postprocess.min_confidence_scores", BINS),
    ("postprocess.yaw_norm_thresholds", "yaw_norm_thresholds"),
    (
        "postprocess.class_remapper.min_area_matrix",
        "min_area_matrix",
    ),
    (
        "postprocess.class_remapper.max_area_matrix",
        "max_area_matrix",
    ),
];

impl AutowareModel {
    /// Reads `files` together; a later file overrides an earlier one, as in ROS.
    ///
    /// # Errors
    /// Every syntax error, or every missing parameter, wrong type, misspelt parameter and
    /// contradiction at once.
    pub fn read(files: &[AutowareFile<'_>]) -> Result<Self, ConfigErrors> {
        let origins: Vec<&str> = files.iter().map(|file| file.origin).collect();
        let origin = origins.join(" + ");
        let parameters =
            yaml::parameters(files).map_err(|problems| ConfigErrors::new(&origin, problems))?;
        Reader::new(&origin, &parameters).finish()
    }
}

struct Reader<'a> {
    origin: &'a str,
    parameters: &'a BTreeMap<String, Parameter>,
    reading: Reading,
    assumed: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(origin: &'a str, parameters: &'a BTreeMap<String, Parameter>) -> Self {
        Self {
            origin,
            parameters,
            reading: Reading::default(),
            assumed: Vec::new(),
        }
    }

    fn finish(mut self) -> Result<AutowareModel, ConfigErrors> {
        let (read, ignored, unknown) = self.sort();
        let table = self.reading.table("", &read, READ);
        let keys = self.typed(&table)?;
        let post = self.typed(&table)?;
        let runtime = self.typed(&table)?;
        let mut spec = self.model(&keys, &runtime)?;
        self.postprocess(&mut spec, post);
        let config = self.check(&spec)?;
        Ok(AutowareModel {
            config,
            runtime,
            assumed: self.assumed,
            ignored,
            unknown,
        })
    }

    /// Parameters to read (with what looks like a slip of one), to ignore, and unknown ones.
    fn sort(&self) -> (Node, Vec<String>, Vec<String>) {
        let names = || READ.iter().map(|field: &Field| field.name);
        let (mut read, mut ignored, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (key, parameter) in self.parameters {
            let absent = names().filter(|name| !self.parameters.contains_key(*name));
            if key.starts_with(SCORES) {
                continue;
            } else if IGNORED.contains(&key.as_str()) {
                ignored.push(key.clone());
            } else if names().any(|name| name == key) || nearest(key, absent).is_some() {
                read.push((key.clone(), parameter.node.clone()));
            } else {
                unknown.push(key.clone());
            }
        }
        let value = Value::Table(read);
        (Node { line: None, value }, ignored, unknown)
    }

    fn typed<T: DeserializeOwned>(&self, table: &toml::Table) -> Result<T, ConfigErrors> {
        T::deserialize(table.clone()).map_err(|error| {
            let problem = ConfigProblem::new(
                "(parameters)",
                "the node's parameters",
                error.to_string(),
                "report this",
            );
            ConfigErrors::one(self.origin, problem)
        })
    }

    /// Adds a contradiction unless it follows from a parameter that could not be read.
    fn contradiction(&mut self, reads: &[&str], problem: ConfigProblem) {
        let misled = |key: &str| self.reading.is_replaced(key);
        if !misled(&problem.key) && !reads.iter().any(|key| misled(key)) {
            self.reading.problems.push(problem);
        }
    }

    /// Joins the problems of the files with those of the model that they describe.
    fn check(&mut self, spec: &ModelSpec) -> Result<ModelConfig, ConfigErrors> {
        let problems = std::mem::take(&mut self.reading.problems);
        let decided = DECIDED_BY.into_iter();
        let misled = decided.filter(|(_, name)| self.reading.is_replaced(name));
        let reading = Reading {
            problems,
            replaced: misled.map(|(key, _)| key.to_owned()).collect(),
            ..Reading::default()
        };
        read::checked_spec(self.origin, spec, reading).map_err(|errors| {
            let problems = errors.problems.into_iter();
            let placed = problems.map(|problem| self.placed(problem, &spec.class_names));
            ConfigErrors::new(self.origin, placed.collect())
        })
    }

    /// The problem under the parameter's name, with file and line.
    fn placed(&self, problem: ConfigProblem, classes: &[String]) -> ConfigProblem {
        let key = self
            .score_name(&problem.key, classes)
            .or_else(|| self.parameter_name(&problem.key))
            .unwrap_or(problem.key);
        let name = key.split('[').next().unwrap_or_default();
        let parameter = self.parameters.get(name);
        ConfigProblem {
            file: parameter.map(|parameter| parameter.file.clone()),
            line: problem.line.or(parameter.and_then(|p| p.node.line)),
            key,
            ..problem
        }
    }

    fn parameter_name(&self, key: &str) -> Option<String> {
        DECIDED_BY.into_iter().find_map(|(model, name)| {
            let rest = key.strip_prefix(model)?;
            let stated = self.parameters.contains_key(name);
            stated.then(|| format!("{name}{rest}"))
        })
    }

    /// `min_confidence_scores[i][j]` has the class's name in the file.
    fn score_name(&self, key: &str, classes: &[String]) -> Option<String> {
        let rest = key.strip_prefix("postprocess.min_confidence_scores[")?;
        let (row, rest) = rest.split_once(']')?;
        let class = classes.get(row.parse::<usize>().ok()?)?;
        let name = format!("{SCORES}{class}");
        let stated = self.parameters.contains_key(&name);
        stated.then(|| format!("{name}{rest}"))
    }
}
