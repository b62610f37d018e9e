//! Rotation about the image centre with the arithmetic of Pillow's `Image.rotate`.
//!
//! In and out: `[height, width, 3]` u8 of one size; pixels from outside are black. Positive angles turn
//! the picture counter-clockwise. Nearest works in 16.16 fixed point; bicubic is cubic convolution with
//! a = −1, truncated to the grey level.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::{CHANNELS, ImageView};

/// How a rotated pixel is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel under the position (mmdetection3d).
    Nearest,
    /// Cubic convolution over 4×4 pixels (AWML).
    Bicubic,
}

/// Rows of the 2×3 matrix that takes a target position to a source position (px).
type Affine = [[f64; 3]; 2];

const FIXED_BITS: u32 = 16;

/// Turns `image` by `degrees`; `out` becomes `[height, width, 3]`.
pub fn rotate(image: ImageView<'_>, degrees: f64, interpolation: Interpolation, out: &mut Vec<u8>) {
    let (width, height) = (image.width(), image.height());
    out.clear();
    out.resize(width * height * CHANNELS, 0);
    let source_from_target = rotation(width, height, degrees);
    out.par_chunks_mut(width * CHANNELS)
        .enumerate()
        .for_each(|(y, line)| {
            let targets = line.as_chunks_mut::<CHANNELS>().0;
            match interpolation {
                Interpolation::Nearest => nearest_line(image, &source_from_target, y, targets),
                Interpolation::Bicubic => bicubic_line(image, &source_from_target, y, targets),
            }
        });
}

/// Pillow rounds the sine and cosine to 15 decimals, so that right angles are exact.
fn rotation(width: usize, height: usize, degrees: f64) -> Affine {
    const DECIMALS: f64 = 1e15;
    let (sin, cos) = (-degrees.rem_euclid(360.0).to_radians()).sin_cos();
    let (sin, cos) = (
        (sin * DECIMALS).round() / DECIMALS,
        (cos * DECIMALS).round() / DECIMALS,
    );
    let (cx, cy) = (width as f64 / 2.0, height as f64 / 2.0);
    [
        [cos, sin, -cos * cx - sin * cy + cx],
        [-sin, cos, sin * cx - cos * cy + cy],
    ]
}

fn nearest_line(image: ImageView<'_>, affine: &Affine, y: usize, targets: &mut [[u8; CHANNELS]]) {
    let fixed = |value: f64| (value * f64::from(1_u32 << FIXED_BITS) + 0.5).floor() as i64;
    let [horizontal, vertical] = affine.map(|[a, b, shift]| {
        let start = fixed(shift + a * 0.5 + b * 0.5) + y as i64 * fixed(b);
        (start, fixed(a))
    });
    for (target, x) in targets.iter_mut().zip(0_i64..) {
        let source_x = (horizontal.0 + x * horizontal.1) >> FIXED_BITS;
        let source_y = (vertical.0 + x * vertical.1) >> FIXED_BITS;
        let (Ok(source_x), Ok(source_y)) = (usize::try_from(source_x), usize::try_from(source_y))
        else {
            continue;
        };
        if source_x < image.width() && source_y < image.height() {
            *target = image.row(source_y).as_chunks::<CHANNELS>().0[source_x];
        }
    }
}

fn bicubic_line(image: ImageView<'_>, affine: &Affine, y: usize, targets: &mut [[u8; CHANNELS]]) {
    let (width, height) = (image.width() as f64, image.height() as f64);
    for (x, target) in targets.iter_mut().enumerate() {
        let [u, v] = affine.map(|[a, b, c]| a * (x as f64 + 0.5) + b * (y as f64 + 0.5) + c);
        if (0.0..width).contains(&u) && (0.0..height).contains(&v) {
            *target = bicubic(image, u - 0.5, v - 0.5);
        }
    }
}

/// The value at (u, v), pixel centres on whole numbers; pixels beyond the border repeat it.
fn bicubic(image: ImageView<'_>, u: f64, v: f64) -> [u8; CHANNELS] {
    let (left, top) = (u.floor(), v.floor());
    let (du, dv) = (u - left, v - top);
    let around = |first: f64, extent: usize| -> [usize; 4] {
        std::array::from_fn(|tap| {
            (first as isize - 1 + tap as isize).clamp(0, extent as isize - 1) as usize
        })
    };
    let columns = around(left, image.width());
    let rows = around(top, image.height()).map(|y| image.row(y).as_chunks::<CHANNELS>().0);
    std::array::from_fn(|channel| {
        let lines = rows.map(|row| cubic(columns.map(|x| f64::from(row[x][channel])), du));
        cubic(lines, dv).clamp(0.0, 255.0) as u8
    })
}

/// Cubic convolution with a = −1 through four equidistant values, at `d` past the second.
fn cubic([before, here, next, after]: [f64; 4], d: f64) -> f64 {
    let slope = next - before;
    let square = 2.0 * (before - here) + next - after;
    let cube = here - before + after - next;
    here + d * (slope + d * (square + d * cube))
}

#[cfg(test)]
mod tests {
    use super::{Interpolation, rotate};
    use crate::reference::image::ImageView;

    fn turned(degrees: f64, interpolation: Interpolation) -> Vec<u8> {
        let pixels: Vec<u8> = (0..4 * 4 * 3).map(|v| v * 5).collect();
        let image = ImageView::new(4, 4, &pixels).expect("fits");
        let mut out = Vec::new();
        rotate(image, degrees, interpolation, &mut out);
        out
    }

    #[test]
    fn no_angle_and_a_full_turn_change_nothing() {
        let pixels: Vec<u8> = (0..4 * 4 * 3).map(|v| v * 5).collect();
        for interpolation in [Interpolation::Nearest, Interpolation::Bicubic] {
            assert_eq!(turned(0.0, interpolation), pixels);
            assert_eq!(turned(360.0, interpolation), pixels);
        }
    }

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        for interpolation in [Interpolation::Nearest, Interpolation::Bicubic] {
            let out = turned(90.0, interpolation);
            // The top right corner (pixel 3) becomes the top left one.
            assert_eq!(out[..3], [45, 50, 55]);
        }
    }

    #[test]
    fn corners_that_come_from_outside_are_black() {
        let pixels = vec![200; 9 * 9 * 3];
        let image = ImageView::new(9, 9, &pixels).expect("fits");
        for interpolation in [Interpolation::Nearest, Interpolation::Bicubic] {
            let mut out = Vec::new();
            rotate(image, 45.0, interpolation, &mut out);
            assert_eq!(out[..3], [0; 3]);
            let middle = (4 * 9 + 4) * 3;
            assert_eq!(out[middle..middle + 3], [200; 3]);
        }
    }
}
