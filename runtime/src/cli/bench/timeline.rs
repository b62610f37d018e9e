//! The stages of the median frame: where each began and ended on the GPU.
//!
//! Of an engine that takes such times; the CPU engine runs one stage after the other.

use std::fmt::Write;

use serde_json::{Value, json};

use super::samples::Samples;
use crate::cuda::StageSpan;
use crate::exec::StageId;
use crate::output::{Timeline, TimelinePlot, interval_length, lane_of, median_place, micro};

/// Beginning and end of each stage (µs after that of the frame); NaN for stages that did not run.
pub(super) type Spans = [[f32; 2]; StageId::COUNT];

/// Spans as they are kept.
pub(super) fn kept(spans: &[StageSpan]) -> Spans {
    let mut kept = [[f32::NAN; 2]; StageId::COUNT];
    for span in spans {
        kept[span.stage as usize] = [span.begin_us, span.end_us];
    }
    kept
}

fn timeline_of(spans: &Spans) -> Timeline {
    let span = |(stage, [begin_us, end_us]): (&StageId, &[f32; 2])| StageSpan {
        stage: *stage,
        begin_us: *begin_us,
        end_us: *end_us,
    };
    let spans: Vec<StageSpan> = StageId::ALL.iter().zip(spans).map(span).collect();
    Timeline::new(&spans)
}

/// The frame whose time on the GPU is the median of the run's.
pub(super) struct MedianFrame {
    /// Which sample.
    sample: usize,
    timeline: Timeline,
}

impl MedianFrame {
    /// None where no frame has such times.
    pub(super) fn of(samples: &Samples) -> Option<Self> {
        let total = |spans: &Spans| {
            let ends = spans.iter().map(|[_, end]| f64::from(*end));
            ends.fold(0.0, f64::max)
        };
        let totals: Vec<f64> = samples.spans.iter().map(total).collect();
        let sample = median_place(&totals)?;
        let timeline = timeline_of(samples.spans.get(sample)?);
        (!timeline.spans().is_empty()).then_some(Self { sample, timeline })
    }

    /// What is printed.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:<16}{:>10}{:>10}{:>10}{:>10}\n",
            "µs, median frame", "lane", "begin", "end", "time"
        );
        for span in self.timeline.spans() {
            let [begin, end] = [span.begin_us, span.end_us].map(f64::from);
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{:<16}{:>10}{begin:>10.1}{end:>10.1}{:>10.1}",
                span.stage.name(),
                lane_of(span.stage).name(),
                end - begin
            );
        }
        text + &self.timeline.in_words()
    }

    /// For the file.
    pub(super) fn json(&self) -> Value {
        let stage = |span: &StageSpan| {
            json!({
                "stage": span.stage.name(),
                "lane": lane_of(span.stage).name(),
                "begin": span.begin_us,
                "end": span.end_us,
            })
        };
        let frame = &self.timeline;
        json!({
            "sample": self.sample,
            "total": frame.total_us(),
            "hidden": interval_length(&frame.hidden()),
            "exposed": frame.exposed_us(),
            "stages": frame.spans().iter().map(stage).collect::<Vec<_>>(),
        })
    }

    /// The picture; `model` and `device` in words.
    pub(super) fn plot(&self, model: &str, device: String, samples: usize) -> TimelinePlot {
        let total = micro(self.timeline.total_us());
        TimelinePlot {
            title: format!("{model}: one frame, {total} µs on the GPU"),
            subtitle: [
                device,
                format!("the median of {samples} frames by time on the GPU"),
            ],
            timeline: self.timeline.clone(),
        }
    }
}

/// Beginnings and ends of all samples by stage (µs), of stages that ran.
pub(super) fn samples_json(samples: &Samples) -> Value {
    let stages = StageId::ALL
        .iter()
        .enumerate()
        .filter_map(|(index, stage)| {
            let of = |end: usize| {
                let times = samples.spans.iter().map(|spans| spans[index][end]);
                times.collect::<Vec<f32>>()
            };
            let [begin, end] = [of(0), of(1)];
            let ran = begin.iter().any(|time| time.is_finite());
            ran.then(|| (stage.name().to_owned(), json!({"begin": begin, "end": end})))
        });
    Value::Object(stages.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MedianFrame, StageSpan, samples_json};
    use crate::cli::bench::samples::Samples;
    use crate::exec::{FrameReport, StageId};

    fn samples(ends: &[f32]) -> Samples {
        let mut samples = Samples::with_room_for(ends.len());
        for end_us in ends {
            let span = |stage, begin_us| StageSpan {
                stage,
                begin_us,
                end_us: *end_us,
            };
            let spans = [span(StageId::Sweeps, 0.0), span(StageId::Head, 2.0)];
            samples.push(0, Duration::ZERO, &FrameReport::new(), &spans);
        }
        samples
    }

    #[test]
    fn the_median_frame_is_told_with_its_stages() {
        let samples = samples(&[9.0, 30.0, 12.5]);
        let frame = MedianFrame::of(&samples).expect("a frame");
        let value = frame.json();
        assert_eq!(value["sample"], 2);
        assert_eq!(value["total"], 12.5);
        assert_eq!(value["stages"][1]["stage"], "head");
        assert_eq!(value["stages"][0]["lane"], "lidar");
        let table = frame.table();
        assert!(table.contains("head                  main       2.0      12.5      10.5"));
        let plot = frame.plot("a model", "a GPU".to_owned(), 3);
        assert_eq!(plot.title, "a model: one frame, 12.5 µs on the GPU");
    }

    #[test]
    fn all_samples_are_in_the_file_and_only_stages_that_ran() {
        let value = samples_json(&samples(&[9.0, 30.0]));
        assert_eq!(value["head"]["end"], serde_json::json!([9.0, 30.0]));
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(2));
    }

    #[test]
    fn an_engine_without_such_times_has_no_frame() {
        let mut samples = Samples::with_room_for(1);
        samples.push(0, Duration::ZERO, &FrameReport::new(), &[]);
        assert!(samples.spans.is_empty() && MedianFrame::of(&samples).is_none());
    }
}
