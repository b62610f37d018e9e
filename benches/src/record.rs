//! The file of raw results: a JSON list, one object a run, so that runs in separate processes share it.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// Appends `entry` to the list in `path`, which is made when absent.
///
/// # Errors
/// When the file holds something else than a list, or cannot be read or written.
pub fn append(path: &Path, entry: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let named = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let mut list: Vec<serde_json::Value> = match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| {
            named(&format!(
                "{error}; expected a list of earlier results: delete the file or name another"
            ))
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(named(&error).into()),
    };
    list.push(serde_json::to_value(entry)?);
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    fs::write(path, text).map_err(|error| named(&error).into())
}
