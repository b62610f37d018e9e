//! Dense networks described once: ops, builder, the networks of BEVFusion, ONNX.
//!
//! In: a [`ModelSpec`](crate::config::ModelSpec) and [`Weights`](crate::weights::Weights). Out: a
//! [`Graph`] per dense network with every shape fixed, batch norms folded and the weights inside, which
//! an [`engine`](crate::engine) loads, [`onnx::encode`] writes and [`stats::stats`] counts.

mod builder;
mod error;
mod infer;
mod ir;
pub mod networks;
pub mod onnx;
mod onnx_proto;
pub mod read;
pub mod stats;

pub use builder::GraphBuilder;
pub use error::GraphError;
pub use ir::{DType, Data, Graph, Node, Op, Port, Value, ValueId, Windows};
