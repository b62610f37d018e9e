//! Page-locked host memory that the GPU reads and writes directly.
//!
//! Host and device take turns: the owner writes before it submits and reads after the frame's event. A
//! slice is `Pod`, so that whatever bytes the GPU leaves are valid values.

use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DeviceSlice, DriverError, Stream};

/// Page-locked memory for `len` elements, zero at first.
#[derive(Debug)]
pub struct PinnedSlice<T> {
    data: NonNull<T>,
    len: usize,
    device_address: u64,
    context: Arc<Context>,
}

// SAFETY: it owns plain memory.
unsafe impl<T: Pod + Send> Send for PinnedSlice<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Pod + Sync> Sync for PinnedSlice<T> {}

impl<T: Pod> PinnedSlice<T> {
    /// Takes memory.
    ///
    /// # Errors
    /// When the system has none left to lock.
    pub fn new(context: &Arc<Context>, len: usize) -> Result<Self, DriverError> {
        context.bind()?;
        context.count(Call::PinnedAlloc);
        let bytes = (len * size_of::<T>()).max(1);
        let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the context is current; the pointer is written on success.
        let taken = unsafe { sys::cuMemHostAlloc(&raw mut raw, bytes, flags) };
        check("cuMemHostAlloc", taken)?;
        // SAFETY: the memory has that many bytes.
        unsafe { raw.cast::<u8>().write_bytes(0, bytes) };
        let mut device_address = 0;
        // SAFETY: `raw` was taken with the mapping flag; the address is written.
        let asked = unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut device_address, raw, 0) };
        check("cuMemHostGetDevicePointer", asked)?;
        let Some(data) = NonNull::new(raw.cast()) else {
            return Err(DriverError::Arguments {
                kernel: "cuMemHostAlloc",
                problem: "the driver gave a null pointer".to_owned(),
            });
        };
        Ok(Self {
            data,
            len,
            device_address,
            context: Arc::clone(context),
        })
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the device sees it.
    #[must_use]
    pub const fn device_address(&self) -> u64 {
        self.device_address
    }

    /// The values; of unknown contents while a frame that writes them is under way.
    #[must_use]
    pub const fn as_slice(&self) -> &[T] {
        // SAFETY: the memory holds `len` elements, and all bytes are valid.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The values, to be written before the frame that reads them is submitted.
    #[must_use]
    pub const fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    /// Copies a device slice of at most this length here, in the stream's order.
    ///
    /// # Errors
    /// When it is longer, or the driver refuses.
    pub fn copy_from_device(
        &self,
        stream: &Stream,
        from: &DeviceSlice<T>,
    ) -> Result<(), DriverError> {
        if from.len() > self.len {
            return Err(DriverError::Arguments {
                kernel: "copy to host",
                problem: format!("{} values into {} places", from.len(), self.len),
            });
        }
        self.context.count(Call::AsyncCopy);
        let to = self.data.as_ptr().cast();
        // SAFETY: both are alive for as long as work may use them (see `Drop`), with that many bytes.
        let queued =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to, from.address(), from.bytes(), stream.raw()) };
        check("cuMemcpyDtoHAsync", queued)
    }
}

impl<T> Drop for PinnedSlice<T> {
    fn drop(&mut self) {
        let _ignored = self.context.synchronize();
        self.context.count(Call::PinnedFree);
        // SAFETY: taken in `new`; no work uses it any more.
        let _ignored = unsafe { sys::cuMemFreeHost(self.data.as_ptr().cast()) };
    }
}
