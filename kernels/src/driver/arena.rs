//! Device memory: taken while a pipeline is built, none after it is sealed.
//!
//! An arena hands out typed slices of a few large blocks. A slice holds its block alive; the block waits
//! for the GPU before it goes, so that no kernel outlives its memory.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DriverError, PinnedSlice, Stream};

/// What every slice starts at a multiple of (bytes): a swizzle atom of the copy engine.
const ALIGNMENT: usize = 1024;
/// Blocks that small slices share (bytes).
const BLOCK: usize = 16 << 20;

#[derive(Debug)]
struct Block {
    address: sys::CUdeviceptr,
    context: Arc<Context>,
}

impl Block {
    fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DriverError> {
        context.bind()?;
        context.count(Call::DeviceAlloc);
        let mut address = 0;
        // SAFETY: the context is current; the address is written on success.
        let taken = unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) };
        check("cuMemAlloc", taken)?;
        Ok(Self {
            address,
            context: Arc::clone(context),
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _ignored = self.context.synchronize();
        self.context.count(Call::DeviceFree);
        // SAFETY: taken in `new`; no kernel is running any more.
        let _ignored = unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// A typed piece of device memory. Clones name the same memory.
#[derive(Clone, Debug)]
pub struct DeviceSlice<T> {
    address: u64,
    len: usize,
    block: Arc<Block>,
    element: PhantomData<fn() -> T>,
}

impl<T> DeviceSlice<T> {
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

    /// Address on the device.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// `start..start + len` of it; clipped to what there is.
    #[must_use]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let start = start.min(self.len);
        Self {
            address: self.address + (start * size_of::<T>()) as u64,
            len: len.min(self.len - start),
            block: Arc::clone(&self.block),
            element: PhantomData,
        }
    }

    /// The same bytes as elements of another type; a rest is cut.
    #[must_use]
    pub fn cast<U: Pod>(&self) -> DeviceSlice<U> {
        DeviceSlice {
            address: self.address,
            len: self.bytes() / size_of::<U>(),
            block: Arc::clone(&self.block),
            element: PhantomData,
        }
    }
}

impl<T: Pod> DeviceSlice<T> {
    /// Copies `values` into the front and waits; for the build phase.
    ///
    /// # Errors
    /// When there are more values than room, or the driver refuses.
    pub fn upload(&self, values: &[T]) -> Result<(), DriverError> {
        if values.len() > self.len {
            return Err(DriverError::Arguments {
                kernel: "upload",
                problem: format!("{} values into {} places", values.len(), self.len),
            });
        }
        let context = &self.block.context;
        context.bind()?;
        context.count(Call::BlockingSync);
        let from = values.as_ptr().cast();
        // SAFETY: `values` is readable for its size and the slice has at least that much room.
        let copied = unsafe { sys::cuMemcpyHtoD_v2(self.address, from, size_of_val(values)) };
        check("cuMemcpyHtoD", copied)?;
        // Out of ordinary memory the call may return before the last bytes have arrived.
        context.synchronize()
    }

    /// Waits for the GPU and copies everything to the host; for tests and the build phase.
    ///
    /// # Errors
    /// When earlier work failed, or the driver refuses.
    pub fn download(&self) -> Result<Vec<T>, DriverError> {
        let context = &self.block.context;
        context.synchronize()?;
        let mut values = vec![T::zeroed(); self.len];
        let to = values.as_mut_ptr().cast();
        // SAFETY: `values` has room for the slice's bytes, and any bytes are a `T`.
        let copied = unsafe { sys::cuMemcpyDtoH_v2(to, self.address, self.bytes()) };
        check("cuMemcpyDtoH", copied)?;
        Ok(values)
    }

    /// Enqueues a copy of the first `len` elements of `from`, which must keep them until it has run.
    ///
    /// # Errors
    /// When either has fewer elements, or the driver refuses.
    pub fn copy_from_pinned(
        &self,
        stream: &Stream,
        from: &PinnedSlice<T>,
        len: usize,
    ) -> Result<(), DriverError> {
        if len > self.len() || len > from.len() {
            return Err(DriverError::Arguments {
                kernel: "copy",
                problem: format!("{len} elements of {} to {}", from.len(), self.len()),
            });
        }
        stream.context().count(Call::AsyncCopy);
        // SAFETY: both ranges hold `len` elements, checked above; the pinned memory is the caller's to keep.
        let copied = unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                self.address(),
                from.as_slice().as_ptr().cast(),
                len * size_of::<T>(),
                stream.raw(),
            )
        };
        check("cuMemcpyHtoDAsync", copied)
    }
    /// Fills with a byte, in the stream's order.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn fill_bytes(&self, stream: &Stream, byte: u8) -> Result<(), DriverError> {
        self.block.context.count(Call::AsyncCopy);
        // SAFETY: the memory is alive for as long as work may use it, see `Block`.
        let queued =
            unsafe { sys::cuMemsetD8Async(self.address, byte, self.bytes(), stream.raw()) };
        check("cuMemsetD8Async", queued)
    }
}

