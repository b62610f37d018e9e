//! Moves one cloud into the key frame and keeps the points that the network sees.
//!
//! In: rows of float32 columns, x, y, z (m) first. Out: the columns of `use_dim`, appended to what
//! earlier clouds of the frame left. Per point, in this order: drop it when it is close to the sensor,
//! move x, y, z, overwrite the time column with the lag (s), drop it when a value is not finite, drop
//! it when x, y, z are not strictly inside the range.
//!
//! Arithmetic as in mmdetection3d, whose matrix is float32 and whose product is float64: the rotated
//! point is rounded to float32, then the translation is added in float32.

/// What a row holds and which rows stay; the same for all clouds of a frame.
#[derive(Clone, Copy, Debug)]
pub struct CloudLayout<'a> {
    /// float32 values per point, at least 3.
    pub columns: usize,
    /// Columns that go on, each below `columns`.
    pub use_dim: &'a [usize],
    /// Column that receives the time lag, below `columns`.
    pub time_column: usize,
    /// x, y, z lower then upper bounds (m), both exclusive.
    pub range: [f32; 6],
}

/// How one cloud gets into the key frame.
#[derive(Clone, Copy, Debug)]
pub struct CloudPlacement {
    /// Rotation and translation (m), row-major 3×4; `None` for the key cloud.
    pub key_from_sweep: Option<[[f32; 4]; 3]>,
    /// Key time minus cloud time (s).
    pub time_lag: f32,
    /// Points with |x| and |y| below this in the cloud's own frame are dropped (m); 0 drops none.
    pub remove_close: f32,
}

impl CloudPlacement {
    /// The key cloud itself: not moved, not filtered by distance, no lag.
    pub const KEY: Self = Self {
        key_from_sweep: None,
        time_lag: 0.0,
        remove_close: 0.0,
    };
}

/// Where the points of a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PointCounts {
    /// Points that came in.
    pub input: usize,
    /// Dropped: too close to a sweep's sensor.
    pub close: usize,
    /// Dropped: NaN or infinite.
    pub non_finite: usize,
    /// Dropped: not strictly inside the range.
    pub out_of_range: usize,
}

impl PointCounts {
    /// Points that stayed.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.input - self.close - self.non_finite - self.out_of_range
    }
}

/// The points of a frame, key cloud first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatheredPoints {
    /// `[counts.kept(), columns]`, row-major.
    pub values: Vec<f32>,
    /// Values per point.
    pub columns: usize,
    /// What was kept and dropped.
    pub counts: PointCounts,
}

impl GatheredPoints {
    /// Starts a frame of `columns` values per point; the memory stays.
    pub fn clear(&mut self, columns: usize) {
        self.values.clear();
        self.columns = columns;
        self.counts = PointCounts::default();
    }
}

enum Fate {
    Kept,
    Close,
    NonFinite,
    OutOfRange,
}

/// Appends the points of one cloud, `[n, layout.columns]`, in their order.
pub fn append_cloud(
    layout: &CloudLayout<'_>,
    placement: &CloudPlacement,
    points: &[f32],
    out: &mut GatheredPoints,
) {
    for row in points.chunks_exact(layout.columns) {
        out.counts.input += 1;
        match append_point(layout, placement, row, &mut out.values) {
            Fate::Kept => {}
            Fate::Close => out.counts.close += 1,
            Fate::NonFinite => out.counts.non_finite += 1,
            Fate::OutOfRange => out.counts.out_of_range += 1,
        }
    }
}

fn append_point(
    layout: &CloudLayout<'_>,
    placement: &CloudPlacement,
    row: &[f32],
    values: &mut Vec<f32>,
) -> Fate {
    let p = [row[0], row[1], row[2]];
    if p[0].abs() < placement.remove_close && p[1].abs() < placement.remove_close {
        return Fate::Close;
    }
    let moved = placement.key_from_sweep.map_or(p, |m| transform(&m, p));
    let start = values.len();
    values.extend(layout.use_dim.iter().map(|&column| match column {
        _ if column == layout.time_column => placement.time_lag,
        0..3 => moved[column],
        _ => row[column],
    }));
    let fate = judge(&layout.range, moved, &values[start..]);
    if !matches!(fate, Fate::Kept) {
        values.truncate(start);
    }
    fate
}

