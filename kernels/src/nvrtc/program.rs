//! One compilation: source and headers from memory in, machine code for one kind of GPU out.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use super::library::{Handle, Nvrtc};
use crate::driver::KernelImage;

/// Options for `arch`, for example `sm_90a`; as in the build script, no fast-math.
pub(super) fn options(arch: &str) -> [String; 3] {
    [
        format!("--gpu-architecture={arch}"),
        "--std=c++17".to_owned(),
        "--generate-line-info".to_owned(),
    ]
}

/// Compiles `image` for `arch`.
///
/// # Errors
/// The compiler's words.
pub(super) fn compile(nvrtc: &Nvrtc, image: &KernelImage, arch: &str) -> Result<Vec<u8>, String> {
    let program = Program::new(nvrtc, image)?;
    let options = c_strings(options(arch))?;
    let pointers: Vec<*const c_char> = options.iter().map(|text| text.as_ptr()).collect();
    let count = pointers.len() as c_int;
    // SAFETY: the program is alive, and `count` zero-terminated strings outlive the call.
    let compiled = unsafe { (nvrtc.compile)(program.handle, count, pointers.as_ptr()) };
    if let Err(problem) = nvrtc.check("nvrtcCompileProgram", compiled) {
        let (major, minor) = nvrtc.version();
        let log = program.log().unwrap_or_default();
        return Err(format!(
            "NVRTC {major}.{minor} for {arch}: {problem}\n{log}"
        ));
    }
    program.machine_code()
}

struct Program<'a> {
    nvrtc: &'a Nvrtc,
    handle: Handle,
}

impl<'a> Program<'a> {
    fn new(nvrtc: &'a Nvrtc, image: &KernelImage) -> Result<Self, String> {
        let name = c_string(format!("{}.cu", image.name))?;
        let source = c_string(image.source)?;
        let names = c_strings(image.headers.iter().map(|header| header.name))?;
        let texts = c_strings(image.headers.iter().map(|header| header.source))?;
        let names: Vec<*const c_char> = names.iter().map(|text| text.as_ptr()).collect();
        let texts: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut handle = ptr::null_mut();
        // SAFETY: all strings are zero-terminated and alive, both arrays have the given length, and the
        // library copies them; the handle is written on success.
        let created = unsafe {
            (nvrtc.create)(
                &raw mut handle,
                source.as_ptr(),
                name.as_ptr(),
                names.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        nvrtc.check("nvrtcCreateProgram", created)?;
        Ok(Self { nvrtc, handle })
    }

    fn machine_code(&self) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program is alive; the number is written.
        let asked = unsafe { (self.nvrtc.cubin_size)(self.handle, &raw mut size) };
        self.nvrtc.check("nvrtcGetCUBINSize", asked)?;
        let mut code = vec![0_u8; size];
        // SAFETY: the buffer has the size that the library gave.
        let written = unsafe { (self.nvrtc.cubin)(self.handle, code.as_mut_ptr().cast()) };
        self.nvrtc.check("nvrtcGetCUBIN", written)?;
        Ok(code)
    }

    fn log(&self) -> Result<String, String> {
        let mut size = 0;
        // SAFETY: the program is alive; the number is written.
        let asked = unsafe { (self.nvrtc.log_size)(self.handle, &raw mut size) };
        self.nvrtc.check("nvrtcGetProgramLogSize", asked)?;
        let mut text = vec![0_u8; size];
        // SAFETY: the buffer has the size that the library gave.
        let written = unsafe { (self.nvrtc.log)(self.handle, text.as_mut_ptr().cast()) };
        self.nvrtc.check("nvrtcGetProgramLog", written)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.trim_end_matches('\0').to_owned())
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: created in `new` and destroyed once.
        let _ignored = unsafe { (self.nvrtc.destroy)(&raw mut self.handle) };
    }
}

fn c_string(text: impl Into<Vec<u8>>) -> Result<CString, String> {
    CString::new(text).map_err(|error| format!("a source has a zero byte: {error}"))
}

fn c_strings<T: Into<Vec<u8>>>(texts: impl IntoIterator<Item = T>) -> Result<Vec<CString>, String> {
    texts.into_iter().map(c_string).collect()
}
