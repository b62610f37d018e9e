//! Embeds the kernels: sources always, machine code for all supported GPUs where a CUDA compiler is found.
//!
//! In: `src/cuda/*.cu` and the headers of `src/cuda/include`. Out: `images.rs` in `OUT_DIR`, one static per
//! file. `docs/kernels.md` has the environment variables.

mod failure;
mod images;
mod nvcc;
mod objects;

use std::path::{Path, PathBuf};
use std::{env, fs};

use failure::Failure;
use nvcc::Nvcc;

/// Where the sources are, from the package's folder, in which a build script is run.
const SOURCES: &str = "src/cuda";
const HEADERS: &str = "src/cuda/include";

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed={SOURCES}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let kernels = files(SOURCES, "cu")?;
    let headers = files(HEADERS, "cuh")?;
    let objects = match Nvcc::find()? {
        Some(nvcc) => objects::compile(&nvcc, &kernels, &headers, &out)?,
        None => vec![None; kernels.len()],
    };
    let text = images::render(&kernels, &headers, &objects)?;
    fs::write(out.join("images.rs"), text)?;
    Ok(())
}

/// Files of a folder with this extension, sorted.
fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
