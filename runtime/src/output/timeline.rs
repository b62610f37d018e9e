//! When the stages of one frame ran on a GPU, and how much of the LiDAR branch is hidden under the
//! camera branch.
//!
//! Times are microseconds after the beginning of the frame.

use crate::cuda::StageSpan;
use crate::exec::StageId;

/// Where a stage is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Points to the LiDAR BEV map: beside the camera branch, if there is one.
    Lidar,
    /// Everything else.
    Main,
}

impl Lane {
    /// Both, from top to bottom.
    pub const ALL: [Self; 2] = [Self::Lidar, Self::Main];

    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lidar => "lidar",
            Self::Main => "main",
        }
    }
}

/// The lane of a stage.
#[must_use]
pub const fn lane_of(stage: StageId) -> Lane {
    match stage {
        StageId::Sweeps | StageId::Voxelize | StageId::SparseEncoder => Lane::Lidar,
        _ => Lane::Main,
    }
}

const fn is_of_cameras(stage: StageId) -> bool {
    matches!(
        stage,
        StageId::Preprocess
            | StageId::CameraBackbone
            | StageId::DepthNet
            | StageId::BevPool
            | StageId::BevDownsample
    )
}

/// The stages of one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    spans: Vec<StageSpan>,
}

impl Timeline {
    /// Of the spans of a frame; those without a time are left out, ends before beginnings are moved there.
    #[must_use]
    pub fn new(spans: &[StageSpan]) -> Self {
        let timed = |span: &&StageSpan| span.begin_us.is_finite() && span.end_us.is_finite();
        let ordered = |span: &StageSpan| StageSpan {
            begin_us: span.begin_us.max(0.0),
            end_us: span.end_us.max(span.begin_us).max(0.0),
            ..*span
        };
        let mut spans: Vec<StageSpan> = spans.iter().filter(timed).map(ordered).collect();
        spans.sort_by(|a, b| (a.begin_us.total_cmp(&b.begin_us)).then(a.stage.cmp(&b.stage)));
        Self { spans }
    }

    /// In the order in which they began.
    #[must_use]
    pub fn spans(&self) -> &[StageSpan] {
        &self.spans
    }

    /// The end of the last stage (µs).
    #[must_use]
    pub fn total_us(&self) -> f64 {
        self.end_of(|_| true)
    }

    /// Whether a stage of the camera branch ran.
    #[must_use]
    pub fn has_cameras(&self) -> bool {
        self.spans.iter().any(|span| is_of_cameras(span.stage))
    }

    /// When the stages of a lane ran, without overlaps (µs).
    #[must_use]
    pub fn busy(&self, lane: Lane) -> Vec<[f64; 2]> {
        self.union(|stage| lane_of(stage) == lane)
    }

    /// When stages of the LiDAR branch and of the camera branch ran at once (µs).
    #[must_use]
    pub fn hidden(&self) -> Vec<[f64; 2]> {
        let cameras = self.union(is_of_cameras);
        let shared = |[begin, end]: [f64; 2]| {
            let cut = move |[b, e]: &[f64; 2]| [begin.max(*b), end.min(*e)];
            let cuts: Vec<[f64; 2]> = cameras.iter().map(cut).collect();
            cuts.into_iter().filter(|[begin, end]| end > begin)
        };
        self.busy(Lane::Lidar)
            .into_iter()
            .flat_map(shared)
            .collect()
    }

    /// How long after the camera branch the LiDAR branch ended: what the stages behind both wait for (µs).
    #[must_use]
    pub fn exposed_us(&self) -> f64 {
        let lidar = self.end_of(|stage| lane_of(stage) == Lane::Lidar);
        (lidar - self.end_of(is_of_cameras)).max(0.0)
    }

    /// How much of the LiDAR branch is hidden, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let lidar = interval_length(&self.busy(Lane::Lidar));
        if lidar <= 0.0 {
            return "no LiDAR branch".to_owned();
        }
        let text = format!("LiDAR branch: {} µs", micro(lidar));
        if !self.has_cameras() {
            return format!("{text}; no camera branch beside it");
        }
        let hidden = interval_length(&self.hidden());
        let waiting = match self.exposed_us() {
            wait if wait >= 0.05 => format!("the BEV decoder waits {} µs for it", micro(wait)),
            _ => "nothing waits for it".to_owned(),
        };
        format!(
            "{text}, of which {} µs ({:.1} %) are hidden under the camera branch; {waiting}",
            micro(hidden),
            100.0 * hidden / lidar
        )
    }

    fn end_of(&self, of: impl Fn(StageId) -> bool) -> f64 {
        let spans = self.spans.iter().filter(|span| of(span.stage));
        spans.map(|span| span.end_us.into()).fold(0.0, f64::max)
    }

    fn union(&self, of: impl Fn(StageId) -> bool) -> Vec<[f64; 2]> {
        let mut union: Vec<[f64; 2]> = Vec::new();
        // Spans are in order of their beginnings.
        for span in self.spans.iter().filter(|span| of(span.stage)) {
            let [begin, end] = [span.begin_us, span.end_us].map(f64::from);
            match union.last_mut() {
                Some(last) if begin <= last[1] => last[1] = last[1].max(end),
                _ => union.push([begin, end]),
            }
        }
        union
    }
}

