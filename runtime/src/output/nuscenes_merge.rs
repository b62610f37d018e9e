//! Joins nuScenes result files, one per shard of a split, into one.
//!
//! One sample at a time is in memory, besides a fingerprint of each sample. A sample may occur twice
//! only with the same boxes (a shard that was run again); files must agree in `meta`.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::OutputError;
use super::nuscenes_json::{MAX_BOXES_PER_SAMPLE, Modality, ResultBox, SampleFile};

/// What a merge found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// Samples in the merged file.
    pub samples: usize,
    /// Boxes in the merged file.
    pub boxes: usize,
    /// Samples that several files held with the same boxes; they are written once.
    pub repeated: BTreeSet<String>,
    /// Expected samples that no file held.
    pub missing: BTreeSet<String>,
}

/// Merges `files` in their order into `out`. `expected` holds the sample tokens of the split; leave it
/// empty when they are not known. Missing samples are reported, not made up.
///
/// # Errors
/// When a file cannot be read or is no result file, when `meta` differs, when two files hold the same
/// sample with different boxes, when a sample is not expected, or when `out` cannot be written.
pub fn merge_nuscenes(
    files: &[PathBuf],
    expected: &BTreeSet<String>,
    out: &Path,
) -> Result<MergeReport, OutputError> {
    let Some(first) = files.first() else {
        return Err(OutputError::Merge {
            path: out.to_path_buf(),
            reason: "no input file was given; name at least one result file".to_owned(),
        });
    };
    let modality = read_meta(first)?;
    for path in &files[1..] {
        let other = read_meta(path)?;
        if other != modality {
            return Err(OutputError::Merge {
                path: path.clone(),
                reason: format!(
                    "its meta {other:?} differs from {modality:?} of {}; \
                     merge results of one model only",
                    first.display()
                ),
            });
        }
    }
    let mut merge = Merge {
        expected,
        seen: BTreeMap::new(),
        out: SampleFile::create(out, modality)?,
        report: MergeReport::default(),
    };
    for path in files {
        merge.append(path)?;
    }
    merge.finish()
}

/// Where a sample was first read and what its boxes hash to.
struct Origin {
    path: PathBuf,
    fingerprint: u64,
}

struct Merge<'a> {
    expected: &'a BTreeSet<String>,
    seen: BTreeMap<String, Origin>,
    out: SampleFile,
    report: MergeReport,
}

impl Merge<'_> {
    fn append(&mut self, path: &Path) -> Result<(), OutputError> {
        let mut refusal = None;
        let parsed = read_results(path, &mut |token, boxes| {
            let outcome = self.add(path, &token, &boxes);
            let goes_on = outcome.is_ok();
            refusal = outcome.err();
            goes_on
        });
        match refusal {
            Some(error) => Err(error),
            None => parsed,
        }
    }

    fn add(&mut self, path: &Path, token: &str, boxes: &[ResultBox]) -> Result<(), OutputError> {
        self.check(path, token, boxes)?;
        let origin = Origin {
            path: path.to_path_buf(),
            fingerprint: fingerprint(path, boxes)?,
        };
        if let Some(before) = self.seen.get(token) {
            if before.fingerprint == origin.fingerprint {
                self.report.repeated.insert(token.to_owned());
                return Ok(());
            }
            return Err(refuse(
                path,
                format!(
                    "sample {token} has other boxes than in {}; leave one of the two files out",
                    before.path.display()
                ),
            ));
        }
        self.seen.insert(token.to_owned(), origin);
        self.report.samples += 1;
        self.report.boxes += boxes.len();
        self.out.add(token, boxes)
    }

    fn check(&self, path: &Path, token: &str, boxes: &[ResultBox]) -> Result<(), OutputError> {
        if !self.expected.is_empty() && !self.expected.contains(token) {
            return Err(refuse(
                path,
                format!("sample {token} is not in the split; check the split and the file"),
            ));
        }
        if boxes.len() > MAX_BOXES_PER_SAMPLE {
            let count = boxes.len();
            return Err(refuse(
                path,
                format!(
                    "sample {token} has {count} boxes; the evaluation accepts at most \
                     {MAX_BOXES_PER_SAMPLE}"
                ),
            ));
        }
        if let Some(other) = boxes.iter().find(|one| one.sample_token != token) {
            let found = &other.sample_token;
            return Err(refuse(
                path,
                format!("a box under sample {token} names sample {found}; write the file again"),
            ));
        }
        Ok(())
    }

    fn finish(self) -> Result<MergeReport, OutputError> {
        let mut report = self.report;
        let seen = self.seen;
        let missing = self.expected.iter().filter(|t| !seen.contains_key(*t));
        report.missing = missing.cloned().collect();
        self.out.finish()?;
        Ok(report)
    }
}

fn refuse(path: &Path, reason: String) -> OutputError {
    OutputError::Merge {
        path: path.to_path_buf(),
        reason,
    }
}

fn fingerprint(path: &Path, boxes: &[ResultBox]) -> Result<u64, OutputError> {
    let bytes = serde_json::to_vec(boxes).map_err(OutputError::serialize(path))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(hasher.finish())
}

fn open(path: &Path) -> Result<BufReader<File>, OutputError> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|source| OutputError::Read {
            path: path.to_path_buf(),
            source,
        })
}

