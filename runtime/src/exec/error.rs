//! What can go wrong while a pipeline is built: rich, with the remedy in the message.

use crate::engine::EngineError;
use crate::graph::GraphError;
use crate::weights::MissingWeight;

/// Why a pipeline cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The weights do not belong to the model.
    #[error(
        "{0}; the weights belong to another model or are incomplete: compare their model.toml with \
         the model asked for, or import the checkpoint again"
    )]
    Weights(#[from] MissingWeight),
    /// A network cannot be built from the description and the weights.
    #[error("cannot build a network: {0}")]
    Graph(#[from] GraphError),
    /// The engine refused a network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The GPU or its driver refused.
    #[error(transparent)]
    Driver(#[from] bevfusion_kernels::driver::DriverError),
    /// `min_cameras` is more than the model has.
    #[error(
        "min_cameras is {min_cameras}, but the model has {cameras} cameras: ask for at most {cameras}"
    )]
    MinCameras {
        /// The option.
        min_cameras: usize,
        /// Cameras of the model.
        cameras: usize,
    },
}
