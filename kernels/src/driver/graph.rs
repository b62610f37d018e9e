//! CUDA graphs: a frame's work captured once and launched with one call.

use std::sync::Arc;

use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DriverError, Stream};

/// An executable graph.
#[derive(Debug)]
pub struct Graph {
    executable: sys::CUgraphExec,
    nodes: usize,
    context: Arc<Context>,
}

// SAFETY: the driver allows launches from any thread with the context current.
unsafe impl Send for Graph {}
// SAFETY: launches of one executable are serialised by the driver.
unsafe impl Sync for Graph {}

impl Graph {
    /// Captures what `enqueue` puts on `stream` (and on streams that it forks and joins) instead of
    /// running it.
    ///
    /// # Errors
    /// The failure of `enqueue`, or the driver's: a call that cannot be captured, for example.
    pub fn capture<E: From<DriverError>>(
        stream: &Stream,
        enqueue: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        let context = Arc::clone(stream.context());
        context.bind()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive.
        let begun = unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) };
        check("cuStreamBeginCapture", begun)?;
        let enqueued = enqueue();
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream is capturing; the handle is written, null when the capture broke.
        let ended = unsafe { sys::cuStreamEndCapture(stream.raw(), &raw mut graph) };
        let instance = enqueued.and_then(|()| {
            check("cuStreamEndCapture", ended)?;
            Ok(instantiate(graph)?)
        });
        if !graph.is_null() {
            // SAFETY: made by the capture; the executable is independent of it.
            let _ignored = unsafe { sys::cuGraphDestroy(graph) };
        }
        let (executable, nodes) = instance?;
        Ok(Self {
            executable,
            nodes,
            context,
        })
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn launch(&self, stream: &Stream) -> Result<(), DriverError> {
        self.context.count(Call::GraphLaunch);
        // SAFETY: both handles are alive.
        check("cuGraphLaunch", unsafe {
            sys::cuGraphLaunch(self.executable, stream.raw())
        })
    }

    /// Uploads the graph, so that the first launch is like the others.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn upload(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: both handles are alive.
        check("cuGraphUpload", unsafe {
            sys::cuGraphUpload(self.executable, stream.raw())
        })
    }

    /// Kernels, copies and fills in it.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes
    }
}

fn instantiate(graph: sys::CUgraph) -> Result<(sys::CUgraphExec, usize), DriverError> {
    let mut nodes = 0;
    // SAFETY: with no array given, only the number is written.
    let asked = unsafe { sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &raw mut nodes) };
    check("cuGraphGetNodes", asked)?;
    let mut executable = std::ptr::null_mut();
    // SAFETY: the graph is alive; the handle is written on success.
    let made = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut executable, graph, 0) };
    check("cuGraphInstantiateWithFlags", made)?;
    Ok((executable, nodes))
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ignored = self.context.bind();
        // SAFETY: made in `instantiate`; runs in flight complete.
        let _ignored = unsafe { sys::cuGraphExecDestroy(self.executable) };
    }
}
