//! Raw images to the network's images.
//!
//! In: 8-bit RGB of any size. Out: `[3, H, W]` float32, normalised per channel. Bicubic resizing with
//! antialiasing as Pillow does it; only the pixels that survive the crop are computed. The resampler and
//! the buffers are kept while the raw size stays the same.

use bevfusion_kernels::reference::image::{
    CHANNELS, Filter, ImageError, ImageView, Resampler, flip_horizontally, normalise, rotate,
};

use super::ImageAug;
use crate::config::CameraSpec;
use crate::input::RgbImage;

/// Source and target size (width, height) of a resampler.
type Sizes = ([usize; 2], [usize; 2]);

/// Makes network images of one model.
#[derive(Clone, Debug)]
pub struct CameraPreprocessor {
    spec: CameraSpec,
    resampler: Option<(Sizes, Resampler)>,
    cropped: Vec<u8>,
    turned: Vec<u8>,
}

impl CameraPreprocessor {
    /// For the images of `spec`.
    #[must_use]
    pub fn new(spec: &CameraSpec) -> Self {
        Self {
            spec: spec.clone(),
            resampler: None,
            cropped: Vec::new(),
            turned: Vec::new(),
        }
    }

    /// Values of one network image: 3·H·W.
    #[must_use]
    pub const fn output_len(&self) -> usize {
        CHANNELS * self.spec.image_size[0] * self.spec.image_size[1]
    }

    /// What happens to `image` at test time.
    #[must_use]
    pub fn augmentation(&self, image: &RgbImage) -> ImageAug {
        ImageAug::for_test(&self.spec, image.width, image.height)
    }

    /// Whether [`run`](Self::run) takes an image, without running it; what would be done to it.
    ///
    /// # Errors
    /// When the image is empty, becomes empty by the resize, or its buffer does not fit its size.
    pub fn check(&self, image: &RgbImage) -> Result<ImageAug, ImageError> {
        ImageView::new(image.width, image.height, &image.pixels)?;
        let aug = self.augmentation(image);
        let [width, height] = aug.resized;
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        Ok(aug)
    }

    /// The network's image of `image` at test time into `out` (`[3, H, W]`); returns what was done to
    /// it, which the view transform needs.
    ///
    /// # Errors
    /// When the image is empty, becomes empty by the resize, or its buffer does not fit its size; or
    /// when `out` has another length than [`output_len`](Self::output_len).
    pub fn run(&mut self, image: &RgbImage, out: &mut [f32]) -> Result<ImageAug, ImageError> {
        let aug = self.augmentation(image);
        self.run_with(image, &aug, out)?;
        Ok(aug)
    }

    /// The same with a given augmentation, whose crop has the network's size.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with(
        &mut self,
        image: &RgbImage,
        aug: &ImageAug,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        let (width, height) = (aug.crop.width, aug.crop.height);
        let expected = CHANNELS * width * height;
        if out.len() != expected {
            return Err(ImageError::Length {
                width,
                height,
                expected,
                found: out.len(),
            });
        }
        let (mean, std) = (self.spec.mean, self.spec.std);
        let pixels = self.augment(image, aug)?;
        normalise(ImageView::new(width, height, pixels)?, mean, std, out);
        Ok(())
    }

    /// The augmented image before normalisation, `[H, W, 3]`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn augment(&mut self, image: &RgbImage, aug: &ImageAug) -> Result<&[u8], ImageError> {
        let view = ImageView::new(image.width, image.height, &image.pixels)?;
        let [width, height] = aug.resized;
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let sizes = ([image.width, image.height], aug.resized);
        let kept = self.resampler.take().filter(|(made, _)| *made == sizes);
        let (_, resampler) = self.resampler.insert(
            kept.unwrap_or_else(|| (sizes, Resampler::new(sizes.0, sizes.1, Filter::Bicubic))),
        );
        resampler.run(view, aug.crop, &mut self.cropped);
        if aug.flip {
            flip_horizontally(aug.crop.width, &mut self.cropped);
        }
        if aug.rotate_deg == 0.0 {
            return Ok(&self.cropped);
        }
        let upright = ImageView::new(aug.crop.width, aug.crop.height, &self.cropped)?;
        rotate(upright, aug.rotate_deg, aug.interpolation, &mut self.turned);
        Ok(&self.turned)
    }
}

#[cfg(test)]
mod tests {
    use super::CameraPreprocessor;
    use crate::camera::test_spec;
    use crate::camera::{ImageAug, ImageError};
    use crate::input::RgbImage;

    #[test]
    fn nuscenes_images_become_the_middle_and_the_lower_rows() {
        let mut spec = test_spec();
        spec.image_size = [256, 704];
        spec.resize = 0.48;
        let aug = ImageAug::for_test(&spec, 1600, 900);
        assert_eq!(aug.resized, [768, 432]);
        assert_eq!((aug.crop.left, aug.crop.top), (32, 176));
        let matrix = aug.matrix();
        assert_eq!(matrix[0].to_vec(), [0.48, 0.0, 0.0, -32.0]);
        assert_eq!(matrix[1].to_vec(), [0.0, 0.48, 0.0, -176.0]);
    }

    #[test]
    fn an_image_smaller_than_the_networks_is_framed_in_black() {
        let mut spec = test_spec();
        spec.resize = 1.0;
        spec.mean = [0.0; 3];
        spec.std = [1.0; 3];
        let mut preprocessor = CameraPreprocessor::new(&spec);
        let [height, width] = spec.image_size;
        let image = RgbImage {
            width: width - 1,
            height: height - 1,
            pixels: vec![7; (width - 1) * (height - 1) * 3],
        };
        let mut out = vec![0.0; preprocessor.output_len()];
        let aug = preprocessor.run(&image, &mut out).expect("fits");
        assert_eq!((aug.crop.left, aug.crop.top), (0, -1));
        assert_eq!(out[..width], vec![0.0; width]);
        let row = [vec![7.0; width - 1], vec![0.0]].concat();
        assert_eq!(out[width..2 * width], row);
    }

    #[test]
    fn broken_images_are_errors() {
        let spec = test_spec();
        let mut preprocessor = CameraPreprocessor::new(&spec);
        let mut out = vec![0.0; preprocessor.output_len()];
        let mut image = RgbImage {
            width: 10,
            height: 10,
            pixels: vec![0; 299],
        };
        assert!(preprocessor.check(&image).is_err());
        let error = preprocessor
            .run(&image, &mut out)
            .expect_err("a byte short");
        assert!(matches!(error, ImageError::Length { found: 299, .. }));
        image.width = 0;
        let error = preprocessor.run(&image, &mut out).expect_err("no column");
        assert!(matches!(error, ImageError::Empty { width: 0, .. }));
        image = RgbImage {
            width: 1,
            height: 1,
            pixels: vec![0; 3],
        };
        assert!(preprocessor.check(&image).is_err());
        let error = preprocessor
            .run(&image, &mut out)
            .expect_err("resized away");
        assert!(matches!(error, ImageError::Empty { .. }));
    }
}
