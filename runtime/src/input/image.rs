//! JPEG and PNG images.
//!
//! In: the bytes of a file. Out: an 8-bit [`RgbImage`]; grey images get three equal channels, alpha is
//! dropped. The EXIF orientation is not applied, as training did not.

use std::io::Cursor;

use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder, ImageFormat, ImageReader, Limits};

use super::RgbImage;

/// Largest edge that is decoded (px).
const EDGE_LIMIT_PX: u32 = 16_384;
/// Largest memory of a decoder (bytes).
const MEMORY_LIMIT: u64 = 512 << 20;

/// Why bytes are not an image, or an image cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There is nothing in the file.
    #[error("it is empty (0 bytes): the copy may have been cut, fetch the file again")]
    Empty,
    /// Neither JPEG nor PNG.
    #[error("expected a JPEG or PNG image, found bytes that start with \"{start}\"")]
    UnknownFormat {
        /// The first bytes, escaped.
        start: String,
    },
    /// The decoder gave up.
    #[error("{format} image cannot be decoded: {source}")]
    Decode {
        /// JPEG or PNG.
        format: &'static str,
        /// What the decoder said.
        source: ::image::ImageError,
    },
    /// Pixels and size do not agree, or the edge is too long for the format.
    #[error("{width} x {height} image with {bytes} bytes of pixels cannot be encoded")]
    Encode {
        /// Columns (px).
        width: usize,
        /// Rows (px).
        height: usize,
        /// Length of the pixels.
        bytes: usize,
    },
}

/// Decodes a JPEG or PNG image of at most 16,384 pixels an edge.
///
/// # Errors
/// When the bytes are neither, are broken, or describe a larger image.
pub fn decode_image(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let (format, name) = match ::image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => (ImageFormat::Jpeg, "JPEG"),
        Ok(ImageFormat::Png) => (ImageFormat::Png, "PNG"),
        _ => {
            let start = bytes[..bytes.len().min(8)].escape_ascii().to_string();
            return Err(ImageError::UnknownFormat { start });
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(EDGE_LIMIT_PX);
    limits.max_image_height = Some(EDGE_LIMIT_PX);
    limits.max_alloc = Some(MEMORY_LIMIT);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|source| ImageError::Decode {
        format: name,
        source,
    })?;
    let rgb = decoded.into_rgb8();
    Ok(RgbImage {
        width: rgb.width() as usize,
        height: rgb.height() as usize,
        pixels: rgb.into_raw(),
    })
}

/// A JPEG file of the image; `quality` in 1..=100.
///
/// # Errors
/// When the pixels do not fill the size or an edge is longer than 65,535 pixels.
pub fn encode_jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    encode(image, encoder)?;
    Ok(bytes)
}

/// A PNG file of the image.
///
/// # Errors
/// When the pixels do not fill the size.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    encode(image, PngEncoder::new(&mut bytes))?;
    Ok(bytes)
}

fn encode(image: &RgbImage, encoder: impl ImageEncoder) -> Result<(), ImageError> {
    let refused = || ImageError::Encode {
        width: image.width,
        height: image.height,
        bytes: image.pixels.len(),
    };
    let filled = image
        .width
        .checked_mul(image.height)
        .and_then(|pixels| pixels.checked_mul(3))
        .is_some_and(|bytes| bytes == image.pixels.len() && bytes > 0);
    let size = u32::try_from(image.width)
        .ok()
        .zip(u32::try_from(image.height).ok());
    let (Some((width, height)), true) = (size, filled) else {
        return Err(refused());
    };
    encoder
        .write_image(&image.pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(|_too_long| refused())
}

#[cfg(test)]
mod tests {
    use super::{ImageError, decode_image, encode_jpeg, encode_png};
    use crate::input::RgbImage;

    fn gradient() -> RgbImage {
        let pixels = (0..24_u8)
            .flat_map(|row| (0..32_u8).flat_map(move |column| [column * 8, row * 10, 128]))
            .collect();
        RgbImage {
            width: 32,
            height: 24,
            pixels,
        }
    }

    #[test]
    fn png_comes_back_exactly_and_jpeg_nearly() {
        let image = gradient();
        assert_eq!(
            decode_image(&encode_png(&image).expect("png")).expect("png"),
            image
        );
        let jpeg = decode_image(&encode_jpeg(&image, 95).expect("jpeg")).expect("jpeg");
        assert_eq!((jpeg.width, jpeg.height), (32, 24));
        let worst = jpeg
            .pixels
            .iter()
            .zip(&image.pixels)
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(worst.is_some_and(|w| w < 24), "{worst:?}");
    }

    #[test]
    fn a_cut_jpeg_an_empty_file_and_text_are_refused_by_name() {
        let png = encode_png(&gradient()).expect("png");
        let cut = decode_image(&png[..png.len() / 2]).expect_err("cut");
        assert!(
            cut.to_string().contains("PNG image cannot be decoded"),
            "{cut}"
        );
        assert!(matches!(decode_image(&[]), Err(ImageError::Empty)));
        let text = decode_image(b"version https://git-lfs").expect_err("a pointer file");
        assert!(
            text.to_string().contains("start with \"version \""),
            "{text}"
        );
    }

    #[test]
    fn a_size_bomb_is_refused_before_memory_is_taken() {
        let mut jpeg = encode_jpeg(&gradient(), 90).expect("jpeg");
        let frame = jpeg
            .windows(2)
            .position(|pair| pair == [0xFF, 0xC0])
            .expect("a frame header");
        // Rows and columns, big-endian, behind the marker, the length and the precision.
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
        let refused = decode_image(&jpeg).expect_err("65,500 pixels an edge");
        let limits = matches!(
            refused,
            ImageError::Decode {
                source: ::image::ImageError::Limits(_),
                ..
            }
        );
        assert!(limits, "{refused}");
    }

    #[test]
    fn pixels_that_do_not_fill_the_size_are_not_encoded() {
        let mut image = gradient();
        image.pixels.pop();
        assert!(matches!(encode_png(&image), Err(ImageError::Encode { .. })));
        assert!(matches!(
            encode_jpeg(&image, 90),
            Err(ImageError::Encode { .. })
        ));
    }
}
