//! What cameras deliver, as 8-bit RGB.
//!
//! In: rows of any byte stride in one of the common encodings, for NV12 with a second plane. Out:
//! `[height, width, 3]` u8. YUV is BT.601 of limited range in 20-bit fixed point and Bayer mosaics are
//! interpolated linearly, both with the grey levels of OpenCV's `cvtColor`.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::CHANNELS;

/// Longest edge of an image (px).
pub const MAX_EDGE: usize = 8192;

/// Colours of the upper left 2×2 pixels of a mosaic, row by row; the names of ROS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BayerPattern {
    /// R G over G B.
    Rggb,
    /// B G over G R.
    Bggr,
    /// G B over R G.
    Gbrg,
    /// G R over B G.
    Grbg,
}

impl BayerPattern {
    /// Column and row (0 or 1) of red in the pattern; blue is opposite.
    #[must_use]
    pub const fn red(self) -> [usize; 2] {
        match self {
            Self::Rggb => [0, 0],
            Self::Bggr => [1, 1],
            Self::Gbrg => [0, 1],
            Self::Grbg => [1, 0],
        }
    }
}

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PixelFormat {
    /// R G B.
    Rgb8,
    /// B G R.
    Bgr8,
    /// R G B and a byte that is ignored.
    Rgba8,
    /// B G R and a byte that is ignored.
    Bgra8,
    /// Grey.
    Mono8,
    /// 4:2:2, U Y V Y for two pixels.
    Uyvy,
    /// 4:2:2, Y U Y V for two pixels.
    Yuy2,
    /// 4:2:0, a plane of Y and one of U V pairs for 2×2 pixels.
    Nv12,
    /// One colour per pixel.
    Bayer(BayerPattern),
}

impl PixelFormat {
    /// Bytes of a row of the first plane.
    #[must_use]
    pub const fn row_bytes(self, width: usize) -> usize {
        let each = match self {
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
            Self::Uyvy | Self::Yuy2 => 2,
            Self::Mono8 | Self::Nv12 | Self::Bayer(_) => 1,
        };
        each * width
    }

    /// Whole pixels that share their colour along x and y: extents are multiples of this.
    #[must_use]
    pub const fn granularity(self) -> [usize; 2] {
        match self {
            Self::Uyvy | Self::Yuy2 => [2, 1],
            Self::Nv12 => [2, 2],
            _ => [1, 1],
        }
    }

    /// Checks extents (width, height in px) and strides (bytes; the second of NV12's chroma).
    ///
    /// # Errors
    /// When an extent is 0, above [`MAX_EDGE`] or splits pixels that share their colour, or a stride is
    /// shorter than a row.
    pub fn check(self, size: [usize; 2], strides: [usize; 2]) -> Result<(), FormatError> {
        let [width, height] = size;
        if !(1..=MAX_EDGE).contains(&width) || !(1..=MAX_EDGE).contains(&height) {
            return Err(FormatError::Extent { width, height });
        }
        let [across, down] = self.granularity();
        if width % across != 0 || height % down != 0 {
            return Err(FormatError::Odd {
                format: self,
                width,
                height,
                across,
                down,
            });
        }
        let expected = self.row_bytes(width);
        let planes = if self == Self::Nv12 { 2 } else { 1 };
        match strides.iter().take(planes).find(|found| **found < expected) {
            None => Ok(()),
            Some(found) => Err(FormatError::Stride {
                format: self,
                width,
                expected,
                found: *found,
            }),
        }
    }
}

/// Why bytes are no image of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No pixels, or too many.
    #[error("the image is {width}x{height} px: both extents must be 1 to {MAX_EDGE}")]
    Extent {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Extents that split pixels which share their colour.
    #[error(
        "a {format:?} image needs a width that is a multiple of {across} and a height that is a multiple \
         of {down}; this one is {width}x{height} px"
    )]
    Odd {
        /// The encoding.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// What the width must be a multiple of.
        across: usize,
        /// What the height must be a multiple of.
        down: usize,
    },
    /// Rows overlap.
    #[error(
        "rows of a {format:?} image of {width} px take {expected} bytes, the stride is {found}"
    )]
    Stride {
        /// The encoding.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Bytes of a row.
        expected: usize,
        /// Bytes from row to row.
        found: usize,
    },
    /// A plane is shorter than its rows.
    #[error("the {plane} of the image takes {expected} bytes, but holds {found}")]
    Length {
        /// Which plane.
        plane: &'static str,
        /// Bytes up to the end of its last row.
        expected: usize,
        /// Bytes present.
        found: usize,
    },
    /// A second plane is missing, or there is one too many.
    #[error("a {format:?} image {} a second plane", if *.needed { "needs" } else { "has no use for" })]
    Planes {
        /// The encoding.
        format: PixelFormat,
        /// Whether it needs one.
        needed: bool,
    },
}

