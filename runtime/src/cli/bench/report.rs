//! A measurement as a table, a JSON file and a plot.
//!
//! ```json
//! {
//!   "schema": "bevfusion.bench.v1", "version": "0.1.0", "command_line": "bevfusion bench ..",
//!   "engine": "cpu", "device": {..}, "host": {..}, "model": "nuscenes_L",
//!   "source": "data/nuscenes", "frames": ["ca9a.."], "warm_up": {"frames": 3, "seconds": 0.2},
//!   "measured": {"frames": 10, "degraded": 0, "seconds": 3.1, "frames_per_second": 3.2},
//!   "summary_ms": {"frame": {"mean": .., "p50": .., "p99.9": ..}, "head": {..}},
//!   "median_frame_us": {"sample": 4, "total": .., "hidden": .., "exposed": .., "stages":
//!     [{"stage": "sweeps", "lane": "lidar", "begin": .., "end": ..}]},
//!   "samples": {"input": [0, 0], "frame_ms": [310.5, 309.1], "stages_ms": {"head": [1.2, 1.2]},
//!     "spans_us": {"head": {"begin": [..], "end": [..]}}}
//! }
//! ```
//!
//! `median_frame_us` and `spans_us` are those of the CUDA engine: null and empty on others.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::WarmUp;
use super::facts::{DeviceFacts, Host, memory_table};
use super::inputs::Inputs;
use super::samples::{Samples, Summary, milliseconds};
use super::timeline::{MedianFrame, samples_json};
use crate::exec::StageId;
use crate::output::{LatencyPlot, OutputError, TimelinePlot, write_json};

const SCHEMA: &str = "bevfusion.bench.v1";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Samples from which p99.9 is not simply the slowest.
const ENOUGH: usize = 1000;

/// Everything that a reader needs to judge the numbers.
pub(super) struct Report<'a> {
    pub(super) command_line: &'a str,
    pub(super) engine: &'a str,
    pub(super) model: &'a str,
    pub(super) device: DeviceFacts,
    pub(super) host: Host,
    pub(super) inputs: &'a Inputs,
    pub(super) warm_up: &'a WarmUp,
    pub(super) samples: &'a Samples,
    pub(super) median: Option<MedianFrame>,
}

#[derive(Serialize)]
struct Raw<'a> {
    input: &'a [usize],
    frame_ms: Vec<f64>,
    stages_ms: BTreeMap<&'static str, Vec<f64>>,
    spans_us: Value,
}

impl Report<'_> {
    /// What is printed.
    pub(super) fn table(&self) -> String {
        let Self { samples, .. } = self;
        let load = self.host.load_1min;
        let load = load.map_or(String::new(), |load| format!(", load {load:.2}"));
        let mut text = format!(
            "bevfusion {VERSION}, {} on engine {}\n{} ({}{load})\n{} of {}, {} to warm up ({:.2} s), {} \
             measured ({:.2} s)\n\n{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            self.model,
            self.engine,
            self.device.in_words(),
            self.host.system,
            count(self.inputs.frames.len(), "frame"),
            self.inputs.source,
            self.warm_up.frames,
            self.warm_up.total.as_secs_f64(),
            samples.len(),
            samples.total.as_secs_f64(),
            "ms",
            "mean",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max"
        );
        let stages = self.stages();
        let stages = stages.iter().map(|(name, times)| (*name, times.as_slice()));
        for (name, times) in stages.chain([("frame", samples.walls.as_slice())]) {
            let s = Summary::of(times);
            // Writing into a String cannot fail.
            let _ = write!(text, "{name:<16}");
            for value in [s.mean, s.p50, s.p90, s.p99, s.p99_9, s.max] {
                let _ = write!(text, "{value:>10.3}");
            }
            text.push('\n');
        }
        let _ = write!(text, "\n{:.2} frames/s", samples.throughput());
        if samples.degraded > 0 {
            let _ = write!(text, "; {} degraded", count(samples.degraded, "frame"));
        }
        if let Some(frame) = &self.median {
            let _ = write!(text, "\n\n{}", frame.table());
        }
        if !self.device.memory.is_empty() {
            let _ = write!(text, "\n\n{}\n", memory_table(&self.device.memory));
        }
        if samples.len() < ENOUGH {
            let _ = write!(
                text,
                "\nof {} p99.9 is the slowest: --iterations {ENOUGH} tells more",
                count(samples.len(), "sample")
            );
        }
        text
    }

    /// Writes raw samples and summary.
    pub(super) fn write_json(&self, file: &Path) -> Result<(), OutputError> {
        let Self { samples, .. } = self;
        let stages = self.stages();
        let mut summary: BTreeMap<&str, Summary> = stages
            .iter()
            .map(|(name, times)| (*name, Summary::of(times)))
            .collect();
        summary.insert("frame", Summary::of(&samples.walls));
        let raw = Raw {
            input: &samples.inputs,
            frame_ms: in_milliseconds(&samples.walls),
            stages_ms: stages
                .iter()
                .map(|(name, times)| (*name, in_milliseconds(times)))
                .collect(),
            spans_us: samples_json(samples),
        };
        let frames: Vec<&str> = self.inputs.frames.iter().map(|f| f.id.as_str()).collect();
        let value = json!({
            "schema": SCHEMA,
            "version": VERSION,
            "command_line": self.command_line,
            "engine": self.engine,
            "device": self.device,
            "host": self.host,
            "model": self.model,
            "source": self.inputs.source,
            "frames": frames,
            "warm_up": {
                "frames": self.warm_up.frames,
                "seconds": self.warm_up.total.as_secs_f64(),
            },
            "measured": {
                "frames": samples.len(),
                "degraded": samples.degraded,
                "seconds": samples.total.as_secs_f64(),
                "frames_per_second": samples.throughput(),
            },
            "summary_ms": summary,
            "median_frame_us": self.median.as_ref().map(MedianFrame::json),
            "samples": raw,
        });
        write_json(&value, file)
    }

    /// Time of every frame and a histogram.
    pub(super) fn plot(&self) -> LatencyPlot {
        let s = Summary::of(&self.samples.walls);
        LatencyPlot {
            title: format!("{} on engine {}", self.model, self.engine),
            subtitle: [
                format!("{} (bevfusion {VERSION})", self.device.in_words()),
                format!(
                    "{} of {}, {:.2} frames/s",
                    count(self.samples.len(), "sample"),
                    self.inputs.source,
                    self.samples.throughput()
                ),
            ],
            times_ms: in_milliseconds(&self.samples.walls),
            marks: [
                ("p50", s.p50),
                ("p90", s.p90),
                ("p99", s.p99),
                ("p99.9", s.p99_9),
            ]
            .to_vec(),
        }
    }

    /// The stages of the median frame, where the engine tells.
    pub(super) fn timeline(&self) -> Option<TimelinePlot> {
        let model = format!("{} on engine {}", self.model, self.engine);
        let device = format!("{} (bevfusion {VERSION})", self.device.in_words());
        let frame = self.median.as_ref()?;
        Some(frame.plot(&model, device, self.samples.len()))
    }

    fn stages(&self) -> Vec<(&'static str, Vec<Duration>)> {
        let stages = StageId::ALL.iter().enumerate();
        stages
            .filter_map(|(index, stage)| Some((stage.name(), self.samples.stage(index)?)))
            .collect()
    }
}

fn in_milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| milliseconds(*time)).collect()
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
