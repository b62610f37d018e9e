//! A GPU and its primary context.

use std::sync::Arc;

use cudarc::driver::sys;

use super::counters::LiveCounters;
use super::error::{check, name_of};
use super::{Call, Counters, DriverError};

/// Oldest compute capability that the kernels are built for.
const LEAST_MAJOR: u32 = 8;
/// CUDA 12.0 as drivers count.
const LEAST_DRIVER: u32 = 12_000;

/// Facts of a GPU that launchers and reports need.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Product name.
    pub name: String,
    /// Compute capability.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// L2 cache (bytes).
    pub l2_bytes: usize,
    /// Shared memory that one block may have (bytes).
    pub shared_bytes_per_block: usize,
    /// Device memory (bytes).
    pub memory_bytes: usize,
    /// Highest clock of the multiprocessors (MHz).
    pub clock_mhz: f64,
    /// Highest clock of the memory (MHz).
    pub memory_clock_mhz: f64,
    /// Driver version as CUDA counts, for example 13000.
    pub driver_version: u32,
}

impl DeviceInfo {
    /// Whether a launch can begin before the one before it has ended, in captured graphs too: Hopper and
    /// later, with a driver of CUDA 12.3 or later.
    #[must_use]
    pub const fn overlaps_launches(&self) -> bool {
        self.compute_capability.0 >= 9 && self.driver_version >= 12_030
    }
}

/// The primary context of a GPU. Streams, memory and modules hold on to it.
#[derive(Debug)]
pub struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    info: DeviceInfo,
    counters: LiveCounters,
}

// SAFETY: a context handle may be used from any thread that has made it current; every entry point here
// makes it current first or needs none.
unsafe impl Send for Context {}
// SAFETY: as above; the driver's own state is behind its locks.
unsafe impl Sync for Context {}

impl Context {
    /// Opens GPU number `ordinal` and makes it current on this thread.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, or one that the kernels do not support.
    pub fn new(ordinal: u32) -> Result<Arc<Self>, DriverError> {
        // SAFETY: only looks for the library and loads it.
        if !unsafe { sys::is_culib_present() } {
            return Err(DriverError::NoDriver);
        }
        // SAFETY: initialisation takes no pointers and may be repeated.
        let started = unsafe { sys::cuInit(0) };
        if started != sys::CUresult::CUDA_SUCCESS {
            return Err(DriverError::NoDevice {
                code: name_of(started),
            });
        }
        check_version()?;
        let device = device(ordinal)?;
        let info = describe(device)?;
        let (major, minor) = info.compute_capability;
        if major < LEAST_MAJOR {
            let name = info.name;
            return Err(DriverError::Unsupported { name, major, minor });
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: `device` is valid; the handle is written on success.
        let retained = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut raw, device) };
        check("cuDevicePrimaryCtxRetain", retained)?;
        let context = Arc::new(Self {
            device,
            raw,
            info,
            counters: LiveCounters::default(),
        });
        context.bind()?;
        Ok(context)
    }

    /// Makes the context current on the calling thread; every thread that launches or copies needs that
    /// once.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn bind(&self) -> Result<(), DriverError> {
        // SAFETY: the handle is retained for as long as `self` lives.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    /// Facts of the GPU.
    #[must_use]
    pub const fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Calls made so far by everything that holds this context.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.read()
    }

    /// Free device memory (bytes).
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn free_memory(&self) -> Result<usize, DriverError> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both numbers are written.
        let asked = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        check("cuMemGetInfo", asked)?;
        Ok(free)
    }

    /// Waits for everything on the GPU.
    ///
    /// # Errors
    /// When earlier work failed.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        self.bind()?;
        self.count(Call::BlockingSync);
        // SAFETY: the context is current.
        check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
    }

    pub(crate) fn count(&self, call: Call) {
        self.counters.add(call);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`; all that came from the context held it alive until now.
        let _ignored = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// An older driver lacks entry points that are called later.
fn check_version() -> Result<(), DriverError> {
    let found = driver_version()?;
    if found < LEAST_DRIVER {
        return Err(DriverError::OldDriver {
            major: found / 1000,
            minor: found % 1000 / 10,
        });
    }
    Ok(())
}

fn driver_version() -> Result<u32, DriverError> {
    let mut version = 0;
    // SAFETY: the number is written.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    check("cuDriverGetVersion", asked)?;
    Ok(version.unsigned_abs())
}

fn device(ordinal: u32) -> Result<sys::CUdevice, DriverError> {
    let mut count = 0;
    // SAFETY: the number is written.
    check("cuDeviceGetCount", unsafe {
        sys::cuDeviceGetCount(&raw mut count)
    })?;
    let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
    if ordinal >= count {
        let code = format!("GPU {ordinal} was asked for, there are {count}");
        return Err(DriverError::NoDevice { code });
    }
    let mut device = 0;
    // SAFETY: `ordinal` is below the count; the handle is written.
    check("cuDeviceGet", unsafe {
        sys::cuDeviceGet(&raw mut device, ordinal)
    })?;
    Ok(device)
}

fn describe(device: sys::CUdevice) -> Result<DeviceInfo, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let read = |attribute| attribute_of(device, attribute);
    let major = read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let shared = read(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    let mut memory_bytes = 0;
    // SAFETY: the number is written.
    let asked = unsafe { sys::cuDeviceTotalMem_v2(&raw mut memory_bytes, device) };
    check("cuDeviceTotalMem", asked)?;
    let kilohertz = |attribute| read(attribute).map(|clock| f64::from(clock) * 1e-3);
    Ok(DeviceInfo {
        clock_mhz: kilohertz(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
        memory_clock_mhz: kilohertz(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?,
        name: device_name(device)?,
        compute_capability: (major, minor),
        multiprocessors: read(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        l2_bytes: read(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
        shared_bytes_per_block: shared as usize,
        memory_bytes,
        driver_version: driver_version()?,
    })
}

fn attribute_of(
    device: sys::CUdevice,
    attribute: sys::CUdevice_attribute,
) -> Result<u32, DriverError> {
    let mut value = 0;
    // SAFETY: the number is written.
    let asked = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) };
    check("cuDeviceGetAttribute", asked)?;
    Ok(value.unsigned_abs())
}

fn device_name(device: sys::CUdevice) -> Result<String, DriverError> {
    let mut text = [0_u8; 128];
    let length = text.len() as i32;
    // SAFETY: at most `length` bytes are written, zero-terminated.
    let asked = unsafe { sys::cuDeviceGetName(text.as_mut_ptr().cast(), length, device) };
    check("cuDeviceGetName", asked)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}
