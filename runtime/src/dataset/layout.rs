//! Where a dataset's tables and files lie, found from its folder.
//!
//! | layout | tables | files |
//! | --- | --- | --- |
//! | nuScenes | `DATAROOT/v1.0-*/NAME.json` | `DATAROOT/samples`, `DATAROOT/sweeps` |
//! | T4, flat | `DATAROOT/annotation/NAME.json` | `DATAROOT/data` |
//! | T4, versions | `DATAROOT/N/annotation/NAME.json` | `DATAROOT/N/data` |

use std::fs;
use std::path::{Path, PathBuf};

use super::error::DatasetError;

/// Folder of the tables inside a T4 dataset.
const T4_TABLES: &str = "annotation";

/// The convention that a dataset follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// nuScenes: clouds in the LiDAR's frame, long category names.
    Nuscenes,
    /// T4: clouds in base_link, annotated velocities.
    T4,
}

impl Layout {
    /// LiDAR channels that hold the whole cloud, best first.
    pub(super) const fn lidar_channels(self) -> &'static [&'static str] {
        match self {
            Self::Nuscenes => &["LIDAR_TOP"],
            Self::T4 => &["LIDAR_CONCAT", "LIDAR_TOP"],
        }
    }
}

/// A dataset on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) layout: Layout,
    /// Folder of the tables.
    pub(super) tables: PathBuf,
    /// Folder to which `filename` in the tables is relative.
    pub(super) files: PathBuf,
}

impl Location {
    pub(super) fn nuscenes(dataroot: &Path, version: &str) -> Self {
        Self {
            layout: Layout::Nuscenes,
            tables: dataroot.join(version),
            files: dataroot.into(),
        }
    }

    pub(super) fn t4(root: PathBuf) -> Self {
        Self {
            layout: Layout::T4,
            tables: root.join(T4_TABLES),
            files: root,
        }
    }

    /// Finds the layout, and the version where the folder has only one (T4: the newest).
    pub(super) fn detect(dataroot: &Path, version: Option<&str>) -> Result<Self, DatasetError> {
        let folders = subfolders(dataroot)?;
        match version {
            Some(version) => named(dataroot, version, &folders),
            None => unnamed(dataroot, &folders),
        }
    }
}

fn named(dataroot: &Path, version: &str, folders: &[String]) -> Result<Location, DatasetError> {
    let root = dataroot.join(version);
    if root.join(T4_TABLES).is_dir() {
        return Ok(Location::t4(root));
    }
    if root.is_dir() {
        return Ok(Location::nuscenes(dataroot, version));
    }
    let there = versions(dataroot, folders).join(", ");
    let problem = match there.as_str() {
        "" => format!("it has no folder {version}, nor any other version"),
        _ => format!("it has no folder {version}; --version can be: {there}"),
    };
    Err(refused(dataroot, problem))
}

fn unnamed(dataroot: &Path, folders: &[String]) -> Result<Location, DatasetError> {
    if folders.iter().any(|name| name == T4_TABLES) {
        return Ok(Location::t4(dataroot.into()));
    }
    let newest = folders
        .iter()
        .filter(|name| is_t4_version(dataroot, name))
        .filter_map(|name| Some((name.parse::<u64>().ok()?, name)))
        .max();
    if let Some((_, name)) = newest {
        return Ok(Location::t4(dataroot.join(name)));
    }
    match versions(dataroot, folders).as_slice() {
        [version] => Ok(Location::nuscenes(dataroot, version)),
        [] => {
            let found: Vec<&str> = folders.iter().take(8).map(String::as_str).collect();
            let found = match found.as_slice() {
                [] => "no folder at all".into(),
                _ => found.join(", "),
            };
            Err(refused(
                dataroot,
                format!(
                    "expected a folder v1.0-* (nuScenes), annotation (T4) or N/annotation (T4 with \
                     versions), found {found}"
                ),
            ))
        }
        several => Err(refused(
            dataroot,
            format!(
                "it holds several versions, choose one with --version: {}",
                several.join(", ")
            ),
        )),
    }
}

fn is_t4_version(dataroot: &Path, name: &str) -> bool {
    dataroot.join(name).join(T4_TABLES).is_dir()
}

/// Folders that can be given as a version.
fn versions(dataroot: &Path, folders: &[String]) -> Vec<String> {
    let is_version = |name: &String| {
        let numbered = name
            .strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        numbered
            || is_t4_version(dataroot, name)
            || dataroot.join(name).join("sample.json").is_file()
    };
    folders
        .iter()
        .filter(|name| is_version(name))
        .cloned()
        .collect()
}

fn subfolders(dataroot: &Path) -> Result<Vec<String>, DatasetError> {
    let listing = fs::read_dir(dataroot).map_err(|source| DatasetError::Io {
        path: dataroot.into(),
        source,
    })?;
    let mut names: Vec<String> = listing
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn refused(dataroot: &Path, problem: String) -> DatasetError {
    DatasetError::Layout {
        dataroot: dataroot.into(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Layout, Location};

    fn with(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("temporary folder");
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).expect("folder");
        }
        root
    }

    #[test]
    fn each_layout_is_recognised_by_its_folders() {
        let nuscenes = with(&["v1.0-mini", "samples", "maps"]);
        let found = Location::detect(nuscenes.path(), None).expect("nuScenes");
        assert_eq!(found, Location::nuscenes(nuscenes.path(), "v1.0-mini"));
        let flat = with(&["annotation", "data"]);
        let found = Location::detect(flat.path(), None).expect("T4");
        assert_eq!(
            (found.layout, found.files),
            (Layout::T4, flat.path().into())
        );
        let versions = with(&["2/annotation", "10/annotation", "junk"]);
        let found = Location::detect(versions.path(), None).expect("T4");
        assert_eq!(found.tables, versions.path().join("10/annotation"));
        let found = Location::detect(versions.path(), Some("2")).expect("T4");
        assert_eq!(found.files, versions.path().join("2"));
    }

    #[test]
    fn a_choice_is_asked_for_and_a_folder_that_is_no_dataset_is_described() {
        let problem = |root: &tempfile::TempDir, version| {
            Location::detect(root.path(), version)
                .expect_err("refused")
                .to_string()
        };
        let two = with(&["v1.0-mini", "v1.0-trainval"]);
        assert!(problem(&two, None).contains("--version: v1.0-mini, v1.0-trainval"));
        assert!(problem(&two, Some("v2")).contains("no folder v2; --version can be: v1.0-mini"));
        let none = with(&["photos"]);
        assert!(problem(&none, None).contains("expected a folder v1.0-*"));
        assert!(problem(&none, None).contains("found photos"));
        assert!(problem(&none, Some("v1.0-mini")).contains("nor any other version"));
    }
}
