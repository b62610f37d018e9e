//! 8-bit RGB images: resize with crop, flip, rotation, normalisation.
//!
//! In: `[height, width, 3]` u8, row-major, R G B. Out: the same, or `[3, height, width]` float32 after
//! [`normalise`]. Resizing and rotation give Pillow's grey levels, because the networks were trained
//! on what Pillow makes.

mod affine;
mod format;
mod linear;
#[cfg(test)]
mod opencv;
mod patches;
mod resample;
mod undistort;

pub use affine::{Interpolation, rotate};
pub use format::{BayerPattern, FormatError, MAX_EDGE, PixelFormat, Plane, RawImage};
pub use linear::{LinearResampler, LinearTap};
pub use patches::{PATCH, PATCH_VALUES, levels, to_patches};
pub(crate) use resample::visible;
pub use resample::{Filter, Resampler, Window};
pub use undistort::{Distortion, Lens, LensError, LensMap, MAP_STEPS, undistort};

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// Interleaved colour channels.
pub const CHANNELS: usize = 3;

/// Why a buffer is no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No pixel in at least one direction.
    #[error("the image is {width}x{height} px: both extents must be at least 1")]
    Empty {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The buffer does not fit the size.
    #[error(
        "the image says {width}x{height} px, which takes {expected} bytes of interleaved 8-bit RGB, \
         but holds {found}"
    )]
    Length {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes that the size takes.
        expected: usize,
        /// Bytes present.
        found: usize,
    },
}

/// A borrowed image whose buffer fits its size.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// `pixels` is `[height, width, 3]`.
    ///
    /// # Errors
    /// When an extent is 0 or the buffer has another length.
    pub fn new(width: usize, height: usize, pixels: &'a [u8]) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let expected = width.saturating_mul(height).saturating_mul(CHANNELS);
        if pixels.len() != expected {
            return Err(ImageError::Length {
                width,
                height,
                expected,
                found: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Columns.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// `[height, width, 3]`.
    #[must_use]
    pub const fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    fn row(&self, y: usize) -> &'a [u8] {
        let stride = self.width * CHANNELS;
        &self.pixels[y * stride..(y + 1) * stride]
    }
}

/// Mirrors `pixels` (`[height, width, 3]`) left to right in place.
pub fn flip_horizontally(width: usize, pixels: &mut [u8]) {
    if width == 0 {
        return;
    }
    pixels.par_chunks_mut(width * CHANNELS).for_each(|row| {
        row.as_chunks_mut::<CHANNELS>().0.reverse();
    });
}

/// `(value - mean) / std` per channel in float32; `out` is `[3, height, width]`.
///
/// Writes as many pixels as both buffers hold.
pub fn normalise(image: ImageView<'_>, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    let pixels = image.pixels().as_chunks::<CHANNELS>().0;
    let plane = image.width() * image.height();
    out.par_chunks_mut(plane)
        .take(CHANNELS)
        .enumerate()
        .for_each(|(channel, target)| {
            let levels: [f32; 256] =
                std::array::from_fn(|level| (level as f32 - mean[channel]) / std[channel]);
            for (value, pixel) in target.iter_mut().zip(pixels) {
                *value = levels[usize::from(pixel[channel])];
            }
        });
}

#[cfg(test)]
mod tests {
    use super::{ImageError, ImageView, flip_horizontally, normalise};

    #[test]
    fn a_buffer_of_another_length_is_refused_with_both_numbers() {
        let error = ImageView::new(4, 2, &[0; 23]).expect_err("one byte short");
        assert_eq!(
            error,
            ImageError::Length {
                width: 4,
                height: 2,
                expected: 24,
                found: 23
            }
        );
        assert!(matches!(
            ImageView::new(0, 2, &[]),
            Err(ImageError::Empty { .. })
        ));
    }

    #[test]
    fn a_flip_mirrors_pixels_and_keeps_their_channels() {
        let mut pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        flip_horizontally(3, &mut pixels);
        assert_eq!(pixels, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn normalisation_separates_channels() {
        let image = ImageView::new(2, 1, &[10, 20, 30, 40, 50, 60]).expect("fits");
        let mut out = vec![0.0; 6];
        normalise(image, [10.0, 20.0, 30.0], [1.0, 2.0, 4.0], &mut out);
        assert_eq!(out, [0.0, 30.0, 0.0, 15.0, 0.0, 7.5]);
    }
}