fn transform(m: &[[f32; 4]; 3], p: [f32; 3]) -> [f32; 3] {
    let [x, y, z] = p.map(f64::from);
    m.map(|[a, b, c, t]| (f64::from(a) * x + f64::from(b) * y + f64::from(c) * z) as f32 + t)
}

fn judge(range: &[f32; 6], p: [f32; 3], values: &[f32]) -> Fate {
    let [lower_x, lower_y, lower_z, upper_x, upper_y, upper_z] = *range;
    let inside = |v: f32, lower: f32, upper: f32| lower < v && v < upper;
    if !p.iter().chain(values).all(|v| v.is_finite()) {
        Fate::NonFinite
    } else if inside(p[0], lower_x, upper_x)
        && inside(p[1], lower_y, upper_y)
        && inside(p[2], lower_z, upper_z)
    {
        Fate::Kept
    } else {
        Fate::OutOfRange
    }
}

#[cfg(test)]
mod tests {
    use super::{CloudLayout, CloudPlacement, GatheredPoints, append_cloud};

    const LAYOUT: CloudLayout<'static> = CloudLayout {
        columns: 5,
        use_dim: &[0, 1, 2, 4],
        time_column: 4,
        range: [-10.0, -10.0, -2.0, 10.0, 10.0, 2.0],
    };

    fn gathered(placement: &CloudPlacement, points: &[[f32; 5]]) -> GatheredPoints {
        let mut out = GatheredPoints::default();
        out.clear(LAYOUT.use_dim.len());
        append_cloud(&LAYOUT, placement, points.as_flattened(), &mut out);
        out
    }

    #[test]
    fn a_sweep_is_turned_shifted_and_stamped() {
        let quarter_turn = [
            [0.0, -1.0, 0.0, 1.0],
            [1.0, 0.0, 0.0, 2.0],
            [0.0, 0.0, 1.0, 0.5],
        ];
        let placement = CloudPlacement {
            key_from_sweep: Some(quarter_turn),
            time_lag: 0.1,
            remove_close: 1.0,
        };
        let out = gathered(&placement, &[[3.0, 0.5, 1.0, 77.0, 9.0]]);
        assert_eq!(out.values, [0.5, 5.0, 1.5, 0.1]);
    }

    #[test]
    fn only_points_close_on_both_axes_are_dropped_and_only_in_sweeps() {
        let points = [
            [0.9, -0.9, 0.0, 0.0, 0.0],
            [0.9, 1.0, 0.0, 0.0, 0.0],
            [-1.5, 0.1, 0.0, 0.0, 0.0],
        ];
        let sweep = CloudPlacement {
            remove_close: 1.0,
            ..CloudPlacement::KEY
        };
        assert_eq!(gathered(&sweep, &points).counts.close, 1);
        assert_eq!(gathered(&CloudPlacement::KEY, &points).counts.kept(), 3);
    }

    #[test]
    fn bounds_are_exclusive_and_broken_points_are_counted_apart() {
        let points = [
            [10.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, -10.0, 0.0, 0.0, 0.0],
            [9.999, 9.999, 1.999, 0.0, 0.0],
            [f32::NAN, 0.0, 0.0, 0.0, 0.0],
            [0.0, f32::INFINITY, 0.0, 0.0, 0.0],
            // Intensity and the file's time column are not used, so they may be anything.
            [1.0, 1.0, 1.0, f32::NAN, f32::NAN],
        ];
        let out = gathered(&CloudPlacement::KEY, &points);
        assert_eq!((out.counts.input, out.counts.kept()), (6, 2));
        assert_eq!((out.counts.out_of_range, out.counts.non_finite), (2, 2));
        assert_eq!(out.values, [9.999, 9.999, 1.999, 0.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_broken_time_lag_drops_the_sweep() {
        let placement = CloudPlacement {
            time_lag: f32::NAN,
            ..CloudPlacement::KEY
        };
        let out = gathered(&placement, &[[1.0; 5]]);
        assert_eq!(out.counts.non_finite, 1);
        assert!(out.values.is_empty());
    }
}
