//! Anti-aliased drawing into an opaque RGB picture, and the PNG file of one.
//!
//! Coordinates are pixels, x right, y down, (0, 0) the top left corner of the top left pixel.

use std::path::Path;

use image::ImageEncoder;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform,
};

use super::OutputError;
use super::file::AtomicFile;
use super::style::Ink;
use super::text::{Face, Fonts};
use crate::input::RgbImage;

/// Largest edge of a picture (px).
const MAX_EDGE_PX: u32 = 16_384;
const BYTES_PER_PIXEL: usize = 4;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pen {
    pub(super) ink: Ink,
    /// px
    pub(super) width: f32,
    /// On and off lengths (px); `None` for a full line.
    pub(super) dash: Option<[f32; 2]>,
}

impl Pen {
    pub(super) const fn new(ink: Ink, width: f32) -> Self {
        Self {
            ink,
            width,
            dash: None,
        }
    }
}

/// Whether the last point of a line joins the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Open,
    Closed,
}

/// A picture under construction.
#[derive(Debug)]
pub(super) struct Canvas {
    pixmap: Pixmap,
    pub(super) fonts: Fonts,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32, background: Ink) -> Result<Self, OutputError> {
        let allowed = |edge: u32| (1..=MAX_EDGE_PX).contains(&edge);
        let pixmap = (allowed(width) && allowed(height))
            .then(|| Pixmap::new(width, height))
            .flatten()
            .ok_or_else(|| {
                OutputError::Picture(format!(
                    "{width} x {height} px; each edge must be 1 to {MAX_EDGE_PX} px"
                ))
            })?;
        let mut canvas = Self {
            pixmap,
            fonts: Fonts::load()?,
        };
        let [r, g, b] = background.rgb;
        canvas.pixmap.fill(Color::from_rgba8(r, g, b, u8::MAX));
        Ok(canvas)
    }

    /// Width, height (px).
    pub(super) fn size(&self) -> [f32; 2] {
        [self.pixmap.width() as f32, self.pixmap.height() as f32]
    }

    pub(super) fn fill_polygon(&mut self, corners: &[[f32; 2]], ink: Ink) {
        if let Some(path) = path(corners, Ends::Closed) {
            self.pixmap.fill_path(
                &path,
                &paint(ink),
                FillRule::Winding,
                Transform::identity(),
                None,
            );
        }
    }

    pub(super) fn fill_rect(&mut self, [left, top]: [f32; 2], [width, height]: [f32; 2], ink: Ink) {
        let (right, bottom) = (left + width, top + height);
        let corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
        self.fill_polygon(&corners, ink);
    }

    pub(super) fn line(&mut self, points: &[[f32; 2]], ends: Ends, pen: Pen) {
        if let Some(path) = path(points, ends) {
            self.stroke(&path, pen);
        }
    }

    pub(super) fn circle(&mut self, [x, y]: [f32; 2], radius: f32, pen: Pen) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.stroke(&path, pen);
        }
    }

    fn stroke(&mut self, path: &tiny_skia::Path, pen: Pen) {
        let stroke = Stroke {
            // Thinner lines would only fade.
            width: pen.width.max(1.0),
            line_cap: LineCap::Butt,
            line_join: LineJoin::Round,
            dash: pen
                .dash
                .and_then(|lengths| StrokeDash::new(lengths.to_vec(), 0.0)),
            ..Stroke::default()
        };
        let identity = Transform::identity();
        self.pixmap
            .stroke_path(path, &paint(pen.ink), &stroke, identity, None);
    }

    /// A square of edge `size` (px) about `at`; exact coverage, much cheaper than a path.
    pub(super) fn dot(&mut self, [x, y]: [f32; 2], size: f32, ink: Ink) {
        let (left, top) = (x - 0.5 * size, y - 0.5 * size);
        let overlap = |pixel: i64, start: f32| {
            let first = pixel as f32;
            ((first + 1.0).min(start + size) - first.max(start)).clamp(0.0, 1.0)
        };
        for row in top.floor() as i64..(top + size).ceil() as i64 {
            for column in left.floor() as i64..(left + size).ceil() as i64 {
                let share = overlap(column, left) * overlap(row, top);
                self.blend([column, row], ink, share);
            }
        }
    }

    /// One line of text with the left end of its baseline at `at`.
    pub(super) fn text(&mut self, (face, size): (Face, f32), at: [f32; 2], ink: Ink, text: &str) {
        for outline in self.fonts.outlines(face, size, at, text) {
            let corner = outline.px_bounds().min;
            let [left, top] = [corner.x, corner.y].map(|v| v as i64);
            outline.draw(|x, y, coverage| {
                let pixel = [left + i64::from(x), top + i64::from(y)];
                self.blend(pixel, ink, coverage.clamp(0.0, 1.0));
            });
        }
    }

    /// Copies an image to `left`, `top`; what lies outside is cut.
    pub(super) fn copy(&mut self, image: &image::RgbImage, [left, top]: [i64; 2]) {
        for (x, y, pixel) in image.enumerate_pixels() {
            let at = [left + i64::from(x), top + i64::from(y)];
            self.blend(at, Ink::solid(pixel.0), 1.0);
        }
    }

    fn blend(&mut self, [x, y]: [i64; 2], ink: Ink, share: f32) {
        let (width, height) = (self.pixmap.width(), self.pixmap.height());
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if x >= width || y >= height {
            return;
        }
        let alpha = ink.alpha * share;
        let start = (y as usize * width as usize + x as usize) * BYTES_PER_PIXEL;
        let pixel = self.pixmap.data_mut()[start..].iter_mut();
        for (below, above) in pixel.zip(ink.rgb) {
            let mixed = f32::from(*below) * (1.0 - alpha) + f32::from(above) * alpha;
            *below = mixed.round() as u8;
        }
    }

    /// The finished picture.
    pub(super) fn into_image(self) -> RgbImage {
        let pixels = self.pixmap.data().chunks_exact(BYTES_PER_PIXEL);
        RgbImage {
            width: self.pixmap.width() as usize,
            height: self.pixmap.height() as usize,
            pixels: pixels.flat_map(|p| [p[0], p[1], p[2]]).collect(),
        }
    }
}

