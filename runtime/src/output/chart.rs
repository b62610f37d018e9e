//! A chart as a list of shapes, drawn as SVG text or as pixels.
//!
//! Coordinates are those of the canvas: pixels, x right, y down.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::OutputError;
use super::canvas::{Canvas, Ends, Pen, write_png};
use super::file::AtomicFile;
use super::style::{BACKGROUND, Ink};
use super::text::Face;
use crate::input::RgbImage;

/// Which point of a text its position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Rect {
        at: [f32; 2],
        size: [f32; 2],
        ink: Ink,
    },
    Line {
        points: Vec<[f32; 2]>,
        pen: Pen,
    },
    Text {
        at: [f32; 2],
        /// px
        size: f32,
        anchor: Anchor,
        ink: Ink,
        text: String,
    },
}

/// File formats of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    /// The format that a file's name asks for.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn of(file: &Path) -> Result<Self, OutputError> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(OutputError::Content {
                path: file.to_path_buf(),
                reason: "a plot is an .svg or a .png: name it so".to_owned(),
            }),
        }
    }
}

/// Shapes on the background, later ones above.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Width, height (px).
    pub(super) size: [u32; 2],
    pub(super) shapes: Vec<Shape>,
}

impl Chart {
    /// Writes the file in the format of its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, file: &Path) -> Result<(), OutputError> {
        match Format::of(file)? {
            Format::Png => write_png(&self.picture()?, file),
            Format::Svg => {
                let mut out = AtomicFile::create(file)?;
                out.write_all(self.svg().as_bytes())
                    .map_err(OutputError::write(file))?;
                out.finish()
            }
        }
    }

    /// A whole SVG file.
    pub(super) fn svg(&self) -> String {
        let [width, height] = self.size;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 \
             {width} {height}\" font-family=\"monospace\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"{}\"/>\n",
            hex(BACKGROUND)
        );
        for shape in &self.shapes {
            text.push_str(&element(shape));
        }
        text.push_str("</svg>\n");
        text
    }

    /// Pixels.
    pub(super) fn picture(&self) -> Result<RgbImage, OutputError> {
        let [width, height] = self.size;
        let mut canvas = Canvas::new(width, height, BACKGROUND)?;
        for shape in &self.shapes {
            draw(&mut canvas, shape);
        }
        Ok(canvas.into_image())
    }
}

fn draw(canvas: &mut Canvas, shape: &Shape) {
    match shape {
        Shape::Rect { at, size, ink } => canvas.fill_rect(*at, *size, *ink),
        Shape::Line { points, pen } => canvas.line(points, Ends::Open, *pen),
        Shape::Text {
            at,
            size,
            anchor,
            ink,
            text,
        } => {
            let width = canvas.fonts.width(Face::Mono, *size, text);
            let share = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => 0.5,
                Anchor::End => 1.0,
            };
            let at = [at[0] - share * width, at[1]];
            canvas.text((Face::Mono, *size), at, *ink, text);
        }
    }
}

/// A line of the file. Writing into a String cannot fail.
fn element(shape: &Shape) -> String {
    match shape {
        Shape::Rect { at, size, ink } => format!(
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{}\" fill-opacity=\"{}\"/>\n",
            at[0],
            at[1],
            size[0],
            size[1],
            hex(*ink),
            ink.alpha
        ),
        Shape::Line { points, pen } => {
            let mut list = String::new();
            for [x, y] in points {
                let _ = write!(list, "{x:.2},{y:.2} ");
            }
            let dash = pen.dash.map_or(String::new(), |[on, off]| {
                format!(" stroke-dasharray=\"{on} {off}\"")
            });
            format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-opacity=\"{}\" \
                 stroke-width=\"{}\"{dash}/>\n",
                list.trim_end(),
                hex(pen.ink),
                pen.ink.alpha,
                pen.width
            )
        }
        Shape::Text {
            at,
            size,
            anchor,
            ink,
            text,
        } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            format!(
                "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>\n",
                at[0],
                at[1],
                hex(*ink),
                escaped(text)
            )
        }
    }
}

fn hex(ink: Ink) -> String {
    let [r, g, b] = ink.rgb;
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Anchor, Chart, Shape};
    use crate::output::canvas::Pen;
    use crate::output::style::{BACKGROUND, TEXT};

    fn chart() -> Chart {
        let ink = TEXT;
        Chart {
            size: [120, 40],
            shapes: vec![
                Shape::Rect {
                    at: [10.0, 10.0],
                    size: [20.0, 5.0],
                    ink,
                },
                Shape::Line {
                    points: vec![[0.0, 30.0], [60.0, 30.0]],
                    pen: Pen::new(ink, 2.0),
                },
                Shape::Text {
                    at: [118.0, 20.0],
                    size: 12.0,
                    anchor: Anchor::End,
                    ink,
                    text: "a < b & c".to_owned(),
                },
            ],
        }
    }

    #[test]
    fn text_cannot_break_out_of_its_element() {
        let svg = chart().svg();
        assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2, "background and one more");
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_picture_has_every_shape_where_it_belongs() {
        let picture = chart().picture().expect("a picture");
        let drawn = |columns: std::ops::Range<usize>, rows: std::ops::Range<usize>| {
            rows.flat_map(|row| columns.clone().map(move |column| (row, column)))
                .any(|(row, column)| {
                    let start = 3 * (row * picture.width + column);
                    picture.pixels[start..start + 3] != BACKGROUND.rgb
                })
        };
        assert!(drawn(12..28, 11..14), "the rectangle");
        assert!(drawn(5..50, 29..31), "the line");
        assert!(drawn(60..118, 10..20), "the text ends at its position");
        assert!(!drawn(119..120, 0..40) && !drawn(60..120, 25..40));
    }
}
