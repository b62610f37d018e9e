//! Import: the tensors of a checkpoint in, the weights of a model and a report out.
//!
//! Names are translated, sparse kernels brought to `[out, kx, ky, kz, in]`, half precision widened. What
//! the model description determines (frustum, grid, window index, normalisation bounds) is compared with
//! what the checkpoint stores and not kept. Nothing is loaded in part by accident: unless told otherwise,
//! a missing, unfit or unknown tensor is an error that lists all of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::checkpoint::{Checkpoint, StateDict};
use super::constants::{constants, difference};
use super::error::WeightsError;
use super::expected::{ExpectedTensor, TensorKind, expected_tensors};
use super::rename::renamed;
use super::report::{ImportReport, MismatchedTensor, MissingTensor, ModuleCount, UnexpectedTensor};
use super::sparse_layout::{Fit, fit, out_first};
use super::tensor::{Tensor, TensorData, Weights};
use super::variant;
use crate::config::ModelSpec;

/// How to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Refuse a checkpoint with a missing, unfit or unknown tensor.
    pub strict: bool,
    /// Take the averaged weights.
    pub ema: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            strict: true,
            ema: false,
        }
    }
}

/// Imports a checkpoint file of AWML, mmdetection3d or MIT for a model.
///
/// # Errors
/// When the file is damaged, or (strict) its tensors are not those of the model.
pub fn import_file(
    path: &Path,
    spec: &ModelSpec,
    options: ImportOptions,
) -> Result<(Weights, ImportReport), WeightsError> {
    let wanted = if options.ema {
        StateDict::Averaged
    } else {
        StateDict::Model
    };
    import(&mut Checkpoint::open(path, wanted)?, spec, options)
}

/// Imports the tensors of an open checkpoint for a model.
///
/// # Errors
/// When a tensor cannot be read, or (strict) the tensors are not those of the model.
pub fn import(
    checkpoint: &mut Checkpoint,
    spec: &ModelSpec,
    options: ImportOptions,
) -> Result<(Weights, ImportReport), WeightsError> {
    let mut review = Review::new(checkpoint.path(), checkpoint.state_dict(), spec);
    let mut found = Renamed::of(checkpoint.shapes());
    let shapes = found.shapes();
    let mut weights = Weights::default();
    for expected in expected_tensors(spec) {
        let Some((source, shape)) = found.tensors.remove(&expected.name) else {
            review.absent(&expected);
            continue;
        };
        let fit = match kernel_fit(&expected, &shape) {
            Ok(fit) => fit,
            Err(reason) => {
                review.unfit(&expected, shape, reason);
                continue;
            }
        };
        let mut tensor = checkpoint.read(&source)?;
        if fit == Fit::Permuted {
            tensor.data = out_first(&tensor.data, expected.shape[0]);
            tensor.shape = expected.shape.clone();
        }
        if let Some(reason) = review.fault(&expected, &tensor) {
            review.unfit(&expected, shape, Some(reason));
            continue;
        }
        review.fits(&expected);
        if expected.kind != TensorKind::Constant {
            review.report.renamed += usize::from(source != expected.name);
            review.report.permuted += usize::from(fit == Fit::Permuted);
            weights.tensors.insert(expected.name, tensor);
        }
    }
    review.others(found.leftover());
    let report = review.finish(&shapes, spec);
    if options.strict && !report.is_clean() {
        return Err(WeightsError::Unfit(Box::new(report)));
    }
    Ok((weights, report))
}

/// Checks that weights are those of a model, all of them and nothing else.
///
/// # Errors
/// When a tensor is missing, unfit or unknown; lists all of them.
pub fn check(weights: &Weights, spec: &ModelSpec) -> Result<ImportReport, WeightsError> {
    let mut review = Review::new(Path::new("weights"), "all tensors", spec);
    let shapes = weights.shapes();
    let mut others = shapes.clone();
    for expected in expected_tensors(spec) {
        let Some(tensor) = weights.tensors.get(&expected.name) else {
            review.absent(&expected);
            continue;
        };
        others.remove(&expected.name);
        let shape = tensor.shape.clone();
        if shape != expected.shape {
            review.unfit(&expected, shape, None);
        } else if let Some(reason) = review.fault(&expected, tensor) {
            review.unfit(&expected, shape, Some(reason));
        } else {
            review.fits(&expected);
        }
    }
    review.others(others);
    let report = review.finish(&shapes, spec);
    if report.is_clean() {
        Ok(report)
    } else {
        Err(WeightsError::Unfit(Box::new(report)))
    }
}

/// Tensors of a checkpoint under our names.
struct Renamed {
    /// Our name to name and shape in the checkpoint.
    tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Tensors whose translated name was taken already.
    doubled: BTreeMap<String, Vec<usize>>,
}

impl Renamed {
    fn of(shapes: BTreeMap<String, Vec<usize>>) -> Self {
        let mut all = Self {
            tensors: BTreeMap::new(),
            doubled: BTreeMap::new(),
        };
        for (source, shape) in shapes {
            let name = renamed(&source).unwrap_or_else(|| source.clone());
            match all.tensors.entry(name) {
                Entry::Vacant(place) => {
                    place.insert((source, shape));
                }
                Entry::Occupied(_) => {
                    all.doubled.insert(source, shape);
                }
            }
        }
        all
    }

    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape =
            |(name, (_, shape)): (&String, &(String, Vec<usize>))| (name.clone(), shape.clone());
        self.tensors.iter().map(shape).collect()
    }

    /// What nobody took, under its name in the checkpoint.
    fn leftover(self) -> BTreeMap<String, Vec<usize>> {
        let mut all = self.doubled;
        all.extend(self.tensors.into_values());
        all
    }
}

