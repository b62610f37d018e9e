//! Compiled kernels on disk: a file is its checksum and the machine code. A file that does not fit its
//! checksum is as good as none, and a folder that cannot be written costs a compilation at each start.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

const MAGIC: &[u8; 16] = b"bevfusion-cubin1";
const HEAD: usize = MAGIC.len() + size_of::<u64>();

/// The folder, where there is one.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// `BEVFUSION_CACHE_DIR`, else `bevfusion` in `XDG_CACHE_HOME`, else in `~/.cache`.
    pub(super) fn from_environment() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty());
        let folder = path("BEVFUSION_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| path("XDG_CACHE_HOME").map(|home| Path::new(&home).join("bevfusion")))
            .or_else(|| path("HOME").map(|home| Path::new(&home).join(".cache/bevfusion")));
        Self { folder }
    }

    #[cfg(test)]
    pub(super) fn at(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
        }
    }

    /// What was kept under `name`, if it is whole.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.folder.as_ref()?.join(name)).ok()?;
        let (head, code) = bytes.split_at_checked(HEAD)?;
        (head == head_of(code)).then(|| code.to_vec())
    }

    /// Keeps `code` under `name`; readers see a whole file or none.
    pub(super) fn write(&self, name: &str, code: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let unfinished = folder.join(format!("{name}.{}", process::id()));
        let mut bytes = head_of(code);
        bytes.extend_from_slice(code);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&unfinished, bytes))
            .and_then(|()| fs::rename(&unfinished, folder.join(name)));
        if written.is_err() {
            let _ignored = fs::remove_file(unfinished);
        }
    }
}

fn head_of(code: &[u8]) -> Vec<u8> {
    let mut checksum = Fnv::default();
    checksum.add(code);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&checksum.0.to_le_bytes());
    head
}

/// FNV-1a, whose results are the same with every compiler: they are written to disk.
#[derive(Debug)]
pub(super) struct Fnv(pub(super) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a piece; where it ends counts too.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let length = (piece.len() as u64).to_le_bytes();
        for byte in length.iter().chain(piece) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Cache;

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().join("new/folder"));
        assert_eq!(cache.read("a.cubin"), None);
        cache.write("a.cubin", b"code");
        assert_eq!(cache.read("a.cubin").as_deref(), Some(&b"code"[..]));
        let files = fs::read_dir(folder.path().join("new/folder")).expect("the folder");
        assert_eq!(files.count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_truncated_or_foreign_file_is_as_good_as_none_and_is_rewritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().into());
        cache.write("a.cubin", b"code");
        let file = folder.path().join("a.cubin");
        let whole = fs::read(&file).expect("the file");
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).expect("writable");
            assert_eq!(cache.read("a.cubin"), None, "{length} bytes");
        }
        fs::write(&file, b"\x7fELF, but written by someone else").expect("writable");
        assert_eq!(cache.read("a.cubin"), None);
        cache.write("a.cubin", b"code");
        assert_eq!(cache.read("a.cubin").as_deref(), Some(&b"code"[..]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, b"").expect("writable");
        let cache = Cache::at(file.join("below a file"));
        cache.write("a.cubin", b"code");
        assert_eq!(cache.read("a.cubin"), None);
    }
}
