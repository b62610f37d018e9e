//! The CUDA compiler: where it is, which GPUs it knows, how it is called.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::failure::Failure;

/// GPUs with machine code of their own. Machine code runs on later minor versions of its generation. 9.0 is
/// there with its own instructions (wgmma) only: every 9.0 GPU has them, and of two images the driver would
/// choose.
const MACHINE_CODE: [&str; 8] = ["80", "86", "87", "89", "90a", "100", "110", "120"];
/// Intermediate code, which the driver compiles for GPUs that are not listed.
const INTERMEDIATE: [&str; 2] = ["80", "90"];
/// Kernels are held against references: no fast-math. Compressed, a file takes a quarter; drivers of CUDA 12
/// read this form, not every later one.
const FLAGS: [&str; 7] = [
    "--fatbin",
    "-O3",
    "-std=c++17",
    "-lineinfo",
    "-Isrc/cuda",
    "-Xfatbin",
    "-compress-all",
];
const VARIABLES: [&str; 5] = [
    "BEVFUSION_NVCC",
    "BEVFUSION_CUDA_ARCHS",
    "CUDA_HOME",
    "CUDA_PATH",
    "NVCC_CCBIN",
];

/// A compiler that answers.
pub(crate) struct Nvcc {
    program: PathBuf,
    version: String,
    targets: Vec<String>,
}

impl Nvcc {
    /// `BEVFUSION_NVCC`, else that of `CUDA_HOME` or `CUDA_PATH`, else that of `PATH`, else none.
    /// `BEVFUSION_NVCC=none` builds without one.
    pub(crate) fn find() -> Result<Option<Self>, Failure> {
        for variable in VARIABLES {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let asked = env::var_os("BEVFUSION_NVCC").filter(|value| !value.is_empty());
        let program = match asked {
            Some(value) if value == "none" => return Ok(None),
            Some(value) => PathBuf::from(value),
            None => match installed() {
                Some(program) => program,
                None => return Ok(None),
            },
        };
        let version = answer(&program, "--version")?;
        let known = answer(&program, "--list-gpu-arch")?;
        let known: Vec<&str> = known
            .lines()
            .filter_map(|line| line.trim().strip_prefix("compute_"))
            .collect();
        let targets = match env::var("BEVFUSION_CUDA_ARCHS") {
            Ok(list) if !list.trim().is_empty() => chosen(&list, &known, &program)?,
            _ => all(&known),
        };
        Ok(Some(Self {
            program,
            version,
            targets,
        }))
    }

    /// What, besides the sources, decides the machine code.
    pub(crate) fn identity(&self) -> String {
        let ccbin = env::var("NVCC_CCBIN").unwrap_or_default();
        [
            self.version.as_str(),
            &FLAGS.join(" "),
            &self.targets.join(" "),
            &ccbin,
        ]
        .join("\n")
    }

    /// Compiles `source` for all targets into `object` and returns the compiler's remarks.
    pub(crate) fn compile(&self, source: &Path, object: &Path) -> Result<String, Failure> {
        let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok());
        let threads: usize = threads.map_or(2, |jobs: usize| (jobs / 2).max(2));
        let mut command = Command::new(&self.program);
        command
            .args(FLAGS)
            .args(&self.targets)
            .args(["-t", &threads.to_string(), "-o"]);
        let done = command
            .arg(object)
            .arg(source)
            .output()
            .map_err(|error| self.unusable(&error.to_string()))?;
        let remarks = text_of(&done);
        if done.status.success() {
            return Ok(remarks);
        }
        Err(Failure(format!(
            "{} does not compile with {}:\n{remarks}",
            source.display(),
            self.program.display()
        )))
    }

    fn unusable(&self, problem: &str) -> Failure {
        unusable(&self.program, problem)
    }
}

fn installed() -> Option<PathBuf> {
    let name = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let toolkits = ["CUDA_HOME", "CUDA_PATH"];
    let toolkits = toolkits.iter().filter_map(env::var_os);
    let toolkits = toolkits.map(|root| Path::new(&root).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = env::split_paths(OsStr::new(&path)).collect();
    let mut programs = toolkits.chain(path).map(|folder| folder.join(&name));
    programs.find(|program| program.is_file())
}

fn answer(program: &Path, question: &str) -> Result<String, Failure> {
    let done = Command::new(program)
        .arg(question)
        .output()
        .map_err(|error| unusable(program, &error.to_string()))?;
    if !done.status.success() {
        return Err(unusable(
            program,
            &format!("{question}: {}", text_of(&done)),
        ));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn unusable(program: &Path, problem: &str) -> Failure {
    Failure(format!(
        "the CUDA compiler {} cannot be used: {problem}; set BEVFUSION_NVCC to another, or to `none` to \
         build without machine code",
        program.display()
    ))
}

fn text_of(done: &Output) -> String {
    let out = String::from_utf8_lossy(&done.stdout);
    let err = String::from_utf8_lossy(&done.stderr);
    format!("{out}{err}").trim().to_owned()
}

/// Everything that this compiler knows.
fn all(known: &[&str]) -> Vec<String> {
    let machine = MACHINE_CODE.iter().filter(|arch| knows(known, arch));
    let intermediate = INTERMEDIATE.iter().filter(|arch| knows(known, arch));
    let machine = machine.map(|arch| machine_code(arch));
    let intermediate =
        intermediate.map(|arch| format!("-gencode=arch=compute_{arch},code=compute_{arch}"));
    machine.chain(intermediate).collect()
}

/// Only these, for quick builds.
fn chosen(list: &str, known: &[&str], program: &Path) -> Result<Vec<String>, Failure> {
    let mut targets = Vec::new();
    for arch in list.split_whitespace() {
        if !knows(known, arch) {
            return Err(Failure(format!(
                "BEVFUSION_CUDA_ARCHS names {arch:?}, which {} does not know; it knows {}",
                program.display(),
                known.join(" ")
            )));
        }
        targets.push(machine_code(arch));
    }
    Ok(targets)
}

fn machine_code(arch: &str) -> String {
    format!("-gencode=arch=compute_{arch},code=sm_{arch}")
}

/// The compiler lists architectures without the letter.
fn knows(known: &[&str], arch: &str) -> bool {
    known.contains(&arch.trim_end_matches(['a', 'f']))
}
