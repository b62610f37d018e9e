//! Antialiased separable resizing with the arithmetic of Pillow's `Image.resize`.
//!
//! In: an image. Out: a window of the resized image, black where the window leaves it, so that pixels
//! that a crop throws away are never made. The filter's support grows with the down-scale factor;
//! weights are fixed point; the horizontal pass rounds and clips to u8 before the vertical one.
//! (Pillow 13 takes the vertical pass first where it saves work, by up to some grey levels; it and older
//! versions agree on images that shrink alike in both directions, which camera images do.)
//! Integer arithmetic: the result does not depend on the number of threads.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::{CHANNELS, ImageView};

/// Fraction bits of a weight: 8 bits hold the pixel, 2 the overshoot of the filter.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Interpolation kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Cubic convolution with a = −0.5, support 2.
    Bicubic,
}

impl Filter {
    const fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// A rectangle in pixels of the resized image; it may reach outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: isize,
    /// First row.
    pub top: isize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Window {
    /// All of an image.
    #[must_use]
    pub const fn whole(width: usize, height: usize) -> Self {
        Self {
            left: 0,
            top: 0,
            width,
            height,
        }
    }
}

/// Source pixels and weights of each target pixel along one axis.
#[derive(Clone, Debug)]
struct Taps {
    /// First source pixel and number of weights.
    spans: Vec<(usize, usize)>,
    /// `[target, longest span]`, fixed point.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    fn new(source: usize, target: usize, filter: Filter) -> Self {
        let scale = source as f64 / target as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let stride = 2 * support.ceil() as usize + 1;
        let mut spans = Vec::with_capacity(target);
        let mut weights = vec![0; target * stride];
        let mut exact = vec![0.0; stride];
        for (index, fixed) in weights.chunks_exact_mut(stride).enumerate() {
            let center = (index as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(source);
            let count = end.saturating_sub(first).min(stride);
            for (offset, weight) in exact[..count].iter_mut().enumerate() {
                *weight = filter.weight(((first + offset) as f64 - center + 0.5) / stretch);
            }
            let total: f64 = exact[..count].iter().sum();
            for (fixed, weight) in fixed.iter_mut().zip(&exact[..count]) {
                *fixed = to_fixed(weight / total);
            }
            spans.push((first, count));
        }
        Self {
            spans,
            weights,
            stride,
        }
    }

    fn at(&self, target: usize) -> (usize, &[i32]) {
        let (first, count) = self.spans[target];
        let start = target * self.stride;
        (first, &self.weights[start..start + count])
    }
}

/// Rounds half away from zero.
fn to_fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1_u32 << PRECISION_BITS);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

fn to_grey(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes images of one size to one size; weights are made once.
#[derive(Clone, Debug)]
pub struct Resampler {
    target: [usize; 2],
    columns: Taps,
    rows: Taps,
    /// `[source rows in use, visible columns, 3]` after the horizontal pass.
    narrowed: Vec<u8>,
}

impl Resampler {
    /// Sizes are width, height; all extents are at least 1.
    #[must_use]
    pub fn new(source: [usize; 2], target: [usize; 2], filter: Filter) -> Self {
        Self {
            target,
            columns: Taps::new(source[0], target[0], filter),
            rows: Taps::new(source[1], target[1], filter),
            narrowed: Vec::new(),
        }
    }

    /// First source column and fixed-point weights (22 bits) of a column of the resized image.
    #[must_use]
    pub fn column(&self, target: usize) -> (usize, &[i32]) {
        self.columns.at(target)
    }

    /// First source row and fixed-point weights (22 bits) of a row of the resized image.
    #[must_use]
    pub fn row(&self, target: usize) -> (usize, &[i32]) {
        self.rows.at(target)
    }

    /// Writes `window` of the resized `image` to `out` (`[window.height, window.width, 3]`).
    ///
    /// `image` has the size that the resampler was made for.
    pub fn run(&mut self, image: ImageView<'_>, window: Window, out: &mut Vec<u8>) {
        out.clear();
        out.resize(window.width * window.height * CHANNELS, 0);
        let (left, width) = visible(window.left, window.width, self.target[0]);
        let (top, height) = visible(window.top, window.height, self.target[1]);
        if width == 0 || height == 0 {
            return;
        }
        let (first_row, _) = self.rows.spans[top];
        let (last_start, last_count) = self.rows.spans[top + height - 1];
        let row_count = last_start + last_count - first_row;
        self.narrow(image, (first_row, row_count), (left, width));
        let skipped_rows = (top as isize - window.top) as usize;
        let indent = (left as isize - window.left) as usize * CHANNELS;
        let row_bytes = width * CHANNELS;
        let (rows, narrowed) = (&self.rows, &self.narrowed);
        out.par_chunks_mut(window.width * CHANNELS)
            .skip(skipped_rows)
            .take(height)
            .enumerate()
            .for_each_init(
                || vec![0; row_bytes],
                |sums, (index, line)| {
                    let (first, weights) = rows.at(top + index);
                    let above = (first - first_row) * row_bytes;
                    let lines = narrowed[above..].chunks_exact(row_bytes);
                    weigh_lines(lines, weights, sums);
                    for (grey, sum) in line[indent..indent + row_bytes].iter_mut().zip(&*sums) {
                        *grey = to_grey(*sum);
                    }
                },
            );
    }

    /// The horizontal pass over the given source rows and target columns (first, count).
    fn narrow(&mut self, image: ImageView<'_>, rows: (usize, usize), columns: (usize, usize)) {
        let ((first_row, row_count), (left, width)) = (rows, columns);
        self.narrowed.resize(row_count * width * CHANNELS, 0);
        let taps = &self.columns;
        self.narrowed
            .par_chunks_mut(width * CHANNELS)
            .enumerate()
            .for_each(|(index, line)| {
                let source = image.row(first_row + index).as_chunks::<CHANNELS>().0;
                let targets = line.as_chunks_mut::<CHANNELS>().0;
                for (target, column) in targets.iter_mut().zip(left..) {
                    let (first, weights) = taps.at(column);
                    *target = weigh_pixels(&source[first..], weights);
                }
            });
    }
}

/// The part of a window axis that lies in `0..extent`: first index and count.
pub(crate) fn visible(start: isize, count: usize, extent: usize) -> (usize, usize) {
    let end = start
        .saturating_add_unsigned(count)
        .clamp(0, extent as isize) as usize;
    let first = start.clamp(0, extent as isize) as usize;
    (first, end.saturating_sub(first))
}

fn weigh_pixels(pixels: &[[u8; CHANNELS]], weights: &[i32]) -> [u8; CHANNELS] {
    let mut sums = [HALF; CHANNELS];
    for (pixel, weight) in pixels.iter().zip(weights) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(*value) * weight;
        }
    }
    sums.map(to_grey)
}

