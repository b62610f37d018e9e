//! The NVRTC library: found at run time, every entry point looked up before the first call.

use std::env;
use std::ffi::{CStr, OsString, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// Oldest CUDA whose NVRTC knows what the kernels use.
const OLDEST_MAJOR: u32 = 12;
const SUCCESS: c_int = 0;

pub(super) type Handle = *mut c_void;
type Texts = *const *const c_char;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int) -> *const c_char;

/// The library's entry points; answers are plain numbers, since a newer library knows more of them.
#[derive(Debug)]
pub(super) struct Nvrtc {
    pub(super) create: unsafe extern "C" fn(
        *mut Handle,
        *const c_char,
        *const c_char,
        c_int,
        Texts,
        Texts,
    ) -> c_int,
    pub(super) destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    pub(super) compile: unsafe extern "C" fn(Handle, c_int, Texts) -> c_int,
    pub(super) cubin_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    pub(super) cubin: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    pub(super) log_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    pub(super) log: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    error_string: ErrorString,
    version: (u32, u32),
    // What is above points into it.
    _library: Library,
    _builtins: Option<Library>,
}

impl Nvrtc {
    /// The newest library that a driver of CUDA `driver_major` takes machine code from: the file named by
    /// `BEVFUSION_NVRTC`, else what the loader finds.
    ///
    /// # Errors
    /// What was looked for, and the remedy.
    pub(super) fn find(driver_major: u32) -> Result<Self, String> {
        let names = match env::var_os("BEVFUSION_NVRTC").filter(|value| !value.is_empty()) {
            Some(file) => vec![file],
            None => candidates(driver_major),
        };
        Self::first_of(&names, driver_major)
    }

    pub(super) fn first_of(names: &[OsString], driver_major: u32) -> Result<Self, String> {
        let mut tried = Vec::new();
        for name in names {
            match Self::open(name) {
                Ok(library) if library.version.0 <= driver_major => return Ok(library),
                Ok(library) => tried.push(format!(
                    "{} is of CUDA {}, newer than the driver",
                    name.display(),
                    library.version.0
                )),
                Err(problem) => tried.push(format!("{}: {problem}", name.display())),
            }
        }
        Err(format!(
            "NVRTC, which would compile the kernels here, is not usable ({}). Install the NVRTC library of \
             CUDA 12 or 13 that fits the driver (for example `pip install nvidia-cuda-nvrtc-cu12`) and \
             name its file in BEVFUSION_NVRTC, or build bevfusion with nvcc in PATH",
            tried.join("; ")
        ))
    }

    fn open(name: &OsString) -> Result<Self, String> {
        // SAFETY: loading runs the initialisers of NVIDIA's library, which have no demands.
        let library = unsafe { Library::new(name) }.map_err(|error| error.to_string())?;
        let version: Version = symbol(&library, "nvrtcVersion")?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both numbers are written.
        let answered = unsafe { version(&raw mut major, &raw mut minor) };
        if answered != SUCCESS {
            return Err(format!("nvrtcVersion answers {answered}"));
        }
        let version = (major.unsigned_abs(), minor.unsigned_abs());
        Ok(Self {
            create: symbol(&library, "nvrtcCreateProgram")?,
            destroy: symbol(&library, "nvrtcDestroyProgram")?,
            compile: symbol(&library, "nvrtcCompileProgram")?,
            cubin_size: symbol(&library, "nvrtcGetCUBINSize")?,
            cubin: symbol(&library, "nvrtcGetCUBIN")?,
            log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
            log: symbol(&library, "nvrtcGetProgramLog")?,
            error_string: symbol(&library, "nvrtcGetErrorString")?,
            version,
            _library: library,
            _builtins: builtins(Path::new(name), version),
        })
    }

    /// Version of CUDA that the library belongs to.
    pub(super) const fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Turns an answer of the library into a result.
    pub(super) fn check(&self, call: &str, answer: c_int) -> Result<(), String> {
        if answer == SUCCESS {
            return Ok(());
        }
        // SAFETY: any number is allowed.
        let text = unsafe { (self.error_string)(answer) };
        if text.is_null() {
            return Err(format!("{call} answers {answer}"));
        }
        // SAFETY: not null, so it is one of the library's static zero-terminated strings.
        let text = unsafe { CStr::from_ptr(text) };
        Err(format!("{call}: {}", text.to_string_lossy()))
    }
}

/// The second half of the library, which it opens by name alone: found by that name once it is loaded, also
/// in a folder that the loader does not search.
fn builtins(library: &Path, (major, minor): (u32, u32)) -> Option<Library> {
    let folder = library.parent()?;
    let file = folder.join(format!("libnvrtc-builtins.so.{major}.{minor}"));
    // SAFETY: as for the library itself.
    unsafe { Library::new(file) }.ok()
}

/// Names for the loader, newest first.
fn candidates(driver_major: u32) -> Vec<OsString> {
    let versions = (OLDEST_MAJOR..=driver_major.max(OLDEST_MAJOR)).rev();
    let versioned = versions.map(|major| format!("libnvrtc.so.{major}").into());
    let others = [
        "libnvrtc.so".into(),
        "/usr/local/cuda/lib64/libnvrtc.so".into(),
    ];
    versioned.chain(others).collect()
}

/// An entry point. `T` is a function pointer type with the signature of NVIDIA's header.
fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: each use in this file asks for the type that nvrtc.h declares for the name.
    let found = unsafe { library.get::<T>(name) };
    found
        .map(|symbol| *symbol)
        .map_err(|error| format!("it has no {name} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::{Nvrtc, candidates};

    #[test]
    fn a_missing_library_is_named_with_the_remedy() {
        let names = ["libnvrtc-of-nowhere.so.12".into()];
        let problem = Nvrtc::first_of(&names, 12).expect_err("there is none");
        assert!(problem.contains("libnvrtc-of-nowhere.so.12"), "{problem}");
        assert!(problem.contains("BEVFUSION_NVRTC"), "{problem}");
        assert!(problem.contains("nvidia-cuda-nvrtc-cu12"), "{problem}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_is_not_nvrtc_is_an_error_and_no_crash() {
        let problem = Nvrtc::first_of(&["libc.so.6".into()], 12).expect_err("not NVRTC");
        assert!(problem.contains("nvrtcVersion"), "{problem}");
    }

    #[test]
    fn nothing_newer_than_the_driver_is_looked_for() {
        let names = |major| {
            let names = candidates(major).into_iter();
            names
                .map(|name| name.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(13)[..2], ["libnvrtc.so.13", "libnvrtc.so.12"]);
        assert!(!names(12).contains(&"libnvrtc.so.13".to_owned()));
    }
}
