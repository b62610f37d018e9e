//! Gathers the clouds of a frame into one cloud in the key frame.
//!
//! In: the key cloud and past sweeps, `[n, load_dim]` float32, nearest in time first. Out: the columns
//! of `use_dim`, key cloud first, inside the range; the time column holds the lag (s). Each motion is
//! made in double precision and rounded once to float32.

use bevfusion_kernels::reference::sweep::{
    CloudLayout, CloudPlacement, GatheredPoints, PointCounts, append_cloud,
};

use crate::config::{PointsSpec, SweepAlignment};
use crate::geometry::Transform;
use crate::input::{Frame, PointCloud, Sweep};

/// Columns that every point needs: x, y, z.
const POSITION_COLUMNS: usize = 3;

/// Clouds that do not fit the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointsError {
    /// A cloud has other columns than the model's `points.load_dim`.
    #[error(
        "{cloud} has {found} columns, the model's points.load_dim is {expected}: \
         convert the cloud or load the model that was trained on it"
    )]
    Columns {
        /// Which cloud.
        cloud: String,
        /// `load_dim`.
        expected: usize,
        /// Columns of the cloud.
        found: usize,
    },
    /// The values of a cloud are not whole rows.
    #[error("{cloud} holds {values} values, which is no multiple of its {columns} columns")]
    PartialRow {
        /// Which cloud.
        cloud: String,
        /// Number of float32 values.
        values: usize,
        /// Columns of the cloud.
        columns: usize,
    },
    /// The model names a column that its points do not have.
    #[error("points.{key} names column {column}, but points.load_dim is {load_dim}")]
    UnknownColumn {
        /// Key of the model description.
        key: &'static str,
        /// The column.
        column: usize,
        /// Columns of a point.
        load_dim: usize,
    },
}

impl PointsError {
    /// Columns of the cloud at fault.
    #[must_use]
    pub const fn columns(&self) -> usize {
        match self {
            Self::Columns { found, .. } => *found,
            Self::PartialRow { columns, .. } => *columns,
            Self::UnknownColumn { load_dim, .. } => *load_dim,
        }
    }
}

/// Overwrites `out` with the points of `frame` that lie strictly inside `range` (x, y, z lower then
/// upper bounds, m). Sweeps beyond `spec.sweeps_num` are not read.
///
/// # Errors
/// When a cloud does not have `load_dim` columns or the description names columns beyond them.
pub fn gather_points(
    spec: &PointsSpec,
    range: [f32; 6],
    frame: &Frame,
    out: &mut GatheredPoints,
) -> Result<PointCounts, PointsError> {
    check_columns(spec)?;
    out.clear(spec.use_dim.len());
    let layout = CloudLayout {
        columns: spec.load_dim,
        use_dim: &spec.use_dim,
        time_column: spec.time_column,
        range,
    };
    check_cloud(spec, &frame.points, || "the key cloud".into())?;
    append_cloud(&layout, &CloudPlacement::KEY, &frame.points.values, out);
    for (index, sweep) in frame.sweeps.iter().take(spec.sweeps_num).enumerate() {
        check_cloud(spec, &sweep.cloud, || format!("sweep {index}"))?;
        append_cloud(&layout, &placement(spec, sweep), &sweep.cloud.values, out);
    }
    Ok(out.counts)
}

fn check_columns(spec: &PointsSpec) -> Result<(), PointsError> {
    let used = spec.use_dim.iter().map(|column| ("use_dim", *column));
    let known = [
        ("time_column", spec.time_column),
        ("load_dim (x, y, z)", POSITION_COLUMNS - 1),
    ];
    match used.chain(known).find(|(_, c)| *c >= spec.load_dim) {
        Some((key, column)) => Err(PointsError::UnknownColumn {
            key,
            column,
            load_dim: spec.load_dim,
        }),
        None => Ok(()),
    }
}

/// An empty cloud may leave its columns unsaid.
pub(crate) fn check_cloud(
    spec: &PointsSpec,
    cloud: &PointCloud,
    name: impl Fn() -> String,
) -> Result<(), PointsError> {
    if cloud.values.is_empty() {
        return Ok(());
    }
    if cloud.columns != spec.load_dim {
        return Err(PointsError::Columns {
            cloud: name(),
            expected: spec.load_dim,
            found: cloud.columns,
        });
    }
    if !cloud.values.len().is_multiple_of(cloud.columns) {
        return Err(PointsError::PartialRow {
            cloud: name(),
            values: cloud.values.len(),
            columns: cloud.columns,
        });
    }
    Ok(())
}

