//! Machine code of each kernel file, compiled again only when something that decides it has changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::failure::Failure;
use crate::nvcc::Nvcc;

/// Files compiled at once; the compiler itself takes several targets at once.
const WORKERS: usize = 2;
const EXTENSION: &str = "fatbin";

/// Compiles `kernels`; the answer has a file for each of them, in order.
pub(crate) fn compile(
    nvcc: &Nvcc,
    kernels: &[PathBuf],
    headers: &[PathBuf],
    out: &Path,
) -> Result<Vec<Option<PathBuf>>, Failure> {
    let mut shared = DefaultHasher::new();
    nvcc.identity().hash(&mut shared);
    for header in headers {
        header.hash(&mut shared);
        fs::read(header)?.hash(&mut shared);
    }
    let mut objects = Vec::new();
    for kernel in kernels {
        let mut state = shared.clone();
        fs::read(kernel)?.hash(&mut state);
        let stem = kernel.file_stem().unwrap_or_default().to_string_lossy();
        objects.push(out.join(format!("{stem}-{:016x}.{EXTENSION}", state.finish())));
    }
    remove_all_but(&objects, out)?;
    let missing: Vec<(&PathBuf, &PathBuf)> = kernels
        .iter()
        .zip(&objects)
        .filter(|(_, object)| !object.exists())
        .collect();
    compile_missing(nvcc, &missing)?;
    Ok(objects.into_iter().map(Some).collect())
}

fn compile_missing(nvcc: &Nvcc, missing: &[(&PathBuf, &PathBuf)]) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((kernel, object)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let compiled = compile_one(nvcc, kernel, object);
            if let (Err(Failure(text)), Ok(mut failures)) = (compiled, failures.lock()) {
                failures.push(text);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(missing.len()) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure(failures.join("\n\n")))
    }
}

/// The object appears under its name only when it is whole.
fn compile_one(nvcc: &Nvcc, kernel: &Path, object: &Path) -> Result<(), Failure> {
    let unfinished = object.with_extension("unfinished");
    for line in nvcc.compile(kernel, &unfinished)?.lines() {
        println!("cargo::warning={line}");
    }
    fs::rename(&unfinished, object)?;
    Ok(())
}

/// Objects of earlier sources would pile up.
fn remove_all_but(objects: &[PathBuf], out: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) && !objects.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
