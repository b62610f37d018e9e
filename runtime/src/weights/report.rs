//! What an import did: counts and every tensor that did not fit, as text and as JSON.

use std::fmt;

use serde::Serialize;

/// A tensor that the model needs and the source does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingTensor {
    /// State-dict name.
    pub name: String,
    /// Expected extents.
    pub expected: Vec<usize>,
}

/// A tensor that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MismatchedTensor {
    /// State-dict name.
    pub name: String,
    /// Expected extents.
    pub expected: Vec<usize>,
    /// Found extents.
    pub found: Vec<usize>,
    /// Why it does not fit, where the extents do not say it.
    pub reason: Option<String>,
}

/// A tensor that the model does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnexpectedTensor {
    /// Name in the source.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
}

/// How much of one module was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModuleCount {
    /// First part of the names, for example `img_backbone`.
    pub module: String,
    /// Tensors taken or checked.
    pub found: usize,
    /// Tensors that it needs, and constants that are there.
    pub expected: usize,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The file or folder.
    pub source: String,
    /// Which part of the file.
    pub state_dict: String,
    /// Name of the model description.
    pub model: String,
    /// Tensors taken.
    pub loaded: usize,
    /// Of these, under another name.
    pub renamed: usize,
    /// Of these, sparse kernels whose axes were reordered.
    pub permuted: usize,
    /// Constants that agree with the model description; they are not kept.
    pub constants: usize,
    /// Left-overs of training that are known to be of no use.
    pub ignored: Vec<String>,
    /// Needed and absent.
    pub missing: Vec<MissingTensor>,
    /// Present and unfit.
    pub mismatched: Vec<MismatchedTensor>,
    /// Of no use to this model.
    pub unexpected: Vec<UnexpectedTensor>,
    /// Module by module.
    pub modules: Vec<ModuleCount>,
    /// What to do when it does not fit.
    pub remedy: Option<String>,
}

impl ImportReport {
    /// Whether every needed tensor fits and nothing else was there.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_clean() {
            "fits"
        } else {
            "does not fit"
        };
        writeln!(
            f,
            "{} ({}) {verdict} {}",
            self.source, self.state_dict, self.model
        )?;
        if let Some(remedy) = &self.remedy {
            writeln!(f, "  {remedy}")?;
        }
        writeln!(
            f,
            "  loaded {} (renamed {}, permuted {}), constants checked {}, ignored {}",
            self.loaded,
            self.renamed,
            self.permuted,
            self.constants,
            self.ignored.len()
        )?;
        for count in &self.modules {
            writeln!(
                f,
                "    {:<20} {:>4} of {:>4}",
                count.module, count.found, count.expected
            )?;
        }
        write!(
            f,
            "  missing {}, mismatched {}, unexpected {}",
            self.missing.len(),
            self.mismatched.len(),
            self.unexpected.len()
        )?;
        for tensor in &self.missing {
            write!(f, "\n    missing    {} {:?}", tensor.name, tensor.expected)?;
        }
        for tensor in &self.mismatched {
            let (expected, found) = (&tensor.expected, &tensor.found);
            write!(
                f,
                "\n    mismatched {}: expected {expected:?}, found {found:?}",
                tensor.name
            )?;
            if let Some(reason) = &tensor.reason {
                write!(f, "; {reason}")?;
            }
        }
        for tensor in &self.unexpected {
            write!(f, "\n    unexpected {} {:?}", tensor.name, tensor.shape)?;
        }
        Ok(())
    }
}
