//! The stages of one frame as bars on two lanes, and between the lanes what of the LiDAR branch is hidden.
//!
//! A bar carries its name where there is room. Other bars are named by flags away from the lane: a leader
//! with the text to its right. Flags are placed from right to left, each in the nearest row that is free, so
//! that neither a text nor a leader crosses another text.

use std::path::Path;

use super::OutputError;
use super::axis::Axis;
use super::canvas::Pen;
use super::chart::{Anchor, Chart, Shape};
use super::style::{BACKGROUND, GRID, Ink, PANEL_EDGE, TEXT, TEXT_DIM};
use super::timeline::{Lane, Timeline, interval_length, lane_of, micro};
use crate::cuda::StageSpan;
use crate::exec::StageId;

const WIDTH: f32 = 1360.0;
/// Left, right (px). A flag at the right end still has room beside it.
const COLUMNS: [f32; 2] = [200.0, 1160.0];
/// Where titles and the names of lanes begin.
const MARGIN: f32 = 40.0;
const TITLE_SIZE: f32 = 22.0;
const TEXT_SIZE: f32 = 13.0;
const LINE_HEIGHT: f32 = 17.0;
/// Advance of a character of the monospaced font, in text sizes, rounded up.
const ADVANCE: f32 = 0.61;
/// Where lanes may begin.
const HEADER: f32 = 118.0;
const LANE_HEIGHT: f32 = 48.0;
const STRIP_HEIGHT: f32 = 8.0;
/// Above and below the strip between the lanes.
const STRIP_GAP: f32 = 10.0;
/// Between texts, and between a text and the edge of its bar.
const GAP: f32 = 5.0;
const HIDDEN: Ink = Ink::solid([0x7F, 0xC9, 0x7F]);
const EXPOSED: Ink = Ink::solid([0xFF, 0x5C, 0x5C]);

/// Blue for the LiDAR branch, yellow to red for the cameras, others behind both.
const fn ink_of(stage: StageId) -> Ink {
    Ink::solid(match stage {
        StageId::Sweeps => [0xA5, 0xDB, 0xF0],
        StageId::Voxelize => [0x6F, 0xC6, 0xEA],
        StageId::SparseEncoder => [0x55, 0xA4, 0xEB],
        StageId::Preprocess => [0xF7, 0xE4, 0x63],
        StageId::CameraBackbone => [0xF2, 0xA0, 0x3D],
        StageId::DepthNet => [0xFF, 0xC9, 0x6B],
        StageId::BevPool => [0xF0, 0x7F, 0x5F],
        StageId::BevDownsample => [0xFF, 0xAD, 0xA0],
        StageId::BevDecoder => [0x8F, 0xCB, 0x7E],
        StageId::Head => [0xB7, 0x9C, 0xFF],
        StageId::Postprocess => [0xFF, 0x9B, 0xDD],
    })
}

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub struct TimelinePlot {
    /// Model and engine.
    pub title: String,
    /// Where it ran, and which frame it is.
    pub subtitle: [String; 2],
    /// The frame.
    pub timeline: Timeline,
}

impl TimelinePlot {
    /// Writes an `.svg` or a `.png`, as the file's name says.
    ///
    /// # Errors
    /// When it cannot be written or has another name.
    pub fn write(&self, file: &Path) -> Result<(), OutputError> {
        self.chart().write(file)
    }

    fn chart(&self) -> Chart {
        let mut shapes = self.header();
        let total = self.timeline.total_us().max(1e-3);
        let axis = Axis::new([0.0, total], COLUMNS);
        let lanes = Lane::ALL.map(|lane| Bars::of(&self.timeline, lane, &axis));
        let rows = lanes.each_ref().map(|bars| flag_rows(&bars.flags));
        let height = |rows: &[usize]| {
            let rows = rows.iter().max().map_or(0, |row| row + 1);
            LINE_HEIGHT * rows as f32
        };
        let upper = HEADER + height(&rows[0]) + GAP;
        let strip = upper + LANE_HEIGHT + STRIP_GAP;
        let lower = strip + STRIP_HEIGHT + STRIP_GAP;
        let bottom = lower + LANE_HEIGHT + height(&rows[1]) + 2.0 * GAP;
        grid(&mut shapes, &axis, [upper - GAP, bottom]);
        for ((bars, rows), (top, is_above)) in
            lanes.iter().zip(&rows).zip([(upper, true), (lower, false)])
        {
            self.lane(&mut shapes, bars, top);
            bars.draw(&mut shapes, rows, top, is_above);
        }
        self.strip(&mut shapes, &axis, strip);
        Chart {
            size: [WIDTH as u32, (bottom + 3.0 * LINE_HEIGHT) as u32],
            shapes,
        }
    }

