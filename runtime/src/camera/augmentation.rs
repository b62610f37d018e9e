//! The way from a raw image to the network's image: resize, crop, flip, rotation.
//!
//! At test time it follows from the model and the raw size; training draws the numbers. Source: the
//! `ImageAug3D` transform of mmdetection3d's BEVFusion project.

use super::{Interpolation, Matrix4, Window};
use crate::config::CameraSpec;

/// One image's augmentation, applied in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageAug {
    /// Scale of the raw image.
    pub resize: f64,
    /// Width, height after it (px).
    pub resized: [usize; 2],
    /// What is cut out of the resized image (px); black outside.
    pub crop: Window,
    /// Mirrored left to right.
    pub flip: bool,
    /// Turned counter-clockwise about the centre (degrees).
    pub rotate_deg: f64,
    /// How rotated pixels are read.
    pub interpolation: Interpolation,
}

impl ImageAug {
    /// The test-time augmentation of a raw image of this size: the middle columns, the lowest rows
    /// above the bottom crop.
    #[must_use]
    pub fn for_test(spec: &CameraSpec, raw_width: usize, raw_height: usize) -> Self {
        let scaled = |extent: usize| (extent as f64 * spec.resize) as usize;
        let resized = [scaled(raw_width), scaled(raw_height)];
        let [height, width] = spec.image_size;
        let usable = ((1.0 - spec.bottom_crop) * resized[1] as f64) as isize;
        Self {
            resize: spec.resize,
            resized,
            crop: Window {
                left: (resized[0].saturating_sub(width) / 2) as isize,
                top: usable.saturating_sub_unsigned(height),
                width,
                height,
            },
            flip: false,
            rotate_deg: 0.0,
            interpolation: Interpolation::Nearest,
        }
    }

    /// Network image from raw image, acting on (u, v, depth, 1) in px: `img_aug_matrix`.
    #[must_use]
    pub fn matrix(&self) -> Matrix4 {
        let mut linear = [[self.resize, 0.0], [0.0, self.resize]];
        let mut shift = [-(self.crop.left as f64), -(self.crop.top as f64)];
        let (width, height) = (self.crop.width as f64, self.crop.height as f64);
        if self.flip {
            linear[0][0] = -linear[0][0];
            shift[0] = width - shift[0];
        }
        let (sin, cos) = self.rotate_deg.to_radians().sin_cos();
        let turn = |[x, y]: [f64; 2]| [cos * x + sin * y, cos * y - sin * x];
        let center = [width / 2.0, height / 2.0];
        let moved = turn([shift[0] - center[0], shift[1] - center[1]]);
        let columns = [0, 1].map(|column| turn([linear[0][column], linear[1][column]]));
        let row = |axis: usize| {
            let [a, b] = columns.map(|column| column[axis] as f32);
            [a, b, 0.0, (moved[axis] + center[axis]) as f32]
        };
        [row(0), row(1), [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    }
}

#[cfg(test)]
mod tests {
    use super::ImageAug;
    use crate::camera::{Interpolation, Window};

    #[test]
    fn a_flip_and_a_turn_keep_the_centre_of_the_crop() {
        let aug = ImageAug {
            resize: 0.5,
            resized: [80, 60],
            crop: Window {
                left: 10,
                top: 20,
                width: 40,
                height: 30,
            },
            flip: true,
            rotate_deg: 30.0,
            interpolation: Interpolation::Nearest,
        };
        let matrix = aug.matrix();
        // The crop's centre (30, 35) is at (60, 70) in the raw image.
        let at = |row: usize| matrix[row][0] * 60.0 + matrix[row][1] * 70.0 + matrix[row][3];
        assert!((at(0) - 20.0).abs() < 1e-4 && (at(1) - 15.0).abs() < 1e-4);
        // A raw step to the right points left after the flip, then down-left after the turn.
        assert!(matrix[0][0] < 0.0 && matrix[1][0] > 0.0);
    }
}