fn not_a_result(path: &Path) -> impl Fn(serde_json::Error) -> OutputError + '_ {
    |source| OutputError::NotAResult {
        path: path.to_path_buf(),
        source,
    }
}

fn read_meta(path: &Path) -> Result<Modality, OutputError> {
    #[derive(Deserialize)]
    struct Head {
        meta: Modality,
        #[serde(rename = "results")]
        _results: IgnoredAny,
    }
    serde_json::from_reader(open(path)?)
        .map(|head: Head| head.meta)
        .map_err(not_a_result(path))
}

/// Gets a sample and its boxes; returns whether to go on.
type OnSample<'a> = dyn FnMut(String, Vec<ResultBox>) -> bool + 'a;

fn read_results(path: &Path, on_sample: &mut OnSample<'_>) -> Result<(), OutputError> {
    let mut reader = serde_json::Deserializer::from_reader(open(path)?);
    reader
        .deserialize_map(TopLevel(on_sample))
        .map_err(not_a_result(path))
}

struct TopLevel<'a, 'b>(&'a mut OnSample<'b>);

impl<'de> Visitor<'de> for TopLevel<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `meta` and `results`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "results" {
                map.next_value_seed(Samples(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Samples<'a, 'b>(&'a mut OnSample<'b>);

impl<'de> DeserializeSeed<'de> for Samples<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Samples<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of sample tokens with lists of boxes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((token, boxes)) = map.next_entry()? {
            if !(self.0)(token, boxes) {
                return Err(A::Error::custom("a sample was refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::merge_nuscenes;
    use crate::geometry::Transform;
    use crate::output::{Detection, Modality, NuscenesWriter};

    fn shard(folder: &Path, name: &str, samples: &[(&str, f32)], use_camera: bool) -> PathBuf {
        let path = folder.join(name);
        let modality = Modality {
            use_camera,
            use_lidar: true,
            ..Modality::default()
        };
        let mut writer =
            NuscenesWriter::create(&path, modality, &["car".to_owned()]).expect("create");
        for &(token, score) in samples {
            let found = Detection {
                bottom_center: [0.1, 0.2, 0.3],
                size: [4.0, 2.0, 1.5],
                yaw: 0.7,
                velocity: [0.0; 2],
                score,
                label: 0,
            };
            writer
                .add_sample(token, &Transform::IDENTITY, &[found])
                .expect("add");
        }
        writer.finish().expect("finish");
        path
    }

    #[test]
    fn shards_join_to_what_one_run_would_have_written() {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        let a = shard(folder, "a.json", &[("s0", 0.1), ("s1", 0.2)], false);
        let b = shard(folder, "b.json", &[("s1", 0.2), ("s2", 0.3)], false);
        let whole = shard(
            folder,
            "w.json",
            &[("s0", 0.1), ("s1", 0.2), ("s2", 0.3)],
            false,
        );
        let out = folder.join("out.json");
        let expected = ["s0", "s1", "s2", "s3"].map(str::to_owned).into();
        let report = merge_nuscenes(&[a, b], &expected, &out).expect("merge");
        assert_eq!((report.samples, report.boxes), (3, 3));
        assert_eq!(report.repeated, BTreeSet::from(["s1".to_owned()]));
        assert_eq!(report.missing, BTreeSet::from(["s3".to_owned()]));
        let [merged, whole] = [out, whole].map(|path| std::fs::read(path).expect("read"));
        assert_eq!(merged, whole);
    }

    #[test]
    fn contradictions_are_refused_by_name_and_leave_no_file() {
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path();
        let a = shard(folder, "a.json", &[("s0", 0.1)], false);
        let b = shard(folder, "b.json", &[("s0", 0.2)], false);
        let c = shard(folder, "c.json", &[("s2", 0.2)], true);
        let out = folder.join("out.json");
        let any = BTreeSet::new();
        let message = |files: &[&PathBuf], expected: &BTreeSet<String>| {
            let files: Vec<_> = files.iter().map(|&f| f.clone()).collect();
            let error = merge_nuscenes(&files, expected, &out).expect_err("refused");
            assert!(!out.exists());
            error.to_string()
        };
        let boxes = message(&[&a, &b], &any);
        assert!(
            boxes.contains("b.json: sample s0 has other boxes than in"),
            "{boxes}"
        );
        assert!(boxes.contains("a.json"), "{boxes}");
        let meta = message(&[&a, &c], &any);
        assert!(
            meta.contains("c.json: its meta") && meta.contains("differs"),
            "{meta}"
        );
        let split = message(&[&a], &BTreeSet::from(["other".to_owned()]));
        assert!(split.contains("sample s0 is not in the split"), "{split}");
        let absent = message(&[&a, &folder.join("no.json")], &any);
        assert!(
            absent.contains("cannot read") && absent.contains("no.json"),
            "{absent}"
        );
        assert!(message(&[], &any).contains("no input file"));
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_what_was_expected() {
        let folder = tempfile::tempdir().expect("folder");
        let bad = folder.path().join("bad.json");
        let out = folder.path().join("out.json");
        std::fs::write(&bad, r#"{"meta": {"use_lidar": true}, "results": {}}"#).expect("write");
        let error = merge_nuscenes(&[bad], &BTreeSet::new(), &out).expect_err("refused");
        let message = error.to_string();
        assert!(message.contains("missing field `use_camera`"), "{message}");
        assert!(message.contains("expected {\"meta\""), "{message}");
    }
}
