//! One table: a JSON list of records, streamed from its file into memory, found by token.
//!
//! The largest tables of nuScenes hold 2.6 million records in more than a gigabyte of text, so records
//! are made one by one, and those that nobody will ask for are dropped on the way.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::error::DatasetError;
use super::rows::Row;
use super::token::Token;

/// Records in the order of the file, and their indices in the order of `key`.
pub(super) struct Table<R> {
    path: PathBuf,
    rows: Vec<R>,
    by_token: Index,
}

/// Indices of records, ordered by a key; equal keys stay in the order of the file.
pub(super) struct Index(Vec<u32>);

impl Index {
    pub(super) fn new<R>(rows: &[R], of: impl Fn(&R) -> Option<&Token>) -> Self {
        let kept = (0_u32..).zip(rows).filter(|(_, row)| of(row).is_some());
        let mut order: Vec<u32> = kept.map(|(index, _)| index).collect();
        order.sort_by_key(|index| of(&rows[*index as usize]));
        Self(order)
    }

    /// The records whose key is `token`.
    pub(super) fn get<'a, R, F: Fn(&R) -> Option<&Token>>(
        &'a self,
        rows: &'a [R],
        of: F,
        token: &Token,
    ) -> impl Iterator<Item = &'a R> + use<'a, R, F> {
        let start = self
            .0
            .partition_point(|i| of(&rows[*i as usize]) < Some(token));
        let length = self.0[start..].partition_point(|i| of(&rows[*i as usize]) == Some(token));
        self.0[start..start + length]
            .iter()
            .map(|i| &rows[*i as usize])
    }
}

impl<R: Row> Table<R> {
    /// Reads the records that `keep` wants from `folder/NAME.json`.
    pub(super) fn load(folder: &Path, keep: impl FnMut(&R) -> bool) -> Result<Self, DatasetError> {
        let path = folder.join(R::TABLE).with_extension("json");
        let file = File::open(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => DatasetError::TableMissing {
                table: R::TABLE,
                path: path.clone(),
            },
            _ => DatasetError::Io {
                path: path.clone(),
                source,
            },
        })?;
        let rows = match parse(BufReader::new(file), keep) {
            Ok(rows) => rows,
            Err(failure) => return Err(explain::<R, _>(&path, &failure, || File::open(&path))),
        };
        Self::index(path, rows)
    }

    /// Parses a whole table from memory; `path` is for messages.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, DatasetError> {
        let rows = parse(bytes, |_| true)
            .map_err(|failure| explain::<R, _>(path, &failure, || Ok(bytes)))?;
        Self::index(path.into(), rows)
    }

    fn index(path: PathBuf, rows: Vec<R>) -> Result<Self, DatasetError> {
        let by_token = Index::new(&rows, |row| Some(row.token()));
        let token = |index: u32| rows[index as usize].token();
        if let Some(pair) = by_token.0.windows(2).find(|p| token(p[0]) == token(p[1])) {
            return Err(DatasetError::TokenTwice {
                table: R::TABLE,
                path,
                token: token(pair[0]).to_string(),
            });
        }
        Ok(Self {
            path,
            rows,
            by_token,
        })
    }

    pub(super) fn rows(&self) -> &[R] {
        &self.rows
    }

    /// The record with this token, if there is one.
    pub(super) fn find(&self, token: &Token) -> Option<&R> {
        self.by_token
            .get(&self.rows, |row| Some(row.token()), token)
            .next()
    }

    /// The record with this token; `referrer` says who asks.
    pub(super) fn get(
        &self,
        token: &Token,
        referrer: impl FnOnce() -> String,
    ) -> Result<&R, DatasetError> {
        self.find(token).ok_or_else(|| DatasetError::TokenUnknown {
            table: R::TABLE,
            path: self.path.clone(),
            token: token.to_string(),
            referrer: referrer(),
        })
    }
}

