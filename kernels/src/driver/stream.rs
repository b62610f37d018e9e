//! Streams: work in order.

use std::sync::Arc;

use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DriverError, Event};

/// Which of two streams the GPU prefers when both have blocks to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before others.
    High,
    /// As the driver does it by default.
    Normal,
}

/// A queue of device work. Does not wait for the legacy default stream.
#[derive(Debug)]
pub struct Stream {
    raw: sys::CUstream,
    context: Arc<Context>,
}

// SAFETY: the driver allows a stream to be used from any thread with the context current.
unsafe impl Send for Stream {}
// SAFETY: as above; enqueueing is serialised by the driver.
unsafe impl Sync for Stream {}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(context: &Arc<Context>, priority: Priority) -> Result<Self, DriverError> {
        context.bind()?;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: both numbers are written.
        let asked = unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest) };
        check("cuCtxGetStreamPriorityRange", asked)?;
        let value = match priority {
            Priority::High => greatest,
            Priority::Normal => least,
        };
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current; the handle is written on success.
        let made = unsafe { sys::cuStreamCreateWithPriority(&raw mut raw, flags, value) };
        check("cuStreamCreateWithPriority", made)?;
        Ok(Self {
            raw,
            context: Arc::clone(context),
        })
    }

    /// The context.
    #[must_use]
    pub const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Work that is enqueued after this starts when `event` has happened.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn wait(&self, event: &Event) -> Result<(), DriverError> {
        self.context.count(Call::EventOrder);
        // SAFETY: both handles are alive.
        let queued = unsafe { sys::cuStreamWaitEvent(self.raw, event.raw(), 0) };
        check("cuStreamWaitEvent", queued)
    }

    /// Blocks the host until all work has run.
    ///
    /// # Errors
    /// When a kernel failed.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        self.context.count(Call::BlockingSync);
        // SAFETY: the handle is alive.
        check("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.raw)
        })
    }

    pub(crate) const fn raw(&self) -> sys::CUstream {
        self.raw
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ignored = self.context.bind();
        // SAFETY: made in `new`; pending work still completes.
        let _ignored = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}