/// Where the median is: the place of the value of nearest rank, the first of equal ones.
#[must_use]
pub fn median_place(values: &[f64]) -> Option<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    places.get(places.len().div_ceil(2).max(1) - 1).copied()
}

/// Length of intervals that do not overlap.
pub(crate) fn interval_length(intervals: &[[f64; 2]]) -> f64 {
    intervals.iter().map(|[begin, end]| end - begin).sum()
}

/// Microseconds for a reader: one decimal below 100, commas between thousands.
#[must_use]
pub fn micro(time: f64) -> String {
    if time < 99.95 {
        return format!("{time:.1}");
    }
    let digits = format!("{time:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Lane, Timeline, interval_length, median_place, micro};
    use crate::cuda::StageSpan;
    use crate::exec::StageId;

    fn span(stage: StageId, begin_us: f32, end_us: f32) -> StageSpan {
        StageSpan {
            stage,
            begin_us,
            end_us,
        }
    }

    fn timeline(spans: &[(StageId, f32, f32)]) -> Timeline {
        let spans: Vec<StageSpan> = spans.iter().map(|(s, b, e)| span(*s, *b, *e)).collect();
        Timeline::new(&spans)
    }

    #[test]
    fn what_runs_beside_the_cameras_is_hidden() {
        let frame = timeline(&[
            (StageId::SparseEncoder, 60.0, 500.0),
            (StageId::Sweeps, 0.0, 50.0),
            (StageId::CameraBackbone, 10.0, 300.0),
            (StageId::BevPool, 320.0, 400.0),
            (StageId::Head, 500.0, 700.0),
        ]);
        assert_eq!(frame.busy(Lane::Lidar), [[0.0, 50.0], [60.0, 500.0]]);
        assert_eq!(
            frame.hidden(),
            [[10.0, 50.0], [60.0, 300.0], [320.0, 400.0]]
        );
        assert!((frame.exposed_us() - 100.0).abs() < 1e-9);
        assert!((frame.total_us() - 700.0).abs() < 1e-9);
        let text = frame.in_words();
        assert!(text.contains("490 µs, of which 360 µs (73.5 %)"), "{text}");
        assert!(text.contains("waits 100 µs"), "{text}");
    }

    #[test]
    fn a_branch_that_ends_first_keeps_nothing_waiting() {
        let frame = timeline(&[
            (StageId::Sweeps, 0.0, 40.0),
            (StageId::CameraBackbone, 0.0, 90.0),
        ]);
        assert!((interval_length(&frame.hidden()) - 40.0).abs() < 1e-9);
        assert!(frame.in_words().ends_with("nothing waits for it"));
    }

    #[test]
    fn frames_without_one_of_the_branches_have_words_too() {
        let lidar = timeline(&[(StageId::Sweeps, 0.0, 40.0), (StageId::Head, 40.0, 90.0)]);
        assert!(lidar.hidden().is_empty() && !lidar.has_cameras());
        assert!(lidar.in_words().contains("no camera branch"));
        assert_eq!(timeline(&[]).in_words(), "no LiDAR branch");
    }

    #[test]
    fn broken_times_are_left_out_or_mended() {
        let frame = timeline(&[
            (StageId::Sweeps, f32::NAN, 40.0),
            (StageId::Voxelize, 9.0, 3.0),
            (StageId::Head, -1.0, 2.0),
        ]);
        let found: Vec<_> = frame.spans().iter().map(|span| span.stage).collect();
        assert_eq!(found, [StageId::Head, StageId::Voxelize]);
        assert!(interval_length(&frame.busy(Lane::Lidar)).abs() < 1e-9);
        assert!((frame.total_us() - 9.0).abs() < 1e-6);
    }

    #[test]
    fn the_median_is_a_frame_that_was_measured() {
        assert_eq!(median_place(&[]), None);
        assert_eq!(median_place(&[4.0]), Some(0));
        assert_eq!(median_place(&[9.0, 1.0]), Some(1));
        assert_eq!(median_place(&[9.0, 1.0, 5.0]), Some(2));
        assert_eq!(median_place(&[5.0, 5.0, 5.0, 1.0]), Some(0));
    }

    #[test]
    fn numbers_have_as_many_digits_as_one_reads() {
        let texts = [3.26, 99.96, 812.4, 3512.5, 1_234_567.0].map(micro);
        assert_eq!(texts, ["3.3", "100", "812", "3,512", "1,234,567"]);
    }
}