/// A table and the key by which it refers to another, for messages.
pub(super) fn named<R: Row>(row: &R, key: &str) -> String {
    let (table, token) = (R::TABLE, row.token());
    if key.is_empty() {
        format!("{table} {token}")
    } else {
        format!("{key} of {table} {token}")
    }
}

/// Where parsing stopped, and why.
struct Failure {
    record: usize,
    error: serde_json::Error,
}

fn parse<R: Row>(reader: impl Read, keep: impl FnMut(&R) -> bool) -> Result<Vec<R>, Failure> {
    let (mut rows, mut record) = (Vec::new(), 0);
    let mut json = serde_json::Deserializer::from_reader(reader);
    let list = Records {
        rows: &mut rows,
        record: &mut record,
        keep,
    };
    match list.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Ok(rows),
        Err(error) => Err(Failure { record, error }),
    }
}

/// Puts the records of a list into `rows` as they come.
struct Records<'a, R, F> {
    rows: &'a mut Vec<R>,
    record: &'a mut usize,
    keep: F,
}

impl<'de, R: Row, F: FnMut(&R) -> bool> DeserializeSeed<'de> for Records<'_, R, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: Row, F: FnMut(&R) -> bool> Visitor<'de> for Records<'_, R, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(row) = list.next_element::<R>()? {
            if *self.record >= u32::MAX as usize {
                return Err(A::Error::custom("more than 4294967295 records"));
            }
            *self.record += 1;
            if (self.keep)(&row) {
                self.rows.push(row);
            }
        }
        Ok(())
    }
}

/// Turns a failure into a message that names the key, for which the record is read once more.
fn explain<R: Row, S: Read>(
    path: &Path,
    failure: &Failure,
    open: impl FnOnce() -> std::io::Result<S>,
) -> DatasetError {
    let broken = |problem: String| DatasetError::TableBroken {
        table: R::TABLE,
        path: path.into(),
        problem,
    };
    if failure.error.is_eof() && failure.record == 0 && failure.error.column() == 0 {
        return broken("it is empty".into());
    }
    if !failure.error.is_data() {
        return broken(format!("not valid JSON: {}", failure.error));
    }
    let Ok(source) = open() else {
        return broken(failure.error.to_string());
    };
    match nth_record(BufReader::new(source), failure.record) {
        Some(value) => {
            let (key, problem) = culprit::<R>(&value, &failure.error);
            DatasetError::Record {
                table: R::TABLE,
                path: path.into(),
                record: failure.record,
                key,
                problem,
            }
        }
        None => broken(failure.error.to_string()),
    }
}

/// Keys of a record among which the culprit is looked for; those of the formats have fewer.
const MOST_KEYS: usize = 64;

/// The key whose removal changes the complaint about `value`, and the complaint.
fn culprit<R: Row>(value: &Value, error: &serde_json::Error) -> (String, String) {
    let complaint = |value: &Value| R::deserialize(value).err().map(|e| e.to_string());
    let Some(problem) = complaint(value) else {
        return (String::new(), error.to_string());
    };
    let place = format!("{problem} (line {})", error.line());
    if let Some(key) = problem.strip_prefix("missing field `") {
        return (key.trim_end_matches('`').into(), place);
    }
    let object = value.as_object();
    let object = object.filter(|object| object.len() <= MOST_KEYS);
    let keys = object.into_iter().flat_map(|object| object.keys());
    for key in keys {
        let mut without = value.clone();
        if let Some(object) = without.as_object_mut() {
            object.remove(key);
        }
        if complaint(&without).as_ref() != Some(&problem) {
            return (key.clone(), place);
        }
    }
    (String::new(), place)
}

