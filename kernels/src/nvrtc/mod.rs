//! Kernels compiled where they run: for builds without a CUDA compiler, and for GPUs and drivers that the
//! embedded machine code does not fit.
//!
//! In: a kernel file with its headers, from memory. Out: machine code for exactly this GPU. NVRTC needs
//! neither toolkit nor GPU; what it makes is kept on disk.

mod cache;
mod library;
mod program;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use cache::{Cache, Fnv};
use library::Nvrtc;

use crate::driver::{DeviceInfo, KernelImage};

/// Machine code of `image` for the GPU described by `info`.
///
/// # Errors
/// What is missing, or what the compiler says.
pub(crate) fn machine_code(image: &KernelImage, info: &DeviceInfo) -> Result<Vec<u8>, String> {
    static NVRTC: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    let nvrtc = NVRTC.get_or_init(|| Nvrtc::find(info.driver_version / 1000));
    let nvrtc = nvrtc.as_ref().map_err(Clone::clone)?;
    let arch = arch_of(info.compute_capability);
    kept_or_compiled(nvrtc, &Cache::from_environment(), image, &arch)
}

fn kept_or_compiled(
    nvrtc: &Nvrtc,
    cache: &Cache,
    image: &KernelImage,
    arch: &str,
) -> Result<Vec<u8>, String> {
    let name = file_name(nvrtc, image, arch);
    if let Some(code) = cache.read(&name) {
        return Ok(code);
    }
    let code = program::compile(nvrtc, image, arch)?;
    cache.write(&name, &code);
    Ok(code)
}

/// 9.0 has instructions that only the architecture with the letter offers (wgmma).
fn arch_of((major, minor): (u32, u32)) -> String {
    let letter = if (major, minor) == (9, 0) { "a" } else { "" };
    format!("sm_{major}{minor}{letter}")
}

/// Differs when anything differs that decides the machine code.
fn file_name(nvrtc: &Nvrtc, image: &KernelImage, arch: &str) -> String {
    let (major, minor) = nvrtc.version();
    let mut hash = Fnv::default();
    hash.add(format!("{major}.{minor}").as_bytes());
    for option in program::options(arch) {
        hash.add(option.as_bytes());
    }
    for header in image.headers {
        hash.add(header.name.as_bytes());
        hash.add(header.source.as_bytes());
    }
    hash.add(image.source.as_bytes());
    format!("{}-{arch}-{:016x}.cubin", image.name, hash.0)
}