fn weigh_lines<'a>(lines: impl Iterator<Item = &'a [u8]>, weights: &[i32], sums: &mut [i32]) {
    sums.fill(HALF);
    for (line, weight) in lines.zip(weights) {
        for (sum, value) in sums.iter_mut().zip(line) {
            *sum += i32::from(*value) * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, Resampler, Window};
    use crate::reference::image::ImageView;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    fn resize(size: [usize; 2], pixels: &[u8], target: [usize; 2], window: Window) -> Vec<u8> {
        let image = ImageView::new(size[0], size[1], pixels).expect("fits");
        let mut out = Vec::new();
        Resampler::new(size, target, Filter::Bicubic).run(image, window, &mut out);
        out
    }

    fn filter() -> impl Strategy<Value = Filter> {
        prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)]
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(
            level in any::<u8>(), source in 1_usize..40, target in 1_usize..40, filter in filter()
        ) {
            let pixels = vec![level; source * 3 * 3];
            let image = ImageView::new(source, 3, &pixels).expect("fits");
            let mut out = Vec::new();
            Resampler::new([source, 3], [target, 5], filter)
                .run(image, Window::whole(target, 5), &mut out);
            prop_assert_eq!(out, vec![level; target * 5 * 3]);
        }

        #[test]
        fn the_same_size_is_the_same_image(pixels in proptest::collection::vec(any::<u8>(), 7 * 5 * 3)) {
            prop_assert_eq!(resize([7, 5], &pixels, [7, 5], Window::whole(7, 5)), pixels);
        }

        #[test]
        fn a_window_is_the_resized_image_cut_with_black_outside(
            pixels in proptest::collection::vec(any::<u8>(), 16 * 12 * 3),
            left in -9_isize..15, top in -9_isize..15
        ) {
            let whole = resize([16, 12], &pixels, [9, 7], Window::whole(9, 7));
            let cut = resize([16, 12], &pixels, [9, 7], Window { left, top, width: 6, height: 5 });
            for (index, value) in cut.iter().enumerate() {
                let (x, y) = (left + (index / 3 % 6) as isize, top + (index / 18) as isize);
                let inside = (0..9).contains(&x) && (0..7).contains(&y);
                let want = if inside { whole[(y as usize * 9 + x as usize) * 3 + index % 3] } else { 0 };
                prop_assert_eq!(*value, want);
            }
        }
    }

    #[test]
    fn halving_a_step_edge_matches_the_filter_by_hand() {
        // Support 4 around 3.0 in source pixels; weights of the cubic at ±0.25, ±0.75, ±1.25, ±1.75.
        let pixels: Vec<u8> = [0, 0, 0, 0, 200, 200, 200, 200]
            .iter()
            .flat_map(|v| [*v; 3])
            .collect();
        let out = resize([8, 1], &pixels, [4, 1], Window::whole(4, 1));
        let cubic = |x: f64| {
            if x < 1.0 {
                (1.5 * x - 2.5) * x * x + 1.0
            } else {
                -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0)
            }
        };
        let weights = [1.75, 1.25, 0.75, 0.25, 0.25, 0.75, 1.25, 1.75].map(cubic);
        // Target pixel 1 is centred at 3.0: source pixels 0..=6 have offsets −2.5..=3.5 over 2.
        let right: f64 = weights[5..].iter().sum();
        let total: f64 = weights[1..].iter().sum();
        assert_eq!(out[3], (200.0 * right / total).round() as u8);
    }
}
