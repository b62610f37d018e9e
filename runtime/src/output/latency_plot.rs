//! Times of a run as a picture: a line over the frames above, a histogram with percentiles below.

use std::path::Path;

use super::OutputError;
use super::axis::Axis;
use super::canvas::Pen;
use super::chart::{Anchor, Chart, Shape};
use super::style::{GRID, Ink, TEXT, TEXT_DIM};

const SIZE: [u32; 2] = [1200, 760];
/// Left, right (px).
const COLUMNS: [f32; 2] = [90.0, 1170.0];
/// Bottom, top (px): y grows downwards.
const UPPER: [f32; 2] = [390.0, 110.0];
const LOWER: [f32; 2] = [690.0, 460.0];
const TITLE_SIZE: f32 = 22.0;
const TEXT_SIZE: f32 = 13.0;
const LINE_HEIGHT: f32 = 17.0;
const SERIES: Ink = Ink::solid([0x62, 0xB6, 0xF7]);
const MARK: Ink = Ink::solid([0xF2, 0xA0, 0x3D]);
const BINS: usize = 60;

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatencyPlot {
    pub(crate) title: String,
    /// Where and what of.
    pub(crate) subtitle: [String; 2],
    /// In order of time.
    pub(crate) times_ms: Vec<f64>,
    /// Percentiles by name (ms).
    pub(crate) marks: Vec<(&'static str, f64)>,
}

impl LatencyPlot {
    /// Writes an `.svg` or a `.png`, as the file's name says.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<(), OutputError> {
        self.chart().write(file)
    }

    fn chart(&self) -> Chart {
        let mut shapes = vec![text([COLUMNS[0], 40.0], TITLE_SIZE, TEXT, &self.title)];
        for (row, line) in self.subtitle.iter().enumerate() {
            let y = 62.0 + LINE_HEIGHT * row as f32;
            shapes.push(text([COLUMNS[0], y], TEXT_SIZE, TEXT_DIM, line));
        }
        self.line(&mut shapes);
        self.histogram(&mut shapes);
        Chart { size: SIZE, shapes }
    }

    fn line(&self, shapes: &mut Vec<Shape>) {
        let slowest = self.times_ms.iter().copied().fold(0.0, f64::max);
        let x = Axis::new([0.0, self.times_ms.len().max(2) as f64 - 1.0], COLUMNS);
        let y = Axis::new([0.0, 1.05 * slowest.max(1e-6)], UPPER);
        grid(shapes, (&x, "frame"), (&y, "ms"));
        shapes.push(Shape::Line {
            points: envelope(&self.times_ms, &x, &y),
            pen: Pen::new(SERIES, 1.5),
        });
    }

    fn histogram(&self, shapes: &mut Vec<Shape>) {
        let (low, high) = range(&self.times_ms);
        let counts = counts(&self.times_ms, low, high);
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let x = Axis::new([low, high], COLUMNS);
        // The marks' names stand above the bars.
        let y = Axis::new([0.0, 1.5 * most as f64], LOWER);
        grid(shapes, (&x, "ms"), (&y, "frames"));
        let width = (COLUMNS[1] - COLUMNS[0]) / BINS as f32;
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let top = y.at(*count as f64);
            shapes.push(Shape::Rect {
                at: [COLUMNS[0] + width * bin as f32, top],
                size: [width - 1.0, LOWER[0] - top],
                ink: SERIES,
            });
        }
        for (row, (name, time)) in self.marks.iter().enumerate() {
            let at = x.at(*time);
            let top = LOWER[1] + LINE_HEIGHT * row as f32;
            shapes.push(Shape::Line {
                points: vec![[at, LOWER[0]], [at, top]],
                pen: Pen {
                    dash: Some([4.0, 3.0]),
                    ..Pen::new(MARK, 1.0)
                },
            });
            let is_left = at < COLUMNS[0].midpoint(COLUMNS[1]);
            let (anchor, gap) = match is_left {
                true => (Anchor::Start, 5.0),
                false => (Anchor::End, -5.0),
            };
            shapes.push(Shape::Text {
                at: [at + gap, top + 11.0],
                size: TEXT_SIZE,
                anchor,
                ink: MARK,
                text: format!("{name} {time:.3} ms"),
            });
        }
    }
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

