//! What a run leaves behind, read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bevfusion::input::{RgbImage, decode_image};
use bevfusion_tests::command::Ended;
use serde_json::Value;

/// The command's output, which must be a success.
pub(crate) fn success(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.err.contains("error"), "{}", ended.err);
    ended
}

pub(crate) fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn png(path: &Path) -> RgbImage {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.starts_with(b"\x89PNG"), "{}", path.display());
    decode_image(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// How many messages each topic of a recording has; all of them are JSON.
pub(crate) fn topics(path: &Path) -> BTreeMap<String, usize> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut topics = BTreeMap::new();
    for message in mcap::MessageStream::new(&bytes).expect("a recording") {
        let message = message.expect("a message");
        let value: Value = serde_json::from_slice(&message.data).expect("JSON");
        assert!(value.is_object(), "{value}");
        *topics.entry(message.channel.topic.clone()).or_insert(0) += 1;
    }
    topics
}

/// The frames of `--json` output, without the times that differ from run to run.
pub(crate) fn lines(out: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let mut value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let timings = value
            .as_object_mut()
            .and_then(|frame| frame.remove("timings_ms"));
        assert!(
            timings.is_some_and(|t| t["head"].as_f64() > Some(0.0)),
            "{line}"
        );
        value
    };
    out.lines().map(parse).collect()
}
