//! Plain bilinear resizing with the arithmetic of OpenCV's `resize` (`INTER_LINEAR`, 8 bit).
//!
//! In: an image. Out: a window of the resized image, black where the window leaves it. Two pixels a
//! direction, whatever the scale; 11-bit weights; the vertical pass truncates each product.

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::resample::visible;
use super::{CHANNELS, ImageView, Window};

const SCALE: f32 = 2048.0;

/// Two source positions and their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearTap {
    /// Source pixels.
    pub at: [usize; 2],
    /// In 1/2048, 0 to 2048.
    pub weights: [i32; 2],
}

/// Resizes images of one size to one size; weights are made once.
#[derive(Clone, Debug)]
pub struct LinearResampler {
    columns: Vec<LinearTap>,
    rows: Vec<LinearTap>,
}

impl LinearResampler {
    /// Sizes are width, height; all extents are at least 1.
    #[must_use]
    pub fn new(source: [usize; 2], target: [usize; 2]) -> Self {
        let axis = |axis: usize, taps: fn(isize, f32, usize) -> LinearTap| {
            let scale = 1.0 / (target[axis] as f64 / source[axis] as f64);
            let position = |index: usize| ((index as f64 + 0.5) * scale - 0.5) as f32;
            let tap = |index: usize| {
                let first = position(index).floor();
                taps(first as isize, position(index) - first, source[axis])
            };
            (0..target[axis]).map(tap).collect()
        };
        Self {
            columns: axis(0, column),
            rows: axis(1, row),
        }
    }

    /// Taps of each column of the resized image.
    #[must_use]
    pub fn columns(&self) -> &[LinearTap] {
        &self.columns
    }

    /// Taps of each row of the resized image.
    #[must_use]
    pub fn rows(&self) -> &[LinearTap] {
        &self.rows
    }

    /// Writes `window` of the resized `image` to `out` (`[window.height, window.width, 3]`).
    ///
    /// `image` has the size that the resampler was made for.
    pub fn run(&self, image: ImageView<'_>, window: Window, out: &mut Vec<u8>) {
        out.clear();
        out.resize(window.width * window.height * CHANNELS, 0);
        let (left, width) = visible(window.left, window.width, self.columns.len());
        let (top, height) = visible(window.top, window.height, self.rows.len());
        if width == 0 || height == 0 {
            return;
        }
        let skip_rows = (top as isize - window.top) as usize;
        let skip_columns = (left as isize - window.left) as usize;
        let columns = &self.columns[left..left + width];
        out.par_chunks_mut(window.width * CHANNELS)
            .skip(skip_rows)
            .take(height)
            .zip_eq(self.rows[top..top + height].par_iter())
            .for_each(|(line, row)| {
                let targets = line.as_chunks_mut::<CHANNELS>().0;
                for (target, column) in targets[skip_columns..].iter_mut().zip(columns) {
                    *target = weighed(image, column, row);
                }
            });
    }
}

/// At the border one pixel has all the weight.
fn column(first: isize, fraction: f32, extent: usize) -> LinearTap {
    let last = extent - 1;
    match usize::try_from(first) {
        Ok(first) if first < last => LinearTap {
            at: [first, first + 1],
            weights: weights(fraction),
        },
        inside => LinearTap {
            at: [inside.map_or(0, |_| last); 2],
            weights: weights(0.0),
        },
    }
}

/// At the border both weights go to one pixel, each product truncated.
fn row(first: isize, fraction: f32, extent: usize) -> LinearTap {
    let last = extent as isize - 1;
    LinearTap {
        at: [first, first + 1].map(|at| at.clamp(0, last) as usize),
        weights: weights(fraction),
    }
}

fn weights(fraction: f32) -> [i32; 2] {
    [1.0 - fraction, fraction].map(|weight| (weight * SCALE).round_ties_even() as i32)
}

fn weighed(image: ImageView<'_>, column: &LinearTap, row: &LinearTap) -> [u8; CHANNELS] {
    let lines = row.at.map(|y| {
        let pixels = image.row(y).as_chunks::<CHANNELS>().0;
        column.at.map(|x| pixels[x].map(i32::from))
    });
    std::array::from_fn(|channel| {
        let parts = [0, 1].map(|line| {
            let [left, right] = lines[line].map(|pixel| pixel[channel]);
            let across = left * column.weights[0] + right * column.weights[1];
            (row.weights[line] * (across >> 4)) >> 16
        });
        ((parts[0] + parts[1] + 2) >> 2).clamp(0, 255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::LinearResampler;
    use crate::reference::image::{ImageView, Window};

    #[test]
    fn windows_are_cut_with_black_outside() {
        let pixels: Vec<u8> = (0..6 * 5 * 3).map(|v| v * 2).collect();
        let image = ImageView::new(6, 5, &pixels).expect("fits");
        let resampler = LinearResampler::new([6, 5], [4, 7]);
        let (mut whole, mut cut) = (Vec::new(), Vec::new());
        resampler.run(image, Window::whole(4, 7), &mut whole);
        for (left, top) in [(-2, 3), (1, -4), (9, 0), (3, 6)] {
            let window = Window {
                left,
                top,
                width: 5,
                height: 5,
            };
            resampler.run(image, window, &mut cut);
            for (index, value) in cut.iter().enumerate() {
                let (x, y) = (left + (index / 3 % 5) as isize, top + (index / 15) as isize);
                let inside = (0..4).contains(&x) && (0..7).contains(&y);
                let want = if inside {
                    whole[(y as usize * 4 + x as usize) * 3 + index % 3]
                } else {
                    0
                };
                assert_eq!(*value, want);
            }
        }
    }
}
