//! The CUDA driver as this crate needs it: context, streams, events, memory, modules and graphs.
//!
//! The library (`libcuda.so.1`) is loaded at run time and nothing newer than a CUDA 12.0 driver is asked
//! for. Objects own what they came from, so that any order of dropping is right. Memory is taken from an
//! arena while a pipeline is built; a sealed arena gives no more. Every call is counted by kind
//! ([`Counters`]), so that a test can state what a frame may cost.

mod arena;
mod context;
mod counters;
mod error;
mod event;
mod graph;
mod module;
mod pinned;
mod stream;
mod tensor_map;

pub use arena::{ArenaEntry, DeviceArena, DeviceSlice};
pub use context::{Context, DeviceInfo};
pub use counters::{Call, Counters};
pub use error::DriverError;
pub use event::Event;
pub use graph::Graph;
pub use module::{Function, KernelHeader, KernelImage, Launch, Module};
pub use pinned::PinnedSlice;
pub use stream::{Priority, Stream};
pub use tensor_map::{TensorMap, TileShape};