    fn header(&self) -> Vec<Shape> {
        let mut shapes = vec![text([MARGIN, 40.0], TITLE_SIZE, TEXT, &self.title)];
        let lines = self.subtitle.iter().map(|line| (line.clone(), TEXT_DIM));
        let lines = lines.chain([(self.timeline.in_words(), TEXT)]);
        for (row, (line, ink)) in lines.enumerate() {
            let y = 63.0 + LINE_HEIGHT * row as f32;
            shapes.push(text([MARGIN, y], TEXT_SIZE, ink, &line));
        }
        shapes
    }

    /// What the lane is, and for how long something ran in it.
    fn lane(&self, shapes: &mut Vec<Shape>, bars: &Bars, top: f32) {
        let has_cameras = self.timeline.has_cameras();
        let [name, what] = match (bars.lane, has_cameras) {
            (Lane::Lidar, true) => ["LiDAR branch", "on a stream beside"],
            (Lane::Lidar, false) => ["LiDAR branch", "first"],
            (Lane::Main, true) => ["main stream", "cameras, BEV, head"],
            (Lane::Main, false) => ["main stream", "BEV, head"],
        };
        let [left, right] = COLUMNS;
        shapes.push(Shape::Rect {
            at: [left, top],
            size: [right - left, LANE_HEIGHT],
            ink: PANEL_EDGE.with_alpha(0.5),
        });
        let [upper, lower] = [20.0, 37.0].map(|down| top + down);
        shapes.push(text([MARGIN, upper], TEXT_SIZE, TEXT, name));
        shapes.push(text([MARGIN, lower], TEXT_SIZE, TEXT_DIM, what));
        let busy = format!(
            "{} µs",
            micro(interval_length(&self.timeline.busy(bars.lane)))
        );
        shapes.push(text([right + 12.0, upper], TEXT_SIZE, TEXT, &busy));
        shapes.push(text([right + 12.0, lower], TEXT_SIZE, TEXT_DIM, "busy"));
    }

    /// Between the lanes: when the LiDAR branch was hidden, and when it was not.
    fn strip(&self, shapes: &mut Vec<Shape>, axis: &Axis, top: f32) {
        if !self.timeline.has_cameras() {
            return;
        }
        let hidden = self.timeline.hidden();
        for (intervals, ink) in [
            (&self.timeline.busy(Lane::Lidar), EXPOSED),
            (&hidden, HIDDEN),
        ] {
            shapes.extend(intervals.iter().map(|[begin, end]| Shape::Rect {
                at: [axis.at(*begin), top],
                size: [axis.at(*end) - axis.at(*begin), STRIP_HEIGHT],
                ink,
            }));
        }
        let mut left = COLUMNS[1] + 12.0;
        for (name, ink) in [("hidden", HIDDEN), ("not", EXPOSED)] {
            shapes.push(Shape::Rect {
                at: [left, top],
                size: [STRIP_HEIGHT; 2],
                ink,
            });
            left += STRIP_HEIGHT + GAP;
            let baseline = top + STRIP_HEIGHT;
            shapes.push(text([left, baseline], TEXT_SIZE, TEXT_DIM, name));
            left += width_of(name) + 3.0 * GAP;
        }
    }
}

/// A bar's name that has no room inside.
#[derive(Clone, Debug, PartialEq)]
struct Flag {
    /// Where its leader is (px).
    at: f32,
    ink: Ink,
    text: String,
}

impl Flag {
    /// Where its text begins and ends (px).
    fn extent(&self) -> [f32; 2] {
        let left = self.at + GAP;
        [left, left + width_of(&self.text)]
    }
}

/// The row of each flag, 0 beside the lane; flags are in the order of their leaders.
fn flag_rows(flags: &[Flag]) -> Vec<usize> {
    let mut rows = vec![0; flags.len()];
    // The leftmost leader that passes each row or ends in it.
    let mut leftmost: Vec<f32> = Vec::new();
    for (flag, row) in flags.iter().zip(&mut rows).rev() {
        let end = flag.extent()[1] + GAP;
        *row = leftmost.partition_point(|leader| *leader < end);
        leftmost.resize(leftmost.len().max(*row + 1), flag.at);
        for leader in &mut leftmost[..=*row] {
            *leader = leader.min(flag.at);
        }
    }
    rows
}

