//! Boxes as an aligned table for the terminal, best score first.
//!
//! x, y, z is the box's centre (m) in the frame of the key cloud, l, w, h its size (m).

use std::fmt::Write;

use super::Detection;
use super::frame_view::{by_score, class_name};

const HEADER: [&str; 11] = [
    "#", "class", "score", "x", "y", "z", "l", "w", "h", "yaw deg", "m/s",
];
const CLASS_COLUMN: usize = 1;

/// The `top` best boxes of at least `min_score`, a line each under a header; below, how many more
/// there are.
#[must_use]
pub fn detection_table(
    detections: &[Detection],
    class_names: &[String],
    min_score: f32,
    top: usize,
) -> String {
    let kept = by_score(detections, min_score);
    let rows: Vec<_> = kept
        .iter()
        .take(top)
        .enumerate()
        .map(|(index, found)| cells(index + 1, found, class_names))
        .collect();
    let header = HEADER.map(str::to_owned);
    let widths: [usize; 11] = std::array::from_fn(|column| {
        std::iter::once(&header)
            .chain(&rows)
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = line(&header, &widths);
    for row in &rows {
        text.push_str(&line(row, &widths));
    }
    let (more, below) = (kept.len() - rows.len(), detections.len() - kept.len());
    if more > 0 {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "and {more} more");
    }
    if below > 0 {
        let _ = writeln!(text, "{below} below score {min_score}");
    }
    text
}

fn cells(rank: usize, found: &Detection, class_names: &[String]) -> [String; 11] {
    let [x, y, z] = found.center();
    let [l, w, h] = found.size;
    let speed = found.velocity[0].hypot(found.velocity[1]);
    [
        rank.to_string(),
        class_name(class_names, found.label),
        format!("{:.3}", found.score),
        format!("{x:.2}"),
        format!("{y:.2}"),
        format!("{z:.2}"),
        format!("{l:.2}"),
        format!("{w:.2}"),
        format!("{h:.2}"),
        format!("{:.1}", found.yaw.to_degrees()),
        format!("{speed:.1}"),
    ]
}

fn line(cells: &[String; 11], widths: &[usize; 11]) -> String {
    let padded: Vec<_> = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, &width))| {
            if column == CLASS_COLUMN {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        })
        .collect();
    padded.join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::detection_table;
    use crate::output::Detection;

    fn found(score: f32, label: u32) -> Detection {
        Detection {
            bottom_center: [10.0, -2.5, -1.0],
            size: [4.0, 2.0, 1.5],
            yaw: std::f32::consts::FRAC_PI_2,
            velocity: [3.0, 4.0],
            score,
            label,
        }
    }

    fn names() -> Vec<String> {
        vec!["car".to_owned(), "traffic_cone".to_owned()]
    }

    #[test]
    fn the_best_boxes_come_first_and_the_rest_is_counted() {
        let boxes = [found(0.2, 0), found(0.9, 1), found(0.5, 0), found(0.01, 0)];
        let text = detection_table(&boxes, &names(), 0.1, 2);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[1].contains("traffic_cone  0.900"), "{text}");
        assert!(lines[2].contains("0.500"), "{text}");
        assert_eq!(lines[3..], ["and 1 more", "1 below score 0.1"]);
    }

    #[test]
    fn columns_are_aligned_and_hold_centre_degrees_and_speed() {
        let text = detection_table(&[found(0.9, 0), found(0.8, 1)], &names(), 0.0, 9);
        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert!(lengths.iter().all(|&l| l == lengths[0]), "{text}");
        let row: Vec<_> = text
            .lines()
            .nth(1)
            .expect("row")
            .split_whitespace()
            .collect();
        assert_eq!(
            row,
            [
                "1", "car", "0.900", "10.00", "-2.50", "-0.25", "4.00", "2.00", "1.50", "90.0",
                "5.0"
            ]
        );
    }

    #[test]
    fn a_label_without_a_name_is_shown_as_its_number() {
        assert!(detection_table(&[found(0.9, 7)], &names(), 0.0, 1).contains("class 7"));
    }
}
