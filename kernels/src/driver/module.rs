//! Kernel images, modules and launches.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys;

use super::error::check;
use super::{Call, Context, DriverError, Stream};

/// One `.cu` file as it is embedded: its source, and its machine code where a toolkit was there at build
/// time.
#[derive(Clone, Copy, Debug)]
pub struct KernelImage {
    /// Stem of the file.
    pub name: &'static str,
    /// The source, for compilation at run time.
    pub source: &'static str,
    /// Machine code for all supported GPUs; absent when the crate was built without a toolkit.
    pub fatbin: Option<&'static [u8]>,
}

/// Kernels of one file, loaded.
#[derive(Debug)]
pub struct Module {
    raw: sys::CUmodule,
    name: &'static str,
    context: Arc<Context>,
}

// SAFETY: the driver allows a module to be used from any thread with the context current.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads the kernels of `image`.
    ///
    /// # Errors
    /// When they are not built for this GPU and cannot be compiled here.
    pub fn load(context: &Arc<Context>, image: &KernelImage) -> Result<Arc<Self>, DriverError> {
        context.bind()?;
        let Some(code) = image.fatbin else {
            return Err(DriverError::Module {
                module: image.name,
                problem: "built without a CUDA toolkit".to_owned(),
            });
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: `code` is a fatbin, which carries its own length; the handle is written on success.
        let loaded = unsafe { sys::cuModuleLoadData(&raw mut raw, code.as_ptr().cast()) };
        check("cuModuleLoadData", loaded).map_err(|error| DriverError::Module {
            module: image.name,
            problem: error.to_string(),
        })?;
        Ok(Arc::new(Self {
            raw,
            name: image.name,
            context: Arc::clone(context),
        }))
    }

    /// The kernel of this name, to be launched with up to `shared_bytes` of dynamic shared memory.
    ///
    /// # Errors
    /// When there is none, or the GPU has less shared memory.
    pub fn function(
        self: &Arc<Self>,
        name: &'static str,
        shared_bytes: usize,
    ) -> Result<Function, DriverError> {
        let fail = |problem: String| DriverError::Module {
            module: self.name,
            problem,
        };
        let symbol = CString::new(name).map_err(|error| fail(error.to_string()))?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the module is alive and the name zero-terminated; the handle is written on success.
        let found = unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, symbol.as_ptr()) };
        check("cuModuleGetFunction", found).map_err(|error| fail(format!("{name}: {error}")))?;
        if shared_bytes > 48 << 10 {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is alive.
            let set = unsafe { sys::cuFuncSetAttribute(raw, attribute, shared_bytes as i32) };
            check("cuFuncSetAttribute", set).map_err(|error| fail(format!("{name}: {error}")))?;
        }
        Ok(Function {
            raw,
            name,
            module: Arc::clone(self),
        })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ignored = self.context.synchronize();
        // SAFETY: loaded in `load`; nothing of it runs any more.
        let _ignored = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

/// Grid of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block (bytes).
    pub shared_bytes: u32,
}

impl Launch {
    /// A row of blocks without dynamic shared memory.
    #[must_use]
    pub const fn row(blocks: u32, threads: u32) -> Self {
        Self {
            grid: [blocks, 1, 1],
            threads,
            shared_bytes: 0,
        }
    }

    /// One thread for each of `items`.
    #[must_use]
    pub const fn cover(items: usize, threads: u32) -> Self {
        let blocks = items.div_ceil(threads as usize);
        Self::row(if blocks == 0 { 1 } else { blocks as u32 }, threads)
    }
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Function {
    raw: sys::CUfunction,
    name: &'static str,
    module: Arc<Module>,
}

// SAFETY: as for modules.
unsafe impl Send for Function {}
// SAFETY: as for modules.
unsafe impl Sync for Function {}

impl Function {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Blocks that one multiprocessor runs at a time.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn blocks_per_multiprocessor(
        &self,
        threads: usize,
        shared_bytes: usize,
    ) -> Result<usize, DriverError> {
        let mut blocks = 0;
        // SAFETY: the function is alive; the number is written.
        let asked = unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &raw mut blocks,
                self.raw,
                threads as i32,
                shared_bytes,
            )
        };
        check("cuOccupancyMaxActiveBlocksPerMultiprocessor", asked)?;
        Ok(usize::try_from(blocks).unwrap_or(0).max(1))
    }

    /// Enqueues one launch. Allocates nothing on the host.
    ///
    /// # Safety
    /// `params` has exactly the layout of the kernel's single by-value parameter, and every address in it
    /// is valid for what the kernel does with it until the stream has run it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub unsafe fn launch<P: Pod>(
        &self,
        stream: &Stream,
        launch: Launch,
        params: &P,
    ) -> Result<(), DriverError> {
        self.module.context.count(Call::KernelLaunch);
        let [x, y, z] = launch.grid;
        let mut arguments = [std::ptr::from_ref(params).cast::<c_void>().cast_mut()];
        // SAFETY: the handles are alive, and the driver copies the parameter before it returns; its
        // layout is the caller's promise.
        let queued = unsafe {
            sys::cuLaunchKernel(
                self.raw,
                x,
                y,
                z,
                launch.threads,
                1,
                1,
                launch.shared_bytes,
                stream.raw(),
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(self.name, queued)
    }
}
