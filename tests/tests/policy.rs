//! The rules of the repository that no compiler checks: which member may depend on which, how long
//! a file may be, and what every file, crate and dependency must say about itself.

#[cfg(test)]
mod repository {
    use std::fs;
    use std::path::{Path, PathBuf};

    use cargo_metadata::{Metadata, MetadataCommand, Package};

    /// A source file longer than this holds more than one idea.
    const LONGEST_FILE: usize = 600;
    const SOURCES: [&str; 9] = ["rs", "cu", "cuh", "hpp", "cpp", "c", "h", "py", "sh"];
    /// Generated, and reviewed as a diff of the ABI rather than read.
    const GENERATED: &str = "/bevfusion.h";

    /// Each member and the members that it may depend on.
    const ARROWS: [(&str, &[&str]); 6] = [
        ("bevfusion-kernels", &[]),
        ("bevfusion", &["bevfusion-kernels"]),
        ("bevfusion-capi", &["bevfusion"]),
        ("bevfusion-training", &["bevfusion-kernels", "bevfusion"]),
        ("bevfusion-benches", &["bevfusion-kernels", "bevfusion"]),
        (
            "bevfusion-tests",
            &["bevfusion-kernels", "bevfusion", "bevfusion-training"],
        ),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace is around this member")
            .into()
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn metadata() -> Metadata {
        MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec()
            .expect("cargo metadata")
    }

    fn direct(package: &Package) -> impl Iterator<Item = &str> {
        package.dependencies.iter().map(|one| one.name.as_str())
    }

    /// Every file of the tree but build outputs and hidden folders.
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).expect("a readable folder");
        for entry in entries.map(|entry| entry.expect("a readable entry")) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("a file type");
            if name.starts_with('.') || kind.is_symlink() {
                continue;
            }
            match (kind.is_dir(), name.as_str()) {
                (true, "target" | "shared" | "carry" | "out") => {}
                (true, _) => files(&path, found),
                (false, _) => found.push(path),
            }
        }
    }

    /// Path from the root, text.
    fn sources(extensions: &[&str]) -> Vec<(String, String)> {
        let root = root();
        let mut found = Vec::new();
        files(&root, &mut found);
        found.sort();
        let wanted = found.into_iter().filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|extension| extensions.contains(&extension))
        });
        let sources: Vec<_> = wanted
            .map(|path| {
                let name = path.strip_prefix(&root).expect("inside the root");
                (name.display().to_string(), read(&path))
            })
            .collect();
        assert!(
            !sources.is_empty(),
            "no source found under {}",
            root.display()
        );
        sources
    }

    #[test]
    fn members_depend_along_the_arrows_only() {
        let metadata = metadata();
        let mut members: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
        members.sort_unstable();
        let mut known = ARROWS.map(|(name, _)| name);
        known.sort_unstable();
        assert_eq!(members, known, "a member has no arrows in this test");
        for (name, allowed) in ARROWS {
            let package = metadata.packages.iter().find(|p| p.name.as_str() == name);
            for dependency in direct(package.expect("compared above")) {
                let inside = known.contains(&dependency);
                assert!(
                    !inside || allowed.contains(&dependency),
                    "{name} depends on {dependency}; ARCHITECTURE.md allows {allowed:?}"
                );
            }
        }
    }

    #[test]
    fn kernels_know_neither_files_nor_logs() {
        let metadata = metadata();
        let kernels = metadata.packages.iter();
        let kernels = kernels.filter(|p| p.name.as_str() == "bevfusion-kernels");
        for dependency in kernels.flat_map(direct) {
            let forbidden = ["serde", "tracing", "log", "toml"];
            let family = dependency.split(['_', '-']).next().unwrap_or_default();
            assert!(
                !forbidden.contains(&family),
                "kernels depends on {dependency}"
            );
        }
    }

    #[test]
    fn members_take_every_dependency_from_the_one_table() {
        for (name, _) in ARROWS {
            let folder = name.strip_prefix("bevfusion-").unwrap_or("runtime");
            let path = root().join(folder).join("Cargo.toml");
            let mut inside = false;
            for line in read(&path).lines() {
                if line.starts_with('[') {
                    inside = line.ends_with("dependencies]");
                } else if inside && line.contains('=') {
                    assert!(
                        line.contains("workspace = true"),
                        "{}: `{line}` is not from the workspace table",
                        path.display()
                    );
                }
            }
        }
    }

    #[test]
    fn every_dependency_says_why_it_is_there() {
        let manifest = read(&root().join("Cargo.toml"));
        let table = manifest.split("[workspace.dependencies]").nth(1);
        let lines = table.expect("a dependency table").lines().skip(1);
        let mut reason = false;
        let mut seen = 0;
        for line in lines.take_while(|line| !line.starts_with('[')) {
            if line.starts_with('#') {
                reason = true;
            } else if line.trim().is_empty() {
                reason = false;
            } else if !line.contains("path = ") {
                assert!(reason, "Cargo.toml: no comment above `{line}`");
                seen += 1;
            }
        }
        assert!(seen > 0, "no dependency was looked at");
    }

    #[test]
    fn no_source_file_is_longer_than_six_hundred_lines() {
        for (name, text) in sources(&SOURCES) {
            let lines = text.lines().count();
            assert!(
                lines <= LONGEST_FILE || name.ends_with(GENERATED),
                "{name} has {lines} lines; split it by idea"
            );
        }
    }

    #[test]
    fn every_kernel_file_has_a_launcher() {
        let folder = root().join("kernels/src/cuda");
        for entry in fs::read_dir(&folder).expect("kernels/src/cuda") {
            let path = entry.expect("a readable entry").path();
            if path.extension().is_some_and(|extension| extension == "cu") {
                let launcher = path.with_extension("rs");
                assert!(launcher.exists(), "there is no {}", launcher.display());
            }
        }
    }

    /// NVRTC is given our headers by the name in the include line, and no others.
    #[test]
    fn kernels_include_our_headers_only_and_by_one_name() {
        let folder = root().join("kernels/src/cuda");
        for (name, text) in sources(&["cu", "cuh"]) {
            let inside = name.starts_with("kernels/src/cuda/");
            let includes = text.lines().filter(|_| inside).map(str::trim);
            for line in includes.filter(|line| line.starts_with("#include")) {
                let header = line.split('"').nth(1).unwrap_or_default();
                let ours = header.starts_with("include/") && header.ends_with(".cuh");
                assert!(
                    ours && folder.join(header).exists(),
                    "{name}: `{line}` is not \"include/NAME.cuh\" of kernels/src/cuda"
                );
            }
        }
    }

    #[test]
    fn members_without_device_code_forbid_unsafe() {
        for member in ["runtime", "training", "benches", "tests"] {
            let path = root().join(member).join("src/lib.rs");
            assert!(
                read(&path).contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                path.display()
            );
        }
    }

    #[test]
    fn every_rust_file_says_what_it_is() {
        for (name, text) in sources(&["rs"]) {
            let mut lines = text.lines().map(str::trim);
            let first = lines.find(|line| !line.is_empty() && !line.starts_with("#!["));
            assert!(
                first.is_some_and(|line| line.starts_with("//!")),
                "{name} does not start with module docs"
            );
        }
    }

    #[test]
    fn nothing_is_left_to_be_done() {
        let marks = ["todo", "unimplemented"].map(|word| format!("{word}!("));
        for (name, text) in sources(&["rs"]) {
            for mark in &marks {
                assert!(!text.contains(mark.as_str()), "{name} has a `{mark}`");
            }
        }
    }

    /// Words in backticks that look like a path of this repository.
    fn named_paths(text: &str) -> Vec<&str> {
        let quoted = text.split('`').skip(1).step_by(2);
        let mut paths: Vec<&str> = quoted
            .filter(|word| word.contains('/') && !word.contains([' ', '\n', '*', ':']))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    #[test]
    fn every_path_that_architecture_names_exists() {
        let text = read(&root().join("ARCHITECTURE.md"));
        let paths = named_paths(&text);
        assert!(paths.len() > 10, "found only {paths:?}");
        for path in paths {
            assert!(
                root().join(path).exists(),
                "ARCHITECTURE.md names {path}, which does not exist"
            );
        }
    }

    #[test]
    fn architecture_names_every_module_of_the_runtime() {
        let text = read(&root().join("ARCHITECTURE.md"));
        let library = read(&root().join("runtime/src/lib.rs"));
        for line in library.lines() {
            let module = line.strip_prefix("pub mod ");
            let Some(module) = module.and_then(|m| m.strip_suffix(';')) else {
                continue;
            };
            let path = format!("`runtime/src/{module}`");
            assert!(text.contains(&path), "ARCHITECTURE.md does not name {path}");
        }
    }

    #[test]
    fn every_decision_is_listed_and_every_link_leads_somewhere() {
        let folder = root().join("docs/adr");
        let list = read(&folder.join("README.md"));
        let entries = fs::read_dir(&folder).expect("docs/adr");
        for entry in entries.map(|entry| entry.expect("a readable entry")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                name == "README.md" || list.contains(&format!("({name})")),
                "docs/adr/README.md does not list {name}"
            );
        }
        for link in list
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            assert!(folder.join(link).exists(), "docs/adr/README.md: no {link}");
        }
    }

    #[test]
    fn the_licence_is_the_one_that_the_manifest_names() {
        let manifest = read(&root().join("Cargo.toml"));
        assert!(manifest.contains("license = \"Apache-2.0\""));
        let licence = read(&root().join("LICENSE"));
        assert!(licence.contains("Apache License") && licence.contains("Version 2.0"));
    }
}