/// How a sweep gets into the key frame.
pub(crate) fn placement(spec: &PointsSpec, sweep: &Sweep) -> CloudPlacement {
    let motion = match spec.sweep_alignment {
        SweepAlignment::Rigid => sweep.key_from_sweep,
        SweepAlignment::Mmdet3d => mmdet3d_motion(&sweep.key_from_sweep),
    };
    let [x, y, z, _] = motion.matrix();
    CloudPlacement {
        key_from_sweep: Some([x, y, z].map(|row| row.map(|v| v as f32))),
        time_lag: sweep.time_lag as f32,
        remove_close: spec.remove_close,
    }
}

/// `R p + Rᵀ t`: what remains when the inverse motion, `Rᵀ` and `−Rᵀ t`, is applied as
/// `p · Rᵀ − (−Rᵀ t)`.
fn mmdet3d_motion(key_from_sweep: &Transform) -> Transform {
    let linear = key_from_sweep.linear();
    let moved = key_from_sweep.translation();
    let translation = std::array::from_fn(|column| {
        linear
            .iter()
            .zip(moved)
            .map(|(row, value)| row[column] * value)
            .sum()
    });
    Transform::new(linear, translation)
}

#[cfg(test)]
mod tests {
    use super::{PointsError, gather_points};
    use crate::config::{PointsSpec, SweepAlignment};
    use crate::geometry::Transform;
    use crate::input::{Frame, PointCloud, Sweep};
    use crate::lidar::GatheredPoints;

    const RANGE: [f32; 6] = [-50.0, -50.0, -5.0, 50.0, 50.0, 3.0];

    fn spec(sweep_alignment: SweepAlignment) -> PointsSpec {
        PointsSpec {
            load_dim: 5,
            use_dim: vec![0, 1, 2, 3, 4],
            time_column: 4,
            sweeps_num: 1,
            remove_close: 1.0,
            sweep_alignment,
        }
    }

    fn cloud(values: &[[f32; 5]]) -> PointCloud {
        PointCloud {
            values: values.as_flattened().to_vec(),
            columns: 5,
        }
    }

    fn frame() -> Frame {
        let turn = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let sweep = |x: f32| Sweep {
            cloud: cloud(&[[x, 2.0, 1.0, 9.0, 77.0]]),
            key_from_sweep: Transform::new(turn, [10.0, 20.0, 0.5]),
            time_lag: 0.05,
        };
        Frame {
            points: cloud(&[[0.5, 0.5, 0.0, 8.0, 55.0], [60.0, 0.0, 0.0, 8.0, 0.0]]),
            sweeps: vec![sweep(3.0), sweep(4.0)],
            cameras: Vec::new(),
            stamp_ns: None,
        }
    }

    #[test]
    fn the_key_cloud_comes_first_and_surplus_sweeps_stay_away() {
        let mut out = GatheredPoints::default();
        let counts = gather_points(&spec(SweepAlignment::Rigid), RANGE, &frame(), &mut out)
            .expect("well-formed");
        assert_eq!(
            (counts.input, counts.out_of_range, counts.kept()),
            (3, 1, 2)
        );
        let want = [[0.5, 0.5, 0.0, 8.0, 0.0], [8.0, 23.0, 1.5, 9.0, 0.05]];
        assert_eq!(out.values, want.as_flattened());
    }

    #[test]
    fn the_mmdetection3d_form_turns_the_translation_back() {
        let mut out = GatheredPoints::default();
        gather_points(&spec(SweepAlignment::Mmdet3d), RANGE, &frame(), &mut out)
            .expect("well-formed");
        // R p = (-2, 3, 1); Rᵀ t = (20, -10, 0.5).
        assert_eq!(out.values[5..], [18.0, -7.0, 1.5, 9.0, 0.05]);
    }

    #[test]
    fn clouds_that_do_not_fit_are_named() {
        let (spec, mut out) = (spec(SweepAlignment::Rigid), GatheredPoints::default());
        let mut narrow = frame();
        narrow.sweeps[0].cloud.columns = 4;
        let error = gather_points(&spec, RANGE, &narrow, &mut out).expect_err("4 columns");
        assert!(error.to_string().contains("sweep 0 has 4 columns"));
        let mut cut = frame();
        cut.points.values.pop();
        let error = gather_points(&spec, RANGE, &cut, &mut out).expect_err("9 values");
        assert!(matches!(error, PointsError::PartialRow { values: 9, .. }));
        let wide = PointsSpec {
            use_dim: vec![0, 1, 2, 5],
            ..spec
        };
        let error = gather_points(&wide, RANGE, &frame(), &mut out).expect_err("column 5");
        assert!(matches!(
            error,
            PointsError::UnknownColumn { column: 5, .. }
        ));
    }

    #[test]
    fn a_frame_without_points_is_an_empty_cloud() {
        let mut out = GatheredPoints::default();
        let spec = spec(SweepAlignment::Rigid);
        let counts = gather_points(&spec, RANGE, &Frame::default(), &mut out).expect("empty");
        assert_eq!((counts.input, out.values.len()), (0, 0));
    }
}
