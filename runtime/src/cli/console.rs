//! Where a command writes: results, remarks, progress.

use std::io::{self, Write};

/// Standard output and standard error, or what stands for them.
pub(super) struct Console<'a> {
    /// Results.
    pub(super) out: &'a mut dyn Write,
    /// Remarks and errors.
    pub(super) err: &'a mut dyn Write,
    /// Whether a person watches `err`, so that a progress bar may be drawn on standard error.
    pub(super) is_watched: bool,
    /// What the user typed.
    pub(super) command_line: String,
}

impl Console<'_> {
    /// A line of the result.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A remark beside the result.
    pub(super) fn remark(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }
}
