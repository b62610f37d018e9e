//! Compiles the `.cu` files for all supported GPUs where a CUDA compiler is found, and embeds sources and
//! machine code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let root =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src/cuda");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=src/cuda");
    println!("cargo::rerun-if-env-changed=BEVFUSION_NVCC");
    println!("cargo::rerun-if-env-changed=BEVFUSION_CUDA_ARCHS");
    let nvcc = env::var("BEVFUSION_NVCC").ok();
    let archs =
        env::var("BEVFUSION_CUDA_ARCHS").unwrap_or_else(|_| "80 86 87 89 90a 100 110 120".into());
    let mut text = String::from("use crate::driver::KernelImage;\n");
    let mut files: Vec<PathBuf> = fs::read_dir(&root)
        .expect("src/cuda")
        .map(|e| e.expect("entry").path())
        .collect();
    files.sort();
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "cu"))
    {
        let stem = file
            .file_stem()
            .expect("a stem")
            .to_string_lossy()
            .into_owned();
        let fatbin = nvcc
            .as_ref()
            .map(|nvcc| compile(nvcc, &archs, file, &out, &stem));
        let fatbin = fatbin.map_or("None".to_owned(), |f| {
            format!("Some(include_bytes!({f:?}))")
        });
        text += &format!(
            "pub(super) static {}: KernelImage = KernelImage {{ name: {stem:?}, source: include_str!({file:?}), fatbin: {fatbin} }};\n",
            stem.to_uppercase()
        );
    }
    fs::write(out.join("images.rs"), text).expect("OUT_DIR is writable");
}

fn compile(nvcc: &str, archs: &str, file: &Path, out: &Path, stem: &str) -> PathBuf {
    let target = out.join(format!("{stem}.fatbin"));
    let mut command = Command::new(nvcc);
    command
        .args([
            "-O3",
            "-std=c++17",
            "--fatbin",
            "-t",
            "0",
            "-lineinfo",
            "-o",
        ])
        .arg(&target)
        .arg(file);
    for arch in archs.split_whitespace() {
        command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
    }
    let status = command.status().expect("nvcc runs");
    assert!(status.success(), "nvcc failed on {}", file.display());
    target
}