/// The bars of a lane: left, right (px), with names inside or as flags.
#[derive(Clone, Debug)]
struct Bars {
    lane: Lane,
    inside: Vec<(StageSpan, [f32; 2], bool)>,
    flags: Vec<Flag>,
}

impl Bars {
    fn of(timeline: &Timeline, lane: Lane, axis: &Axis) -> Self {
        let mut bars = Self {
            lane,
            inside: Vec::new(),
            flags: Vec::new(),
        };
        let spans = timeline.spans().iter();
        for span in spans.filter(|span| lane_of(span.stage) == lane) {
            let [left, right] = [span.begin_us, span.end_us].map(|time| axis.at(time.into()));
            let [name, time] = words(span);
            let room = right - left - 2.0 * GAP;
            let is_named = width_of(&name).max(width_of(&time)) <= room;
            if !is_named {
                bars.flags.push(Flag {
                    at: left.midpoint(right),
                    ink: ink_of(span.stage),
                    text: format!("{name} {time}"),
                });
            }
            bars.inside.push((*span, [left, right], is_named));
        }
        bars.flags.sort_by(|a, b| a.at.total_cmp(&b.at));
        bars
    }

    fn draw(&self, shapes: &mut Vec<Shape>, rows: &[usize], top: f32, is_above: bool) {
        for (flag, row) in self.flags.iter().zip(rows) {
            let away = LINE_HEIGHT * *row as f32;
            let (edge, baseline, end) = match is_above {
                true => (top, top - GAP - away, top - GAP - away - TEXT_SIZE + 3.0),
                false => {
                    let baseline = top + LANE_HEIGHT + LINE_HEIGHT + away;
                    (top + LANE_HEIGHT, baseline, baseline)
                }
            };
            shapes.push(Shape::Line {
                points: vec![[flag.at, edge], [flag.at, end]],
                pen: Pen::new(flag.ink, 1.0),
            });
            shapes.push(text(
                [flag.extent()[0], baseline],
                TEXT_SIZE,
                flag.ink,
                &flag.text,
            ));
        }
        for (span, [left, right], is_named) in &self.inside {
            shapes.push(Shape::Rect {
                at: [*left, top],
                // A line of background between neighbours; the shortest bar is still seen.
                size: [(right - left - 1.0).max(1.5), LANE_HEIGHT],
                ink: ink_of(span.stage),
            });
            if *is_named {
                let middle = left.midpoint(*right);
                for (line, down) in words(span).into_iter().zip([20.0, 37.0]) {
                    shapes.push(Shape::Text {
                        at: [middle, top + down],
                        size: TEXT_SIZE,
                        anchor: Anchor::Middle,
                        ink: BACKGROUND,
                        text: line,
                    });
                }
            }
        }
    }
}

/// Name and duration.
fn words(span: &StageSpan) -> [String; 2] {
    let time = f64::from(span.end_us) - f64::from(span.begin_us);
    [span.stage.name().to_owned(), format!("{} µs", micro(time))]
}

/// Width of a text (px).
fn width_of(text: &str) -> f32 {
    ADVANCE * TEXT_SIZE * text.chars().count() as f32
}

fn text(at: [f32; 2], size: f32, ink: Ink, text: &str) -> Shape {
    Shape::Text {
        at,
        size,
        anchor: Anchor::Start,
        ink,
        text: text.to_owned(),
    }
}

fn grid(shapes: &mut Vec<Shape>, axis: &Axis, [top, bottom]: [f32; 2]) {
    for (value, label) in axis.ticks() {
        let at = axis.at(value);
        shapes.push(Shape::Line {
            points: vec![[at, top], [at, bottom]],
            pen: Pen::new(GRID, 1.0),
        });
        shapes.push(Shape::Text {
            at: [at, bottom + LINE_HEIGHT],
            size: TEXT_SIZE,
            anchor: Anchor::Middle,
            ink: TEXT_DIM,
            text: label,
        });
    }
    let below = bottom + LINE_HEIGHT;
    shapes.push(text([MARGIN, below], TEXT_SIZE, TEXT_DIM, "time (µs)"));
}

#[cfg(test)]
mod tests;
