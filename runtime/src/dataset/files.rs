//! Point files and images from disk, by their extension.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::DatasetError;
use crate::input::{PointCloud, RgbImage, decode_image, parse_pcd, parse_points};

/// Reads a file; `referrer` says who names it.
pub(super) fn read(
    path: &Path,
    referrer: impl FnOnce() -> String,
) -> Result<Vec<u8>, DatasetError> {
    fs::read(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => DatasetError::FileMissing {
            path: path.into(),
            referrer: referrer(),
        },
        _ => DatasetError::Io {
            path: path.into(),
            source,
        },
    })
}

/// Reads a cloud: `.bin` (and `.pcd.bin`) with `columns` float32 values per point, or `.pcd`, which
/// gives four columns (x, y, z, intensity) whatever `columns` says.
///
/// # Errors
/// When the file is absent, has another extension or does not hold whole points.
pub fn read_points(path: &Path, columns: usize) -> Result<PointCloud, DatasetError> {
    named_points(path, columns, || "the command".into())
}

/// [`read_points`] for a file that a table names.
pub(super) fn named_points(
    path: &Path,
    columns: usize,
    referrer: impl FnOnce() -> String,
) -> Result<PointCloud, DatasetError> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let extension = extension.unwrap_or_default();
    if extension != "bin" && extension != "pcd" {
        return Err(DatasetError::Extension {
            path: path.into(),
            found: extension,
            expected: ".bin or .pcd.bin (float32 columns), or .pcd",
        });
    }
    let bytes = read(path, referrer)?;
    let parsed = match extension.as_str() {
        "pcd" => parse_pcd(&bytes),
        _ => parse_points(&bytes, columns),
    };
    parsed.map_err(|source| DatasetError::Points {
        path: path.into(),
        source,
    })
}

/// Reads a JPEG or PNG image; the format is told by the content.
///
/// # Errors
/// When the file is absent or not such an image.
pub fn read_image(path: &Path) -> Result<RgbImage, DatasetError> {
    named_image(path, || "the command".into())
}

/// [`read_image`] for a file that a table names.
pub(super) fn named_image(
    path: &Path,
    referrer: impl FnOnce() -> String,
) -> Result<RgbImage, DatasetError> {
    let bytes = read(path, referrer)?;
    decode_image(&bytes).map_err(|source| DatasetError::Image {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{read_image, read_points};

    #[test]
    fn every_message_names_the_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        };
        let refused = |name: &str, bytes: &[u8]| {
            read_points(&write(name, bytes), 5)
                .expect_err("refused")
                .to_string()
        };
        let cut = refused("cut.pcd.bin", &[0; 21]);
        assert!(
            cut.contains("cut.pcd.bin: 21 bytes") && cut.contains("leave 1 over"),
            "{cut}"
        );
        assert!(refused("none.bin", &[]).contains("none.bin: it is empty"));
        assert!(refused("cloud.las", &[0; 20]).contains("cloud.las: unknown extension \"las\""));
        assert!(refused("cloud.pcd", b"PCD").contains("cloud.pcd: PCD header"));
        let absent = read_points(&folder.path().join("no.bin"), 5).expect_err("absent");
        assert!(
            absent.to_string().contains("no.bin does not exist"),
            "{absent}"
        );
        let image = read_image(&write("a.jpg", b"no image")).expect_err("refused");
        assert!(
            image.to_string().contains("a.jpg: expected a JPEG or PNG"),
            "{image}"
        );
    }
}
