//! The monotonic clock that times stages: the only place that reads it.

use std::time::{Duration, Instant};

/// Measures consecutive stretches.
pub(super) struct Stopwatch {
    since: Instant,
}

impl Stopwatch {
    /// Starts now.
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    /// Time since the start or the last lap.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let taken = now.duration_since(self.since);
        self.since = now;
        taken
    }
}