/// Rows of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// All rows; the last one may end without its padding.
    pub bytes: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
}

impl<'a> Plane<'a> {
    fn check(&self, plane: &'static str, rows: usize, row_bytes: usize) -> Result<(), FormatError> {
        let expected = self
            .stride
            .saturating_mul(rows - 1)
            .saturating_add(row_bytes);
        let found = self.bytes.len();
        if found < expected {
            return Err(FormatError::Length {
                plane,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[y * self.stride..]
    }
}

/// A borrowed image of any format whose planes hold all of its pixels.
#[derive(Clone, Copy, Debug)]
pub struct RawImage<'a> {
    format: PixelFormat,
    size: [usize; 2],
    pixels: Plane<'a>,
    chroma: Plane<'a>,
}

impl<'a> RawImage<'a> {
    /// `size` is width, height; `chroma` is the second plane of NV12.
    ///
    /// # Errors
    /// As [`PixelFormat::check`], and when a plane is missing, superfluous or too short.
    pub fn new(
        format: PixelFormat,
        size: [usize; 2],
        pixels: Plane<'a>,
        chroma: Option<Plane<'a>>,
    ) -> Result<Self, FormatError> {
        let needed = format == PixelFormat::Nv12;
        if chroma.is_some() != needed {
            return Err(FormatError::Planes { format, needed });
        }
        let second = chroma.unwrap_or(pixels);
        format.check(size, [pixels.stride, second.stride])?;
        let row_bytes = format.row_bytes(size[0]);
        pixels.check("plane of pixels", size[1], row_bytes)?;
        if needed {
            second.check("plane of chroma", size[1] / 2, row_bytes)?;
        }
        Ok(Self {
            format,
            size,
            pixels,
            chroma: second,
        })
    }

    /// Width, height (px).
    #[must_use]
    pub const fn size(&self) -> [usize; 2] {
        self.size
    }

    /// How pixels are stored.
    #[must_use]
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The plane of pixels, and NV12's chroma.
    #[must_use]
    pub fn planes(&self) -> (Plane<'a>, Option<Plane<'a>>) {
        let second = self.format == PixelFormat::Nv12;
        (self.pixels, second.then_some(self.chroma))
    }

    /// Decodes; `out` becomes `[height, width, 3]`.
    pub fn to_rgb(&self, out: &mut Vec<u8>) {
        let [width, height] = self.size;
        out.clear();
        out.resize(width * height * CHANNELS, 0);
        out.par_chunks_mut(width * CHANNELS)
            .enumerate()
            .for_each(|(y, line)| {
                for (x, pixel) in line.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
                    *pixel = self.pixel(x, y);
                }
            });
    }

    fn pixel(&self, x: usize, y: usize) -> [u8; CHANNELS] {
        let row = self.pixels.row(y);
        let pair = x / 2 * 4;
        match self.format {
            PixelFormat::Rgb8 => [row[3 * x], row[3 * x + 1], row[3 * x + 2]],
            PixelFormat::Bgr8 => [row[3 * x + 2], row[3 * x + 1], row[3 * x]],
            PixelFormat::Rgba8 => [row[4 * x], row[4 * x + 1], row[4 * x + 2]],
            PixelFormat::Bgra8 => [row[4 * x + 2], row[4 * x + 1], row[4 * x]],
            PixelFormat::Mono8 => [row[x]; 3],
            PixelFormat::Uyvy => from_yuv(row[2 * x + 1], row[pair], row[pair + 2]),
            PixelFormat::Yuy2 => from_yuv(row[2 * x], row[pair + 1], row[pair + 3]),
            PixelFormat::Nv12 => {
                let chroma = self.chroma.row(y / 2);
                from_yuv(row[x], chroma[x / 2 * 2], chroma[x / 2 * 2 + 1])
            }
            PixelFormat::Bayer(pattern) => self.mosaic(pattern, x, y),
        }
    }

    /// The outermost pixels repeat their inner neighbours; without any inside, the image is black.
    fn mosaic(&self, pattern: BayerPattern, x: usize, y: usize) -> [u8; CHANNELS] {
        let [width, height] = self.size;
        if width < 3 || height < 3 {
            return [0; CHANNELS];
        }
        let (x, y) = (x.clamp(1, width - 2), y.clamp(1, height - 2));
        let [above, row, below] = [y - 1, y, y + 1].map(|y| self.pixels.row(y));
        let value = |row: &[u8], x: usize| u32::from(row[x]);
        let here = row[x];
        let across = value(row, x - 1) + value(row, x + 1);
        let down = value(above, x) + value(below, x);
        let [red_x, red_y] = pattern.red();
        let (red_column, red_row) = (x % 2 == red_x, y % 2 == red_y);
        if red_column == red_row {
            let corners = value(above, x - 1)
                + value(above, x + 1)
                + value(below, x - 1)
                + value(below, x + 1);
            let green = ((across + down + 2) >> 2) as u8;
            let other = ((corners + 2) >> 2) as u8;
            return if red_row {
                [here, green, other]
            } else {
                [other, green, here]
            };
        }
        let (across, down) = (((across + 1) >> 1) as u8, ((down + 1) >> 1) as u8);
        if red_row {
            [across, here, down]
        } else {
            [down, here, across]
        }
    }
}

/// BT.601, limited range, in 20-bit fixed point.
fn from_yuv(luma: u8, u: u8, v: u8) -> [u8; CHANNELS] {
    const BITS: i32 = 20;
    const HALF: i32 = 1 << (BITS - 1);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let luma = (i32::from(luma) - 16).max(0) * 1_220_542 + HALF;
    [1_673_527 * v, -852_492 * v - 409_993 * u, 2_116_026 * u]
        .map(|colour| ((luma + colour) >> BITS).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::{FormatError, PixelFormat, Plane, RawImage};

    fn plane(bytes: &[u8], stride: usize) -> Plane<'_> {
        Plane { bytes, stride }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let bytes = [0; 64];
        let made = |format, size, stride, chroma| {
            RawImage::new(format, size, plane(&bytes, stride), chroma).map(|_| ())
        };
        let error = made(PixelFormat::Rgb8, [4, 6], 11, None).expect_err("a short stride");
        assert!(matches!(
            error,
            FormatError::Stride {
                expected: 12,
                found: 11,
                ..
            }
        ));
        let error = made(PixelFormat::Rgb8, [4, 6], 12, None).expect_err("a short plane");
        assert_eq!(
            error.to_string(),
            "the plane of pixels of the image takes 72 bytes, but holds 64"
        );
        let error = made(PixelFormat::Yuy2, [3, 2], 12, None).expect_err("an odd width");
        assert!(matches!(error, FormatError::Odd { width: 3, .. }));
        let error = made(PixelFormat::Nv12, [4, 3], 4, Some(plane(&bytes, 4)));
        assert!(matches!(error, Err(FormatError::Odd { height: 3, .. })));
        let error = made(PixelFormat::Nv12, [4, 2], 4, None).expect_err("no chroma");
        assert!(matches!(error, FormatError::Planes { needed: true, .. }));
        let error = made(PixelFormat::Nv12, [4, 2], 4, Some(plane(&bytes[..3], 4)));
        assert!(matches!(error, Err(FormatError::Length { found: 3, .. })));
        for size in [[0, 1], [1, 0], [8193, 1], [1, usize::MAX]] {
            let error = made(PixelFormat::Mono8, size, usize::MAX, None);
            assert!(matches!(error, Err(FormatError::Extent { .. })));
        }
        let error = made(PixelFormat::Mono8, [1, 8192], usize::MAX, None);
        assert!(matches!(error, Err(FormatError::Length { .. })));
    }

    #[test]
    fn the_last_row_needs_no_padding() {
        let bytes = [1, 2, 3, 0, 4, 5, 6];
        let image = RawImage::new(PixelFormat::Bgr8, [1, 2], plane(&bytes, 4), None);
        let mut out = Vec::new();
        image.expect("fits").to_rgb(&mut out);
        assert_eq!(out, [3, 2, 1, 6, 5, 4]);
    }
}
