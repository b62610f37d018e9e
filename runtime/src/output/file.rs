//! Files that appear under their name only when they are complete.
//!
//! The bytes go to a hidden neighbour of the target; [`AtomicFile::finish`] syncs it and renames it.
//! When writing stops early the neighbour is removed and an older target stays as it was.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::OutputError;

/// A file under construction.
#[derive(Debug)]
pub(super) struct AtomicFile {
    writer: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Opens the hidden neighbour of `target`; missing folders are made.
    pub(super) fn create(target: &Path) -> Result<Self, OutputError> {
        let failed = OutputError::write(target);
        let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        };
        let folder = target.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(&failed)?;
        }
        let temporary = folder.join(format!(
            ".{}.{}.partial",
            name.to_string_lossy(),
            std::process::id()
        ));
        let file = File::create(&temporary).map_err(&failed)?;
        Ok(Self {
            writer: BufWriter::new(file),
            temporary,
            target: target.to_path_buf(),
        })
    }

    /// Path of the finished file.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        self.writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.target))
            .map_err(OutputError::write(&self.target))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a successful rename there is nothing to remove, and a failure to remove a
        // leftover must not hide the error that caused it.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::AtomicFile;

    #[test]
    fn a_file_has_its_name_only_after_finish() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("new/deep/result.txt");
        let mut file = AtomicFile::create(&path).expect("create");
        file.write_all(b"whole").expect("write");
        assert!(!path.exists());
        file.finish().expect("finish");
        assert_eq!(fs::read(&path).expect("read"), b"whole");
    }

    #[test]
    fn an_abandoned_file_leaves_the_old_one_and_no_rest() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("result.txt");
        fs::write(&path, "old").expect("write");
        let mut file = AtomicFile::create(&path).expect("create");
        file.write_all(b"half").expect("write");
        drop(file);
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("taken");
        fs::write(&file, "").expect("write");
        let path = file.join("result.txt");
        let message = AtomicFile::create(&path).expect_err("refused").to_string();
        assert!(message.contains("taken/result.txt"), "{message}");
        assert!(message.contains("is a file, not a folder"), "{message}");
    }

    #[test]
    fn a_folder_in_place_of_a_file_asks_for_a_file_name() {
        let folder = tempfile::tempdir().expect("folder");
        let message = AtomicFile::create(folder.path())
            .expect_err("refused")
            .to_string();
        assert!(message.contains("add a file name"), "{message}");
    }
}
