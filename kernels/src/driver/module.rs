//! Kernel images, modules and launches.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys;

use super::error::{check, name_of};
use super::{Call, Context, DriverError, Stream};
use crate::nvrtc;

/// A header that kernel sources include.
#[derive(Clone, Copy, Debug)]
pub struct KernelHeader {
    /// As it is written in an include line.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
}

/// One `.cu` file as it is embedded: its source, and its machine code where a CUDA compiler was there at
/// build time.
#[derive(Clone, Copy, Debug)]
pub struct KernelImage {
    /// Stem of the file.
    pub name: &'static str,
    /// The source, for compilation at run time.
    pub source: &'static str,
    /// What it may include.
    pub headers: &'static [KernelHeader],
    /// Machine code for all supported GPUs; absent when the crate was built without a compiler.
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
    /// Loads the kernels of `image`. Where it has no machine code for this GPU or this driver, they are
    /// compiled by NVRTC, once a machine: the result is kept on disk.
    ///
    /// # Errors
    /// When they are not built for this GPU and cannot be compiled here.
    pub fn load(context: &Arc<Context>, image: &KernelImage) -> Result<Arc<Self>, DriverError> {
        context.bind()?;
        let fail = |problem: String| DriverError::Module {
            module: image.name,
            problem,
        };
        let reason = match image.fatbin.map(load_code) {
            Some(Ok(raw)) => return Ok(Self::of(context, image, raw)),
            Some(Err(code)) if !is_unfit(code) => {
                return Err(fail(format!("cuModuleLoadData: {}", name_of(code))));
            }
            Some(Err(code)) => format!("no machine code for this GPU ({})", name_of(code)),
            None => "built without a CUDA compiler".to_owned(),
        };
        let code = nvrtc::machine_code(image, context.info())
            .map_err(|problem| fail(format!("{reason}; {problem}")))?;
        let raw = load_code(&code).map_err(|code| {
            let refused = name_of(code);
            fail(format!(
                "{reason}; the driver refuses what NVRTC made: {refused}"
            ))
        })?;
        Ok(Self::of(context, image, raw))
    }

    fn of(context: &Arc<Context>, image: &KernelImage, raw: sys::CUmodule) -> Arc<Self> {
        Arc::new(Self {
            raw,
            name: image.name,
            context: Arc::clone(context),
        })
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
        allow_shared(raw, shared_bytes).map_err(|error| fail(format!("{name}: {error}")))?;
        Ok(Function {
            raw,
            name,
            module: Arc::clone(self),
            overlaps: false,
        })
    }
}

/// Raises what launches of a kernel may ask for; several users of one kernel ask for different amounts.
fn allow_shared(function: sys::CUfunction, bytes: usize) -> Result<(), DriverError> {
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let mut allowed = 0;
    // SAFETY: the function is alive; the number is written.
    let asked = unsafe { sys::cuFuncGetAttribute(&raw mut allowed, attribute, function) };
    check("cuFuncGetAttribute", asked)?;
    if usize::try_from(allowed).is_ok_and(|allowed| allowed >= bytes) {
        return Ok(());
    }
    // SAFETY: the function is alive.
    let set = unsafe { sys::cuFuncSetAttribute(function, attribute, bytes as i32) };
    check("cuFuncSetAttribute", set)
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ignored = self.context.synchronize();
        // SAFETY: loaded in `load`; nothing of it runs any more.
        let _ignored = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

/// Loads machine code into the current context.
fn load_code(code: &[u8]) -> Result<sys::CUmodule, sys::CUresult> {
    let mut raw = std::ptr::null_mut();
    // SAFETY: `code` is a fatbin or a cubin, which carry their own length; the handle is written on success.
    let loaded = unsafe { sys::cuModuleLoadData(&raw mut raw, code.as_ptr().cast()) };
    match loaded {
        sys::CUresult::CUDA_SUCCESS => Ok(raw),
        failed => Err(failed),
    }
}

/// Whether the code is sound, but for another GPU or a newer driver.
const fn is_unfit(code: sys::CUresult) -> bool {
    matches!(
        code,
        sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
            | sys::CUresult::CUDA_ERROR_INVALID_IMAGE
            | sys::CUresult::CUDA_ERROR_INVALID_PTX
            | sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | sys::CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
            | sys::CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED
    )
}

/// Architecture from which on kernels can wait for the launch before them.
const WAITING_CODE: i32 = 90;

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
    overlaps: bool,
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

    /// The same kernel, launched so that its beginning overlaps with the end of the launch before it where GPU
    /// and driver can do that. The kernel calls `begin_in_order` before it touches memory.
    #[must_use]
    pub fn overlapping(self) -> Self {
        // Code for older GPUs that the driver translated for a newer one does not wait.
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION;
        let mut version = 0;
        // SAFETY: the function is alive; the number is written.
        let asked = unsafe { sys::cuFuncGetAttribute(&raw mut version, attribute, self.raw) };
        let waits = asked == sys::CUresult::CUDA_SUCCESS && version >= WAITING_CODE;
        Self {
            overlaps: waits && self.module.context.info().overlaps_launches(),
            ..self
        }
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
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue {
                programmaticStreamSerializationAllowed: 1,
            },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared_bytes,
            hStream: stream.raw(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(self.overlaps),
        };
        let (arguments, extra) = (arguments.as_mut_ptr(), std::ptr::null_mut());
        // SAFETY: the handles and the attribute are alive, and the driver copies the parameter before it
        // returns; its layout is the caller's promise.
        let queued =
            unsafe { sys::cuLaunchKernelEx(&raw const config, self.raw, arguments, extra) };
        check(self.name, queued)
    }
}
