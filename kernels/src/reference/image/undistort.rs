//! Lens undistortion with the arithmetic of OpenCV's `initUndistortRectifyMap` and `remap`.
//!
//! In and out: `[height, width, 3]` u8 of one size. A target pixel is traced through the new projection
//! and the distortion to a source position: float64, rounded to float32, then to 1/32 px. There the four
//! pixels around it are weighed; those outside the image are black.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::{CHANNELS, ImageView};

/// Steps of a position to a pixel.
pub const MAP_STEPS: i32 = 1 << MAP_BITS;
const MAP_BITS: u32 = 5;

/// How a lens bends rays; coefficients in OpenCV's order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distortion {
    /// k1 k2 p1 p2 k3.
    PlumbBob([f64; 5]),
    /// k1 k2 p1 p2 k3 k4 k5 k6.
    Rational([f64; 8]),
}

impl Distortion {
    fn coefficients(self) -> [f64; 8] {
        match self {
            Self::PlumbBob([k1, k2, p1, p2, k3]) => [k1, k2, p1, p2, k3, 0.0, 0.0, 0.0],
            Self::Rational(all) => all,
        }
    }
}

/// A camera and the one that its images are to look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    /// K: pixels of the distorted image from rays; its skew is ignored, as in OpenCV.
    pub camera: [[f64; 3]; 3],
    /// What the lens does.
    pub distortion: Distortion,
    /// Upper left 3×3 of the new projection P: pixels of the undistorted image from rays.
    pub projection: [[f64; 3]; 3],
}

/// Why there is no map.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LensError {
    /// A number is infinite or NaN.
    #[error("the lens has a coefficient that is not finite")]
    NotFinite,
    /// Rays cannot be had back from pixels.
    #[error("the new projection of the lens has no inverse")]
    Singular,
}

/// Source positions of target pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LensMap {
    rays: [[f64; 3]; 3],
    focal: [f64; 2],
    center: [f64; 2],
    coefficients: [f64; 8],
    /// Positions beyond these touch no pixel (1/32 px).
    last: [i32; 2],
}

impl LensMap {
    /// The map of images of this size (width, height in px).
    ///
    /// # Errors
    /// When a number is not finite, or the projection cannot be inverted.
    pub fn new(lens: &Lens, size: [usize; 2]) -> Result<Self, LensError> {
        let coefficients = lens.distortion.coefficients();
        let matrices = [lens.camera, lens.projection];
        let numbers = matrices.iter().flatten().flatten().chain(&coefficients);
        if !numbers.into_iter().all(|number| number.is_finite()) {
            return Err(LensError::NotFinite);
        }
        let [[fx, _, cx], [_, fy, cy], _] = lens.camera;
        Ok(Self {
            rays: inverse(&lens.projection).ok_or(LensError::Singular)?,
            focal: [fx, fy],
            center: [cx, cy],
            coefficients,
            last: size.map(|extent| (extent as i32 + 1) * MAP_STEPS),
        })
    }

    /// Where target pixel (x, y) comes from (1/32 px), clipped to what touches no pixel.
    #[must_use]
    pub fn at(&self, x: usize, y: usize) -> [i32; 2] {
        let (column, row) = (x as f64, y as f64);
        let [ray_x, ray_y, ray_w] = self.rays.map(|[a, b, c]| row * b + c + column * a);
        let scale = 1.0 / ray_w;
        let (x, y) = (ray_x * scale, ray_y * scale);
        let [k1, k2, p1, p2, k3, k4, k5, k6] = self.coefficients;
        let (x2, y2) = (x * x, y * y);
        let (r2, xy) = (x2 + y2, 2.0 * x * y);
        let radial =
            (1.0 + ((k3 * r2 + k2) * r2 + k1) * r2) / (1.0 + ((k6 * r2 + k5) * r2 + k4) * r2);
        let bent = [
            x * radial + p1 * xy + p2 * (r2 + 2.0 * x2),
            y * radial + p1 * (r2 + 2.0 * y2) + p2 * xy,
        ];
        std::array::from_fn(|axis| {
            let position = (self.focal[axis] * bent[axis] + self.center[axis]) as f32;
            let fixed = (position * MAP_STEPS as f32).round_ties_even();
            let outside = -2 * MAP_STEPS;
            if fixed.is_nan() {
                return outside;
            }
            (fixed as i32).clamp(outside, self.last[axis])
        })
    }
}

