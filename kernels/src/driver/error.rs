//! What can go wrong with the driver, in words.

use std::ffi::CStr;

use cudarc::driver::sys;

/// A failure of the driver or of what it was asked to load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// There is no driver library.
    #[error(
        "no CUDA driver: libcuda.so.1 is not among the libraries of this machine; install the NVIDIA \
         driver (525 or newer), or choose the CPU engine (`--engine cpu`)"
    )]
    NoDriver,
    /// The driver sees no GPU.
    #[error(
        "the CUDA driver finds no GPU ({code}); check `nvidia-smi`, or choose the CPU engine \
         (`--engine cpu`)"
    )]
    NoDevice {
        /// The driver's name of the condition.
        code: String,
    },
    /// A driver older than the entry points that are called.
    #[error(
        "the NVIDIA driver is made for CUDA {major}.{minor}; 12.0 or newer is needed: install driver 525 \
         or newer, or choose the CPU engine (`--engine cpu`)"
    )]
    OldDriver {
        /// CUDA version of the driver, first part.
        major: u32,
        /// CUDA version of the driver, second part.
        minor: u32,
    },
    /// A GPU older than the kernels support.
    #[error(
        "GPU {name} has compute capability {major}.{minor}; 8.0 or newer is needed. Choose the CPU \
         engine (`--engine cpu`)"
    )]
    Unsupported {
        /// Name of the GPU.
        name: String,
        /// Compute capability, first part.
        major: u32,
        /// Compute capability, second part.
        minor: u32,
    },
    /// A call failed.
    #[error("{call} failed: {code} ({text})")]
    Call {
        /// Entry point of the driver.
        call: &'static str,
        /// The driver's name of the error.
        code: String,
        /// The driver's words.
        text: String,
    },
    /// A kernel file cannot be made ready for this GPU.
    #[error("kernels {module:?} cannot be loaded: {problem}")]
    Module {
        /// Stem of the `.cu` file.
        module: &'static str,
        /// Why, and what to do.
        problem: String,
    },
    /// Memory was asked of a sealed arena.
    #[error(
        "the device arena is sealed: {bytes} bytes for {name:?} were asked for after the build"
    )]
    Sealed {
        /// What the memory was for.
        name: String,
        /// How much.
        bytes: usize,
    },
    /// A launcher was given buffers or extents that do not belong together.
    #[error("{kernel}: {problem}")]
    Arguments {
        /// Which launcher.
        kernel: &'static str,
        /// What does not fit.
        problem: String,
    },
}

/// Turns a driver's answer into a result.
pub(crate) fn check(call: &'static str, result: sys::CUresult) -> Result<(), DriverError> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        failed => Err(DriverError::Call {
            call,
            code: name_of(failed),
            text: text_of(failed),
        }),
    }
}

pub(crate) fn name_of(result: sys::CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: the driver writes a pointer to a static string, or leaves it null, for any code.
    let _unknown = unsafe { sys::cuGetErrorName(result, &raw mut text) };
    static_text(text).unwrap_or_else(|| format!("{result:?}"))
}

fn text_of(result: sys::CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: as in `name_of`.
    let _unknown = unsafe { sys::cuGetErrorString(result, &raw mut text) };
    static_text(text).unwrap_or_else(|| "no description".to_owned())
}

fn static_text(text: *const std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so it is one of the driver's zero-terminated static strings.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