/// How a found shape fits, or why it does not.
fn kernel_fit(expected: &ExpectedTensor, found: &[usize]) -> Result<Fit, Option<String>> {
    if found == expected.shape {
        return Ok(Fit::AsIs);
    }
    if !expected.is_sparse_kernel() {
        return Err(None);
    }
    match fit(&expected.shape, found) {
        Fit::PermutedTwice => Err(Some(
            "these are the axes [in, out, kx, ky, kz] that mmdetection3d's loader makes of a kernel \
             that was [out, kx, ky, kz, in] already (its file has no version metadata); import the \
             original file, not one saved after that loader"
                .into(),
        )),
        Fit::Mismatched => Err(None),
        fit => Ok(fit),
    }
}

/// The report being written, and what it needs to judge values.
struct Review {
    report: ImportReport,
    constants: BTreeMap<String, Vec<f64>>,
    modules: BTreeMap<String, (usize, usize)>,
}

impl Review {
    fn new(source: &Path, state_dict: &str, spec: &ModelSpec) -> Self {
        Self {
            report: ImportReport {
                source: source.display().to_string(),
                state_dict: state_dict.into(),
                model: spec.name.clone(),
                ..ImportReport::default()
            },
            constants: constants(spec),
            modules: BTreeMap::new(),
        }
    }

    fn count(&mut self, name: &str, found: usize) {
        let module = name.split('.').next().unwrap_or(name);
        let counts = self.modules.entry(module.into()).or_default();
        counts.0 += found;
        counts.1 += 1;
    }

    fn fits(&mut self, expected: &ExpectedTensor) {
        self.count(&expected.name, 1);
        match expected.kind {
            TensorKind::Constant => self.report.constants += 1,
            TensorKind::Parameter | TensorKind::Buffer => self.report.loaded += 1,
        }
    }

    fn absent(&mut self, expected: &ExpectedTensor) {
        if expected.kind != TensorKind::Constant {
            self.count(&expected.name, 0);
            self.report.missing.push(MissingTensor {
                name: expected.name.clone(),
                expected: expected.shape.clone(),
            });
        }
    }

    fn unfit(&mut self, expected: &ExpectedTensor, found: Vec<usize>, reason: Option<String>) {
        self.count(&expected.name, 0);
        self.report.mismatched.push(MismatchedTensor {
            name: expected.name.clone(),
            expected: expected.shape.clone(),
            found,
            reason,
        });
    }

    fn others(&mut self, tensors: BTreeMap<String, Vec<usize>>) {
        for (name, shape) in tensors {
            if is_leftover(&name, &shape) {
                self.report.ignored.push(name);
            } else {
                self.report
                    .unexpected
                    .push(UnexpectedTensor { name, shape });
            }
        }
    }

    /// What is wrong with the values of a tensor of the right shape.
    fn fault(&self, expected: &ExpectedTensor, tensor: &Tensor) -> Option<String> {
        if expected.kind == TensorKind::Constant {
            return self.constant_fault(&expected.name, &tensor.data);
        }
        let TensorData::F32(values) = &tensor.data else {
            return Some("holds integers, expected floats".into());
        };
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Some(format!("value {place} is {}", values[place]));
        }
        if !expected.name.ends_with(".running_var") {
            return None;
        }
        let place = values.iter().position(|value| *value < 0.0)?;
        Some(format!("variance {place} is negative: {}", values[place]))
    }

    fn constant_fault(&self, name: &str, data: &TensorData) -> Option<String> {
        let expected = self.constants.get(name)?;
        let found: Vec<f64> = match data {
            TensorData::F32(values) => values.iter().map(|v| f64::from(*v)).collect(),
            TensorData::I64(values) => values.iter().map(|v| *v as f64).collect(),
        };
        let (place, expected, found) = difference(expected, &found)?;
        Some(format!(
            "value {place} is {found}, the model description makes it {expected}: the checkpoint was \
             trained with another description"
        ))
    }

    fn finish(mut self, shapes: &BTreeMap<String, Vec<usize>>, spec: &ModelSpec) -> ImportReport {
        if !self.report.is_clean() {
            self.report.remedy = variant::remedy(shapes, spec);
        }
        let modules = self.modules.into_iter();
        self.report.modules = modules
            .map(|(module, (found, expected))| ModuleCount {
                module,
                found,
                expected,
            })
            .collect();
        self.report
    }
}

/// Tensors that training leaves in a state dict and that say nothing about the network.
fn is_leftover(name: &str, shape: &[usize]) -> bool {
    // AWML registers its normalisation bounds empty in models that do not use them.
    shape.contains(&0)
        || matches!(name, "steps" | "n_averaged")
        || name.starts_with("ema_")
        || name.starts_with("data_preprocessor.")
        || name.contains(".loss_")
}