fn nth_record(reader: impl Read, index: usize) -> Option<Value> {
    struct Nth<'a>(usize, &'a mut Option<Value>);
    impl<'de> Visitor<'de> for Nth<'_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
            for _ in 0..self.0 {
                list.next_element::<IgnoredAny>()?;
            }
            *self.1 = list.next_element()?;
            Ok(())
        }
    }
    let mut found = None;
    let mut json = serde_json::Deserializer::from_reader(reader);
    // What stands behind the record does not matter: the list is left early, which is an error.
    let _ = json.deserialize_seq(Nth(index, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Index, Table};
    use crate::dataset::rows::{EgoPose, Sample, Scene};
    use crate::dataset::token::Token;

    fn problem(text: &str) -> String {
        let read = Table::<Sample>::from_bytes(Path::new("v1/sample.json"), text.as_bytes());
        read.err().expect("refused").to_string()
    }

    #[test]
    fn records_are_found_by_token_and_kept_in_the_order_of_the_file() {
        let text = r#"[{"token":"b","timestamp":2,"scene_token":"s"},
                       {"token":"a","timestamp":1,"scene_token":"s","more":[1,{}]}]"#;
        let table = Table::<Sample>::from_bytes(Path::new(""), text.as_bytes()).expect("two");
        assert_eq!(table.find(&Token::new("a")).map(|s| s.timestamp), Some(1));
        assert!(table.find(&Token::new("c")).is_none());
        let by_scene = Index::new(table.rows(), |s| Some(&s.scene_token));
        let scene = by_scene.get(table.rows(), |s| Some(&s.scene_token), &Token::new("s"));
        assert_eq!(scene.map(|s| s.timestamp).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_wrong_type_is_named_by_file_record_and_key() {
        let text = r#"[{"token":"a","timestamp":1,"scene_token":"s"},
                       {"token":"b","timestamp":"soon","scene_token":"s"}]"#;
        let message = problem(text);
        assert!(
            message.contains("table sample (v1/sample.json), record 1, key \"timestamp\""),
            "{message}"
        );
        assert!(
            message.contains("\"soon\", expected i64 (line 2)"),
            "{message}"
        );
    }

    #[test]
    fn a_record_with_thousands_of_keys_is_refused_without_trying_each() {
        let keys: String = (0..20_000).map(|i| format!(r#""a{i}":0,"#)).collect();
        let message = problem(&format!(
            r#"[{{"token":"a",{keys}"timestamp":"soon","scene_token":"s"}}]"#
        ));
        assert!(message.contains("record 0"), "{message}");
        assert!(message.contains("\"soon\", expected i64"), "{message}");
    }

    #[test]
    fn a_missing_key_and_a_short_vector_are_named() {
        assert!(
            problem(r#"[{"token":"a","timestamp":1}]"#).contains("key \"scene_token\": missing")
        );
        let pose = r#"[{"token":"a","translation":[1,2],"rotation":[1,0,0,0]}]"#;
        let read = Table::<EgoPose>::from_bytes(Path::new("ego_pose.json"), pose.as_bytes());
        let message = read.err().expect("refused").to_string();
        assert!(
            message.contains("key \"translation\": invalid length 2"),
            "{message}"
        );
    }

    #[test]
    fn broken_json_an_empty_file_and_an_object_are_told_apart() {
        let cut = problem(r#"[{"token":"a","timestamp":1,"#);
        assert!(
            cut.contains("not valid JSON: EOF") && cut.contains("line 1 column"),
            "{cut}"
        );
        assert!(problem("").contains("it is empty"), "{}", problem(""));
        assert!(
            problem("{}").contains("expected a list of records"),
            "{}",
            problem("{}")
        );
        assert!(problem("[] []").contains("trailing characters"));
        assert!(problem("[3]").contains("record 0"), "{}", problem("[3]"));
    }

    #[test]
    fn a_token_in_two_records_is_refused() {
        let text =
            r#"[{"token":"a","name":"1","log_token":""},{"token":"a","name":"2","log_token":""}]"#;
        let read = Table::<Scene>::from_bytes(Path::new("scene.json"), text.as_bytes());
        assert!(
            read.err()
                .expect("refused")
                .to_string()
                .contains("token \"a\" stands in two")
        );
    }
}
