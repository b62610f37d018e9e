//! NVRTC compiles without a GPU: these run where `BEVFUSION_NVRTC` names a library, as in CI.

use std::{env, fs};

use super::cache::Cache;
use super::library::Nvrtc;
use super::{arch_of, file_name, kept_or_compiled, program};
use crate::driver::{KernelHeader, KernelImage};

const HEADERS: &[KernelHeader] = &[
    KernelHeader {
        name: "include/types.cuh",
        source: "#pragma once\nusing u32 = unsigned int;\n",
    },
    KernelHeader {
        name: "include/square.cuh",
        source: "#pragma once\n#include \"include/types.cuh\"\n\
                 __device__ inline u32 square(u32 x) { return x * x; }\n",
    },
];
const SQUARES: KernelImage = KernelImage {
    name: "squares",
    source: "#include \"include/types.cuh\"\n#include \"include/square.cuh\"\n\
             extern \"C\" __global__ void squares(u32* out) { out[threadIdx.x] = square(threadIdx.x); }\n",
    headers: HEADERS,
    fatbin: None,
};

/// Any version will do, since nothing is run.
fn library() -> Option<Nvrtc> {
    env::var_os("BEVFUSION_NVRTC")?;
    Some(Nvrtc::find(u32::MAX).expect("BEVFUSION_NVRTC names a library"))
}

fn assert_machine_code(code: &[u8], what: &str) {
    assert!(code.starts_with(b"\x7fELF"), "{what}: no machine code");
}

#[test]
fn hopper_has_its_own_instructions() {
    assert_eq!(arch_of((9, 0)), "sm_90a");
    assert_eq!(arch_of((8, 7)), "sm_87");
    assert_eq!(arch_of((12, 0)), "sm_120");
}

/// The oldest, the one of Orin, the one with letters and the newest; several at once.
#[test]
fn every_kernel_file_compiles_without_a_toolkit() {
    let Some(nvrtc) = library() else { return };
    std::thread::scope(|scope| {
        for arch in ["sm_80", "sm_87", "sm_90a", "sm_120"] {
            let nvrtc = &nvrtc;
            scope.spawn(move || {
                for image in crate::cuda::images() {
                    let code = program::compile(nvrtc, image, arch);
                    let code = code.unwrap_or_else(|problem| panic!("{}: {problem}", image.name));
                    assert_machine_code(&code, image.name);
                }
            });
        }
    });
}

#[test]
fn headers_come_from_memory_and_may_include_each_other() {
    let Some(nvrtc) = library() else { return };
    let code = program::compile(&nvrtc, &SQUARES, "sm_90a").expect("it compiles");
    assert_machine_code(&code, "squares");
}

#[test]
fn the_second_start_compiles_nothing_and_a_damaged_file_is_made_anew() {
    let Some(nvrtc) = library() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(folder.path().into());
    let code = kept_or_compiled(&nvrtc, &cache, &SQUARES, "sm_80").expect("it compiles");
    let file = folder.path().join(file_name(&nvrtc, &SQUARES, "sm_80"));
    let kept = fs::read(&file).expect("it is kept");
    let kept_code = || kept_or_compiled(&nvrtc, &cache, &SQUARES, "sm_80").expect("as before");
    cache.write(&file_name(&nvrtc, &SQUARES, "sm_80"), b"marked");
    assert_eq!(kept_code(), b"marked", "it was compiled again");
    fs::write(&file, &kept[..kept.len() / 2]).expect("writable");
    assert_eq!(kept_code(), code);
    assert_eq!(fs::read(&file).expect("made anew"), kept);
}

#[test]
fn other_sources_headers_and_gpus_have_other_files() {
    let Some(nvrtc) = library() else { return };
    let name = file_name(&nvrtc, &SQUARES, "sm_80");
    let other = |image: KernelImage, arch| assert_ne!(file_name(&nvrtc, &image, arch), name);
    other(SQUARES, "sm_86");
    let source = "// nothing";
    other(KernelImage { source, ..SQUARES }, "sm_80");
    let headers = &HEADERS[..1];
    other(KernelImage { headers, ..SQUARES }, "sm_80");
}

#[test]
fn a_source_that_does_not_compile_gives_the_compilers_words() {
    let Some(nvrtc) = library() else { return };
    let broken = KernelImage {
        source: "__global__ void broken() { no_such_name = 1; }",
        ..SQUARES
    };
    let problem = program::compile(&nvrtc, &broken, "sm_80").expect_err("it is broken");
    assert!(problem.contains("no_such_name"), "{problem}");
    let problem = program::compile(&nvrtc, &SQUARES, "sm_10").expect_err("no such GPU");
    assert!(problem.contains("sm_10"), "{problem}");
}
