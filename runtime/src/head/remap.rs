//! Class changes by footprint area: a very large car is a truck.
//!
//! Autoware's `DetectionClassRemapper`: rows of the matrices are the network's label, columns the new
//! one, and the first column whose area interval (m², bounds included) holds the box wins.

use crate::config::ClassRemapperSpec;
use crate::output::Detection;

/// The new row of a box of class `row` with this footprint (m²); `row` itself when no column takes it
/// or when it is outside the matrix.
#[must_use]
pub fn remapped_row(spec: &ClassRemapperSpec, row: usize, area: f64) -> usize {
    let width = spec.labels.len();
    if row >= width {
        return row;
    }
    let takes = |column: usize| {
        let index = row * width + column;
        let allowed = spec.allow_remapping_by_area_matrix.get(index) == Some(&1);
        let above = spec
            .min_area_matrix
            .get(index)
            .is_some_and(|least| area >= *least);
        let below = spec
            .max_area_matrix
            .get(index)
            .is_some_and(|most| area <= *most);
        allowed && above && below
    };
    (0..width).find(|column| takes(*column)).unwrap_or(row)
}

/// What happened to the classes of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remapped {
    /// Boxes with another class now.
    pub changed: usize,
    /// Boxes whose new class the model does not have: left as they were.
    pub inexpressible: usize,
}

/// Changes labels in place. Names are compared without regard to case; classes that the matrix does not
/// name are left alone.
pub(super) fn remap(
    spec: &ClassRemapperSpec,
    class_names: &[String],
    detections: &mut [Detection],
) -> Remapped {
    let index_of = |names: &[String], name: &String| {
        names
            .iter()
            .position(|other| other.eq_ignore_ascii_case(name))
    };
    let mut result = Remapped::default();
    for detection in detections {
        let name = class_names.get(detection.label as usize);
        let Some(row) = name.and_then(|name| index_of(&spec.labels, name)) else {
            continue;
        };
        let area = f64::from(detection.size[0]) * f64::from(detection.size[1]);
        let new_row = remapped_row(spec, row, area);
        if new_row == row {
            continue;
        }
        match index_of(class_names, &spec.labels[new_row]) {
            Some(label) => {
                detection.label = label as u32;
                result.changed += 1;
            }
            None => result.inexpressible += 1,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{Remapped, remap, remapped_row};
    use crate::config::ClassRemapperSpec;
    use crate::head::test_spec::detection;

    /// CAR becomes TRUCK from 12.1 to 36 m² and TRAILER from 36 m² on.
    fn spec() -> ClassRemapperSpec {
        ClassRemapperSpec {
            labels: ["UNKNOWN", "CAR", "TRUCK", "TRAILER"]
                .map(String::from)
                .into(),
            allow_remapping_by_area_matrix: [[0; 4], [0, 0, 1, 1], [0; 4], [0; 4]].concat(),
            min_area_matrix: [[0.0; 4], [0.0, 0.0, 12.1, 36.0], [0.0; 4], [0.0; 4]].concat(),
            max_area_matrix: [[0.0; 4], [0.0, 0.0, 36.0, 1e9], [0.0; 4], [0.0; 4]].concat(),
        }
    }

    #[test]
    fn the_first_fitting_column_wins_and_bounds_are_included() {
        let rows = [12.0, 12.1, 36.0, 36.1].map(|area| remapped_row(&spec(), 1, area));
        assert_eq!(rows, [1, 2, 2, 3]);
        assert_eq!(remapped_row(&spec(), 2, 20.0), 2);
    }

    #[test]
    fn a_label_outside_the_matrix_is_left_alone() {
        assert_eq!(remapped_row(&spec(), 9, 20.0), 9);
        let mut short = spec();
        short.max_area_matrix.truncate(3);
        assert_eq!(remapped_row(&short, 1, 20.0), 1);
    }

    #[test]
    fn classes_are_matched_by_name_and_unknown_ones_stay() {
        let class_names = ["truck", "car", "barrier"].map(String::from);
        let mut boxes = [(1, 6.0), (1, 13.0), (2, 6.0), (7, 6.0)].map(|(label, length)| {
            let mut found = detection([0.0; 3], 0.5, label);
            found.size = [length, 3.0, 2.0];
            found
        });
        let result = remap(&spec(), &class_names, &mut boxes);
        assert_eq!(boxes.map(|found| found.label), [0, 1, 2, 7]);
        let want = Remapped {
            changed: 1,
            inexpressible: 1,
        };
        assert_eq!(result, want);
    }
}