fn paint(ink: Ink) -> Paint<'static> {
    let [r, g, b] = ink.rgb;
    let mut paint = Paint::default();
    let alpha = (ink.alpha.clamp(0.0, 1.0) * f32::from(u8::MAX)).round() as u8;
    paint.set_color_rgba8(r, g, b, alpha);
    paint
}

fn path(points: &[[f32; 2]], ends: Ends) -> Option<tiny_skia::Path> {
    let (first, rest) = points.split_first()?;
    if !points.iter().flatten().all(|v| v.is_finite()) {
        return None;
    }
    let mut builder = PathBuilder::new();
    builder.move_to(first[0], first[1]);
    for point in rest {
        builder.line_to(point[0], point[1]);
    }
    if ends == Ends::Closed {
        builder.close();
    }
    builder.finish()
}

/// Writes a picture as a PNG file, which appears under its name when it is complete.
///
/// # Errors
/// When the file cannot be written or `pixels` has not the length that width and height give.
pub fn write_png(picture: &RgbImage, path: &Path) -> Result<(), OutputError> {
    let mut file = AtomicFile::create(path)?;
    let RgbImage { width, height, .. } = *picture;
    let edge = |value: usize| u32::try_from(value).ok();
    let (Some(columns), Some(rows), true) = (
        edge(width),
        edge(height),
        width.checked_mul(height).and_then(|n| n.checked_mul(3)) == Some(picture.pixels.len()),
    ) else {
        return Err(OutputError::Picture(format!(
            "{width} x {height} px with {} bytes; expected three a pixel",
            picture.pixels.len()
        )));
    };
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(
            &picture.pixels,
            columns,
            rows,
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|error| match error {
            image::ImageError::IoError(source) => OutputError::write(path)(source),
            source => OutputError::Encode {
                path: path.to_path_buf(),
                source,
            },
        })?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use super::{Canvas, Ends, Pen, write_png};
    use crate::input::RgbImage;
    use crate::output::style::{BACKGROUND, Ink};

    fn pixel(image: &RgbImage, x: usize, y: usize) -> [u8; 3] {
        let start = (y * image.width + x) * 3;
        image.pixels[start..start + 3].try_into().expect("three")
    }

    #[test]
    fn a_dot_between_pixels_is_shared_by_them() {
        let mut canvas = Canvas::new(8, 8, Ink::solid([0; 3])).expect("canvas");
        canvas.dot([4.0, 4.5], 1.0, Ink::solid([200; 3]));
        canvas.dot([-50.0, 1e9], 3.0, Ink::solid([200; 3]));
        let image = canvas.into_image();
        assert_eq!(pixel(&image, 3, 4), [100; 3]);
        assert_eq!(pixel(&image, 4, 4), [100; 3]);
        assert_eq!(pixel(&image, 4, 3), [0; 3]);
        assert_eq!(pixel(&image, 5, 4), [0; 3]);
    }

    #[test]
    fn a_line_that_is_not_finite_is_left_out() {
        let mut canvas = Canvas::new(8, 8, BACKGROUND).expect("canvas");
        let pen = Pen::new(Ink::solid([255; 3]), 4.0);
        canvas.line(&[[0.0, 4.0], [f32::NAN, 4.0]], Ends::Open, pen);
        let image = canvas.into_image();
        assert!(image.pixels.chunks_exact(3).all(|p| p == BACKGROUND.rgb));
    }

    #[test]
    fn a_picture_reads_back_from_its_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.png");
        let mut canvas = Canvas::new(9, 5, BACKGROUND).expect("canvas");
        canvas.fill_rect([2.0, 1.0], [3.0, 2.0], Ink::solid([250, 20, 30]));
        let picture = canvas.into_image();
        write_png(&picture, &path).expect("write");
        let back = image::open(&path).expect("open").to_rgb8();
        assert_eq!(back.dimensions(), (9, 5));
        assert_eq!(back.into_raw(), picture.pixels);
        assert_eq!(pixel(&picture, 3, 2), [250, 20, 30]);
    }

    #[test]
    fn an_empty_picture_and_a_short_one_are_refused() {
        let error = Canvas::new(0, 9, BACKGROUND)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("0 x 9 px; each edge must be 1 to"),
            "{error}"
        );
        let short = RgbImage {
            width: 2,
            height: 2,
            pixels: vec![0; 11],
        };
        let folder = tempfile::tempdir().expect("folder");
        let error = write_png(&short, &folder.path().join("a.png")).expect_err("refused");
        assert!(
            error.to_string().contains("2 x 2 px with 11 bytes"),
            "{error}"
        );
    }
}