fn grid(shapes: &mut Vec<Shape>, (x, x_unit): (&Axis, &str), (y, y_unit): (&Axis, &str)) {
    let [[left, right], [bottom, top]] = [x.pixels, y.pixels];
    let mut tick = |points: Vec<[f32; 2]>, at, anchor, text| {
        let pen = Pen::new(GRID, 1.0);
        shapes.push(Shape::Line { points, pen });
        shapes.push(Shape::Text {
            at,
            size: TEXT_SIZE,
            anchor,
            ink: TEXT_DIM,
            text,
        });
    };
    for (value, label) in x.ticks() {
        let at = x.at(value);
        let below = [at, bottom + LINE_HEIGHT];
        tick(vec![[at, bottom], [at, top]], below, Anchor::Middle, label);
    }
    for (value, label) in y.ticks() {
        let at = y.at(value);
        let beside = [left - 8.0, at + 4.0];
        tick(vec![[left, at], [right, at]], beside, Anchor::End, label);
    }
    shapes.push(text([left, top - 8.0], TEXT_SIZE, TEXT_DIM, y_unit));
    shapes.push(Shape::Text {
        at: [right, bottom + 2.0 * LINE_HEIGHT],
        size: TEXT_SIZE,
        anchor: Anchor::End,
        ink: TEXT_DIM,
        text: x_unit.to_owned(),
    });
}

/// The line; of more samples than columns each column keeps its least and its greatest.
fn envelope(times: &[f64], x: &Axis, y: &Axis) -> Vec<[f32; 2]> {
    let columns = (COLUMNS[1] - COLUMNS[0]) as usize;
    let share = times.len().div_ceil(columns).max(1);
    let mut points = Vec::new();
    for (index, chunk) in times.chunks(share).enumerate() {
        let at = x.at((index * share) as f64);
        let least = chunk.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = chunk.iter().copied().fold(0.0, f64::max);
        points.push([at, y.at(greatest)]);
        if chunk.len() > 1 {
            points.push([at, y.at(least)]);
        }
    }
    // One sample is a level line.
    if let [only] = points[..] {
        points.push([COLUMNS[1], only[1]]);
    }
    points
}

/// From the least to the greatest, never empty.
fn range(times: &[f64]) -> (f64, f64) {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = times.iter().copied().fold(0.0, f64::max);
    if !least.is_finite() {
        return (0.0, 1.0);
    }
    let margin = (0.02 * (greatest - least)).max(1e-3 * greatest.max(1e-3));
    ((least - margin).max(0.0), greatest + margin)
}

fn counts(times: &[f64], low: f64, high: f64) -> [usize; BINS] {
    let mut counts = [0; BINS];
    for time in times {
        let share = (time - low) / (high - low);
        let bin = (share * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Axis, BINS, COLUMNS, LatencyPlot, UPPER, counts, envelope, range};

    fn plot(times_ms: Vec<f64>) -> LatencyPlot {
        LatencyPlot {
            title: "a model".to_owned(),
            marks: vec![("p50", times_ms.first().copied().unwrap_or_default())],
            times_ms,
            ..LatencyPlot::default()
        }
    }

    #[test]
    fn every_sample_is_in_one_bin() {
        let times: Vec<f64> = (0..1000).map(|i| 5.0 + f64::from(i % 37)).collect();
        let (low, high) = range(&times);
        let counts = counts(&times, low, high);
        assert_eq!(counts.iter().sum::<usize>(), times.len());
        assert_eq!(counts.len(), BINS);
    }

    #[test]
    fn a_single_slow_frame_stays_visible_among_very_many() {
        let mut times = vec![1.0; 100_000];
        times[54_321] = 9.0;
        let x = Axis::new([0.0, 99_999.0], COLUMNS);
        let y = Axis::new([0.0, 10.0], UPPER);
        let points = envelope(&times, &x, &y);
        assert!(points.len() < 2500);
        let highest = points.iter().map(|point| point[1]).fold(f32::MAX, f32::min);
        assert!((highest - y.at(9.0)).abs() < 1e-3);
    }

    #[test]
    fn one_sample_equal_samples_and_none_can_be_drawn() {
        for times in [vec![], vec![3.0], vec![3.0; 5], vec![0.0, 0.0]] {
            let chart = plot(times).chart();
            assert!(!chart.svg().contains("NaN") && !chart.svg().contains("inf"));
            chart.picture().expect("a picture");
        }
    }

    #[test]
    fn the_files_name_is_the_format() {
        let folder = tempfile::tempdir().expect("a folder");
        let plot = plot(vec![1.0, 2.0, 1.5]);
        for (name, start) in [("a.svg", &b"<svg"[..]), ("a.PNG", b"\x89PNG")] {
            let file = folder.path().join(name);
            plot.write(&file).expect("written");
            assert!(std::fs::read(&file).expect("there").starts_with(start));
        }
        let refused = plot
            .write(&folder.path().join("a.pdf"))
            .expect_err("refused");
        assert!(refused.to_string().contains(".svg or a .png"), "{refused}");
    }
}
