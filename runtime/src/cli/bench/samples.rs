//! Raw samples and their order statistics.

use std::time::Duration;

use serde::Serialize;

use super::timeline::{Spans, kept};
use crate::cuda::StageSpan;
use crate::exec::{FrameOutcome, FrameReport, StageId};

/// Room that is made at once when more frames fit into the run than were expected.
const MORE: usize = 4096;

/// What was measured, in order.
pub(super) struct Samples {
    /// Which input.
    pub(super) inputs: Vec<usize>,
    /// Time of the frame by the wall clock.
    pub(super) walls: Vec<Duration>,
    /// Times of its stages.
    pub(super) stages: Vec<[Duration; StageId::COUNT]>,
    /// When its stages ran; empty when the engine does not tell.
    pub(super) spans: Vec<Spans>,
    /// Frames in which something was given up.
    pub(super) degraded: usize,
    /// From the first frame's start to the last one's end.
    pub(super) total: Duration,
}

impl Samples {
    pub(super) fn with_room_for(count: usize) -> Self {
        let count = count.min(1 << 22);
        Self {
            inputs: Vec::with_capacity(count),
            walls: Vec::with_capacity(count),
            stages: Vec::with_capacity(count),
            spans: Vec::with_capacity(count),
            degraded: 0,
            total: Duration::ZERO,
        }
    }

    /// Number of frames.
    pub(super) fn len(&self) -> usize {
        self.walls.len()
    }

    /// Before a frame's clock starts, so that [`Self::push`] allocates nothing.
    pub(super) fn make_room(&mut self) {
        if self.walls.len() == self.walls.capacity() {
            self.inputs.reserve(MORE);
            self.walls.reserve(MORE);
            self.stages.reserve(MORE);
            self.spans.reserve(MORE);
        }
    }

    /// Appends a frame.
    pub(super) fn push(
        &mut self,
        input: usize,
        wall: Duration,
        report: &FrameReport,
        spans: &[StageSpan],
    ) {
        if !spans.is_empty() {
            self.spans.push(kept(spans));
        }
        self.inputs.push(input);
        self.walls.push(wall);
        self.stages.push(report.stage_times);
        self.degraded += usize::from(matches!(report.outcome, FrameOutcome::Degraded(_)));
    }

    /// Times of one stage; none if it never ran.
    pub(super) fn stage(&self, index: usize) -> Option<Vec<Duration>> {
        let times: Vec<Duration> = self.stages.iter().map(|times| times[index]).collect();
        times.iter().any(|time| !time.is_zero()).then_some(times)
    }

    /// Frames in a second.
    pub(super) fn throughput(&self) -> f64 {
        self.len() as f64 / self.total.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Order statistics (ms).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

impl Summary {
    pub(super) fn of(times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let total: Duration = sorted.iter().sum();
        let at = |permille| milliseconds(percentile(&sorted, permille));
        Self {
            mean: milliseconds(total) / sorted.len().max(1) as f64,
            min: at(0),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
            max: at(1000),
        }
    }
}

/// Nearest rank: the smallest sample that `permille` of all samples do not exceed; zero without samples.
fn percentile(sorted: &[Duration], permille: usize) -> Duration {
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    // Of whole nanoseconds, so that files have no digits beyond them.
    time.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Summary, percentile};

    fn upto(count: u64) -> Vec<Duration> {
        (1..=count).map(Duration::from_millis).collect()
    }

    fn at(count: u64, permille: usize) -> u128 {
        percentile(&upto(count), permille).as_millis()
    }

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        assert_eq!(
            [500, 900, 990, 999].map(|p| at(1000, p)),
            [500, 900, 990, 999]
        );
        assert_eq!([500, 900, 990, 999].map(|p| at(10, p)), [5, 9, 10, 10]);
        assert_eq!(
            [500, 900, 990, 999].map(|p| at(1001, p)),
            [501, 901, 991, 1000]
        );
        assert_eq!([0, 500, 999, 1000].map(|p| at(1, p)), [1; 4]);
        assert_eq!(at(2, 500), 1);
        assert_eq!(at(3, 500), 2);
    }

    #[test]
    fn no_sample_gives_zero() {
        assert_eq!(percentile(&[], 500), Duration::ZERO);
    }

    #[test]
    fn a_summary_does_not_depend_on_the_order() {
        let mut times = upto(100);
        let sorted = Summary::of(&times);
        times.reverse();
        times.swap(3, 60);
        assert_eq!(Summary::of(&times), sorted);
        assert!((sorted.mean - 50.5).abs() < 1e-9);
        assert!((sorted.min - 1.0).abs() < 1e-9 && (sorted.max - 100.0).abs() < 1e-9);
    }
}