/// One piece that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaEntry {
    /// What it is for.
    pub name: String,
    /// Its size with padding.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Plan {
    current: Option<(Arc<Block>, usize)>,
    entries: Vec<ArenaEntry>,
    sealed: bool,
}

/// Hands out device memory until it is sealed.
#[derive(Debug)]
pub struct DeviceArena {
    context: Arc<Context>,
    plan: Mutex<Plan>,
}

impl DeviceArena {
    /// An arena without memory.
    #[must_use]
    pub fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
            plan: Mutex::default(),
        }
    }

    /// The context.
    #[must_use]
    pub const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Memory for `len` elements, of unknown contents.
    ///
    /// # Errors
    /// When the arena is sealed or the GPU has no such memory.
    pub fn take<T: Pod>(&self, name: &str, len: usize) -> Result<DeviceSlice<T>, DriverError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = (len * size_of::<T>()).max(1).next_multiple_of(ALIGNMENT);
        if plan.sealed {
            let name = name.to_owned();
            return Err(DriverError::Sealed { name, bytes });
        }
        let name = name.to_owned();
        plan.entries.push(ArenaEntry { name, bytes });
        let (block, offset) = plan.place(&self.context, bytes)?;
        Ok(DeviceSlice {
            address: block.address + offset as u64,
            len,
            block,
            element: PhantomData,
        })
    }

    /// Memory filled with zeros.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_zeroed<T: Pod>(
        &self,
        name: &str,
        len: usize,
    ) -> Result<DeviceSlice<T>, DriverError> {
        let slice = self.take(name, len)?;
        self.context.bind()?;
        // SAFETY: the slice's memory is alive and has that many bytes.
        let filled = unsafe { sys::cuMemsetD8_v2(slice.address, 0, slice.bytes()) };
        check("cuMemsetD8", filled)?;
        // The fill is only ordered before work of the default stream, which nobody uses.
        self.context.synchronize()?;
        Ok(slice)
    }

    /// Memory filled with `values`.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_with<T: Pod>(
        &self,
        name: &str,
        values: &[T],
    ) -> Result<DeviceSlice<T>, DriverError> {
        let slice = self.take(name, values.len())?;
        slice.upload(values)?;
        Ok(slice)
    }

    /// Ends the build phase.
    pub fn seal(&self) {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.sealed = true;
    }

    /// What was handed out, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<ArenaEntry> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.entries.clone()
    }
}

impl Plan {
    fn place(
        &mut self,
        context: &Arc<Context>,
        bytes: usize,
    ) -> Result<(Arc<Block>, usize), DriverError> {
        if bytes > BLOCK / 4 {
            return Ok((Arc::new(Block::new(context, bytes)?), 0));
        }
        let (block, offset) = match self.current.take() {
            Some((block, offset)) if offset + bytes <= BLOCK => (block, offset),
            _ => (Arc::new(Block::new(context, BLOCK)?), 0),
        };
        self.current = Some((Arc::clone(&block), offset + bytes));
        Ok((block, offset))
    }
}
