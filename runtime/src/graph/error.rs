//! Why a graph cannot be built.

use crate::weights::MissingWeight;

/// Why a graph cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A weight is absent or has another shape.
    #[error(transparent)]
    Weight(#[from] MissingWeight),
    /// An op does not fit its inputs.
    #[error("{op} cannot take {inputs:?}: {problem}")]
    Shape {
        /// The op and its attributes.
        op: String,
        /// Extents of its inputs.
        inputs: Vec<Vec<usize>>,
        /// What does not fit.
        problem: String,
    },
    /// A constant has another number of values than its extents say.
    #[error("a constant of shape {shape:?} was given {found} values")]
    Constant {
        /// Extents.
        shape: Vec<usize>,
        /// Values given.
        found: usize,
    },
    /// Two values, inputs or outputs of one graph have the same name.
    #[error("graph {graph:?} has two values named {name:?}")]
    DuplicateName {
        /// The graph.
        graph: String,
        /// The name.
        name: String,
    },
    /// A value was asked for by a name that no value has.
    #[error("graph {graph:?} has no value {name:?}; it has {known:?}")]
    UnknownName {
        /// The graph.
        graph: String,
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// The model description asks for something that the networks do not do.
    #[error("{key} = {found}: {problem}")]
    Unsupported {
        /// Key of the model description.
        key: String,
        /// Its value.
        found: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl GraphError {
    /// An [`Unsupported`](GraphError::Unsupported) setting.
    pub(crate) fn setting(key: &str, found: impl std::fmt::Debug, problem: &str) -> Self {
        Self::Unsupported {
            key: key.into(),
            found: format!("{found:?}"),
            problem: problem.into(),
        }
    }
}