/// By cofactors.
fn inverse(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |r: [usize; 2], c: [usize; 2]| {
        m[r[0]][c[0]] * m[r[1]][c[1]] - m[r[0]][c[1]] * m[r[1]][c[0]]
    };
    let determinant = m[0][0] * minor([1, 2], [1, 2]) - m[0][1] * minor([1, 2], [0, 2])
        + m[0][2] * minor([1, 2], [0, 1]);
    let factor = 1.0 / determinant;
    if determinant == 0.0 || !factor.is_finite() {
        return None;
    }
    // Rows and columns without one, in the order in which the cofactor is positive.
    let others = [[1, 2], [2, 0], [0, 1]];
    Some(std::array::from_fn(|row| {
        std::array::from_fn(|column| minor(others[column], others[row]) * factor)
    }))
}

/// Undistorts `image`, for whose size `map` was made; `out` becomes `[height, width, 3]`.
pub fn undistort(image: ImageView<'_>, map: &LensMap, out: &mut Vec<u8>) {
    out.clear();
    out.resize(image.pixels().len(), 0);
    out.par_chunks_mut(image.width() * CHANNELS)
        .enumerate()
        .for_each(|(y, line)| {
            for (x, pixel) in line.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
                *pixel = weighed(image, map.at(x, y));
            }
        });
}

fn weighed(image: ImageView<'_>, [x, y]: [i32; 2]) -> [u8; CHANNELS] {
    let extents = [image.width(), image.height()];
    let at = |x: i32, y: i32| -> [u8; CHANNELS] {
        match [usize::try_from(x), usize::try_from(y)] {
            [Ok(x), Ok(y)] if x < extents[0] && y < extents[1] => {
                image.row(y).as_chunks::<CHANNELS>().0[x]
            }
            _ => [0; CHANNELS],
        }
    };
    let (left, top) = (x >> MAP_BITS, y >> MAP_BITS);
    let (dx, dy) = (x & (MAP_STEPS - 1), y & (MAP_STEPS - 1));
    let corners = [
        (at(left, top), (MAP_STEPS - dx) * (MAP_STEPS - dy)),
        (at(left + 1, top), dx * (MAP_STEPS - dy)),
        (at(left, top + 1), (MAP_STEPS - dx) * dy),
        (at(left + 1, top + 1), dx * dy),
    ];
    const BITS: u32 = 2 * MAP_BITS;
    std::array::from_fn(|channel| {
        let sum = corners
            .iter()
            .map(|(pixel, weight)| i32::from(pixel[channel]) * weight);
        ((sum.sum::<i32>() + (1 << (BITS - 1))) >> BITS) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::{Distortion, Lens, LensError, LensMap, MAP_STEPS, undistort};
    use crate::reference::image::ImageView;

    const CAMERA: [[f64; 3]; 3] = [[20.0, 0.0, 4.0], [0.0, 20.0, 3.0], [0.0, 0.0, 1.0]];

    #[test]
    fn without_distortion_the_image_stays() {
        let lens = Lens {
            camera: CAMERA,
            distortion: Distortion::PlumbBob([0.0; 5]),
            projection: CAMERA,
        };
        let map = LensMap::new(&lens, [8, 6]).expect("a lens");
        assert_eq!(map.at(5, 2), [5 * MAP_STEPS, 2 * MAP_STEPS]);
        let pixels: Vec<u8> = (0..8 * 6 * 3).collect();
        let mut out = Vec::new();
        undistort(ImageView::new(8, 6, &pixels).expect("fits"), &map, &mut out);
        assert_eq!(out, pixels);
    }

    #[test]
    fn lenses_without_a_map_are_refused() {
        let mut lens = Lens {
            camera: CAMERA,
            distortion: Distortion::PlumbBob([0.0; 5]),
            projection: [[0.0; 3]; 3],
        };
        assert_eq!(LensMap::new(&lens, [8, 6]), Err(LensError::Singular));
        lens.camera[0][0] = f64::NAN;
        assert_eq!(LensMap::new(&lens, [8, 6]), Err(LensError::NotFinite));
    }
}
