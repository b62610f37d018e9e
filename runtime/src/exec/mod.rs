//! The frame: build, submit, results.
