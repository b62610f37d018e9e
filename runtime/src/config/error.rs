//! What is wrong with a model description: one problem per key, all of them at once.

use std::fmt;

use super::node::shortened;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// File, where several were read together.
    pub file: Option<String>,
    /// Line in the file, from 1, where known.
    pub line: Option<usize>,
    /// Dotted path of the key, for example `voxel.voxel_size`.
    pub key: String,
    /// What would be right.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

impl ConfigProblem {
    pub(super) fn new(
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: None,
            line: None,
            key: key.into(),
            expected: expected.into(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// Names for a message: the first twenty, each shortened.
pub(super) fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let mut listed: Vec<String> = names.iter().take(MOST).map(|n| shortened(n)).collect();
    if names.len() > MOST {
        listed.push(format!("… {} in all", names.len()));
    }
    listed.join(", ")
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let Self {
            key,
            expected,
            found,
            remedy,
            ..
        } = self;
        write!(f, "{key}: expected {expected}, found {found}; {remedy}")
    }
}

/// Every problem of one model description, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// File, preset or model name.
    pub origin: String,
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigErrors {
    pub(super) fn new(origin: &str, mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Self {
            origin: origin.into(),
            problems,
        }
    }

    pub(super) fn one(origin: &str, problem: ConfigProblem) -> Self {
        Self::new(origin, vec![problem])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {count} {noun}", self.origin)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
