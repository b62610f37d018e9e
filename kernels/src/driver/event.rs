//! Events: points in a stream that others wait for or that time is measured between.

use std::sync::Arc;

use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DriverError, Stream};

/// A point in a stream.
#[derive(Debug)]
pub struct Event {
    raw: sys::CUevent,
    context: Arc<Context>,
}

// SAFETY: the driver allows an event to be used from any thread with the context current.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that only orders work.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn ordering(context: &Arc<Context>) -> Result<Self, DriverError> {
        Self::with_flags(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// An event that keeps its time.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn timing(context: &Arc<Context>) -> Result<Self, DriverError> {
        Self::with_flags(context, sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with_flags(context: &Arc<Context>, flags: sys::CUevent_flags) -> Result<Self, DriverError> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current; the handle is written on success.
        let made = unsafe { sys::cuEventCreate(&raw mut raw, flags as u32) };
        check("cuEventCreate", made)?;
        Ok(Self {
            raw,
            context: Arc::clone(context),
        })
    }

    /// Puts the event behind what the stream holds now.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn record(&self, stream: &Stream) -> Result<(), DriverError> {
        self.context.count(Call::EventOrder);
        // SAFETY: both handles are alive.
        check("cuEventRecord", unsafe {
            sys::cuEventRecord(self.raw, stream.raw())
        })
    }

    /// As [`record`](Self::record), but during capture becomes a node of the graph, so that each launch
    /// of the graph records anew.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn record_in_graph(&self, stream: &Stream) -> Result<(), DriverError> {
        self.context.count(Call::EventOrder);
        let flags = sys::CUevent_record_flags::CU_EVENT_RECORD_EXTERNAL as u32;
        // SAFETY: both handles are alive.
        let recorded = unsafe { sys::cuEventRecordWithFlags(self.raw, stream.raw(), flags) };
        check("cuEventRecordWithFlags", recorded)
    }

    /// Whether it has happened; also true for an event that was never recorded.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn has_happened(&self) -> Result<bool, DriverError> {
        self.context.count(Call::EventQuery);
        // SAFETY: the handle is alive.
        match unsafe { sys::cuEventQuery(self.raw) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            other => check("cuEventQuery", other).map(|()| true),
        }
    }

    /// Blocks the host until it has happened.
    ///
    /// # Errors
    /// When work before it failed.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        self.context.count(Call::BlockingSync);
        // SAFETY: the handle is alive.
        check("cuEventSynchronize", unsafe {
            sys::cuEventSynchronize(self.raw)
        })
    }

    /// Time from `earlier` to this event (ms); both keep times and have happened.
    ///
    /// # Errors
    /// When one of them has not.
    pub fn milliseconds_since(&self, earlier: &Self) -> Result<f32, DriverError> {
        let mut elapsed = 0.0;
        // SAFETY: both handles are alive; the number is written.
        let asked = unsafe { sys::cuEventElapsedTime(&raw mut elapsed, earlier.raw, self.raw) };
        check("cuEventElapsedTime", asked)?;
        Ok(elapsed)
    }

    pub(crate) const fn raw(&self) -> sys::CUevent {
        self.raw
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ignored = self.context.bind();
        // SAFETY: made in `with_flags`.
        let _ignored = unsafe { sys::cuEventDestroy_v2(self.raw) };
    }
}
