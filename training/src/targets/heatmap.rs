//! Gaussian peaks on the dense class heatmap.
//!
//! In: box sizes and centres in BEV cells. Out: values in 0..=1 drawn on a row-major map whose rows are
//! x and whose columns are y; overlapping peaks keep the maximum. Arithmetic of the radius is single
//! precision, that of the peak double precision rounded once, as in mmdetection3d's
//! `gaussian_radius` and `draw_heatmap_gaussian`.

/// Radius (cells) at which a shifted box still overlaps the true one by `min_overlap`.
///
/// The three cases are those of CornerNet with its missing 1/a in the quadratic formula: trained heads
/// expect these radii.
#[must_use]
pub fn gaussian_radius(length: f32, width: f32, min_overlap: f64) -> f32 {
    let (sum, area) = (length + width, width * length);
    let larger_root = |b: f32, four_ac: f32| (b + (b * b - four_ac).sqrt()) / 2.0;
    let overlap = min_overlap as f32;
    let rest = (1.0 - min_overlap) as f32;
    let shifted = larger_root(sum, 4.0 * (area * rest / (1.0 + min_overlap) as f32));
    let inside = larger_root(2.0 * sum, 16.0 * (rest * area));
    let outside = larger_root(
        -2.0 * overlap * sum,
        (16.0 * min_overlap) as f32 * ((min_overlap - 1.0) as f32 * area),
    );
    shifted.min(inside).min(outside)
}

/// The radius that is drawn: truncated, at least `min_radius`.
#[must_use]
pub fn drawn_radius(radius: f32, min_radius: usize) -> usize {
    // A NaN or negative radius saturates to 0.
    (radius as usize).max(min_radius)
}

/// Raises `map` (rows × columns) to a Gaussian of σ = (2·radius + 1)/6 around `center` = [row, column];
/// what lies outside the map is cropped.
pub fn draw_gaussian(map: &mut [f32], columns: usize, center: [i64; 2], radius: usize) {
    if columns == 0 {
        return;
    }
    let rows = map.len() / columns;
    let sigma = (2 * radius + 1) as f64 / 6.0;
    for row in cropped(center[0], radius, rows) {
        for column in cropped(center[1], radius, columns) {
            let (dx, dy) = (row as i64 - center[0], column as i64 - center[1]);
            let squared = (dx * dx + dy * dy) as f64;
            let value = (-squared / (2.0 * sigma * sigma)).exp();
            if value >= f64::EPSILON {
                let cell = &mut map[row * columns + column];
                *cell = cell.max(value as f32);
            }
        }
    }
}

/// Indices within `radius` of `center` that exist.
fn cropped(center: i64, radius: usize, size: usize) -> std::ops::Range<usize> {
    let reach = i64::try_from(radius).unwrap_or(i64::MAX);
    let first = center.saturating_sub(reach).max(0);
    let end = center.saturating_add(reach).saturating_add(1);
    let end = usize::try_from(end).unwrap_or(0).min(size);
    usize::try_from(first).unwrap_or(size).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::{draw_gaussian, drawn_radius, gaussian_radius};

    fn radius(size: [f32; 2], cell: f32) -> f32 {
        gaussian_radius(size[0] / cell, size[1] / cell, 0.1)
    }

    #[test]
    fn radii_are_those_of_the_original() {
        let boxes = [[4.6, 1.95], [7.0, 2.5], [11.0, 2.9], [0.7, 0.7], [1.8, 0.6]];
        let fine = [2.09608, 2.88958, 3.78800, 0.50453, 0.71355];
        let coarse = [0.92474, 1.27481, 1.67118, 0.22259, 0.31480];
        for ((size, fine), coarse) in boxes.into_iter().zip(fine).zip(coarse) {
            assert!((radius(size, 0.6) - fine).abs() < 1e-5, "{size:?}");
            assert!((radius(size, 1.36) - coarse).abs() < 1e-5, "{size:?}");
        }
    }

    #[test]
    fn radius_is_truncated_and_has_a_floor() {
        assert_eq!(drawn_radius(2.889, 2), 2);
        assert_eq!(drawn_radius(3.788, 2), 3);
        assert_eq!(drawn_radius(0.5, 2), 2);
        assert_eq!(drawn_radius(f32::NAN, 2), 2);
    }

    #[test]
    fn a_peak_of_radius_two_has_the_published_values() {
        let mut map = vec![0.0; 49];
        draw_gaussian(&mut map, 7, [3, 3], 2);
        let want = [
            [1.0, 0.4868, 0.0561],
            [0.4868, 0.2369, 0.0273],
            [0.0561, 0.0273, 0.0032],
        ];
        for (dx, line) in want.iter().enumerate() {
            for (dy, want) in line.iter().enumerate() {
                assert!((map[(3 + dx) * 7 + 3 + dy] - want).abs() < 5e-5);
                assert!((map[(3 - dx) * 7 + 3 - dy] - want).abs() < 5e-5);
            }
        }
        assert_eq!(map.iter().filter(|v| **v > 0.0).count(), 25);
    }

    #[test]
    fn rows_and_columns_are_not_swapped_and_peaks_keep_the_maximum() {
        let mut map = vec![0.0; 4 * 9];
        draw_gaussian(&mut map, 9, [1, 7], 1);
        draw_gaussian(&mut map, 9, [1, 6], 1);
        assert_eq!(map[9 + 7].to_bits(), 1.0_f32.to_bits());
        assert_eq!(map[9 + 6].to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn centres_outside_are_cropped() {
        let mut map = vec![0.0; 25];
        draw_gaussian(&mut map, 5, [-1, 2], 2);
        assert_eq!(map.iter().filter(|v| **v > 0.0).count(), 10);
        let before = map.clone();
        for far in [[-9, 2], [2, 70], [i64::MAX, i64::MIN]] {
            draw_gaussian(&mut map, 5, far, 2);
        }
        assert_eq!(map, before);
        draw_gaussian(&mut [], 0, [0, 0], 2);
    }
}
