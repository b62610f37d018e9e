//! The `bevfusion` command as a user meets it: arguments in, exit code and both streams out.

use bevfusion::cli;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// 0, 1 for a failure, 2 for arguments that are none.
    pub code: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `bevfusion` with these arguments, inside this process.
#[must_use]
pub fn bevfusion(arguments: &[&str]) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = std::iter::once("bevfusion").chain(arguments.iter().copied());
    let code = cli::run(all, &mut out, &mut err);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended {
        code,
        out: text(out),
        err: text(err),
    }
}

/// Asserts that a message holds every part.
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "not in the message: {part}\n{text}");
    }
}
