//! Boxes and lines in camera images: projection and clipping.
//!
//! A point is first taken to homogeneous image coordinates (u·z, v·z, z) by
//! `image_from_camera · camera_from_lidar`. The near plane and the four image borders are linear there,
//! so lines and faces are cut before the division by z and nothing behind the camera is ever divided.

use super::Detection;
use crate::geometry::CameraCalibration;

/// Depth of the near plane (m).
const NEAR: f64 = 0.1;
/// Corner indices of the twelve edges; 0 to 3 is the bottom as in [`Detection::footprint`], 4 to 7
/// the top in the same order.
pub(super) const EDGES: [[usize; 2]; 12] = [
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 0],
    [4, 5],
    [5, 6],
    [6, 7],
    [7, 4],
    [0, 4],
    [1, 5],
    [2, 6],
    [3, 7],
];
/// Corners of the front face, in turn.
pub(super) const FRONT: [usize; 4] = [0, 1, 5, 4];

type Homogeneous = [f64; 3];

/// One image's pixels as seen from the key cloud.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projector {
    calibration: CameraCalibration,
    /// Width, height (px).
    size: [f64; 2],
}

/// A box in an image: what of it is visible (px).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProjectedBox {
    pub(super) edges: Vec<[[f32; 2]; 2]>,
    /// Visible part of the front face; empty when there is none.
    pub(super) front: Vec<[f32; 2]>,
    /// Depth of the centre (m).
    pub(super) depth: f64,
}

impl Projector {
    pub(super) fn new(calibration: CameraCalibration, [width, height]: [usize; 2]) -> Self {
        Self {
            calibration,
            size: [width as f64, height as f64],
        }
    }

    fn homogeneous(&self, p_in_lidar: [f64; 3]) -> Homogeneous {
        let [x, y, z] = self.calibration.camera_from_lidar.apply(p_in_lidar);
        self.calibration
            .image_from_camera
            .map(|[a, b, c]| a * x + b * y + c * z)
    }

    /// Signed distances to near plane, left, right, top and bottom border; inside is not negative.
    fn distances(&self, [u, v, z]: Homogeneous) -> [f64; 5] {
        let [width, height] = self.size;
        [z - NEAR, u, width * z - u, v, height * z - v]
    }

    /// The visible part of a line (px).
    fn segment(&self, a: Homogeneous, b: Homogeneous) -> Option<[[f32; 2]; 2]> {
        let (mut start, mut end) = (0.0_f64, 1.0_f64);
        for (from, to) in self.distances(a).into_iter().zip(self.distances(b)) {
            match (from >= 0.0, to >= 0.0) {
                (true, true) => {}
                (false, true) => start = start.max(from / (from - to)),
                (true, false) => end = end.min(from / (from - to)),
                (false, false) => return None,
            }
        }
        (start < end).then(|| [start, end].map(|t| divide(mix(a, b, t))))
    }

    /// The visible part of a face (px).
    fn face(&self, corners: &[Homogeneous]) -> Vec<[f32; 2]> {
        let mut polygon = corners.to_vec();
        for plane in 0..self.distances([0.0; 3]).len() {
            let previous = polygon.iter().cycle().skip(polygon.len().saturating_sub(1));
            let mut kept = Vec::with_capacity(polygon.len() + 1);
            for (&from, &to) in previous.zip(&polygon) {
                let [start, end] = [from, to].map(|p| self.distances(p)[plane]);
                if (start >= 0.0) != (end >= 0.0) {
                    kept.push(mix(from, to, start / (start - end)));
                }
                if end >= 0.0 {
                    kept.push(to);
                }
            }
            polygon = kept;
        }
        polygon.into_iter().map(divide).collect()
    }

    /// What of a box is visible; `None` when nothing is or a number is not finite.
    pub(super) fn project(&self, found: &Detection) -> Option<ProjectedBox> {
        let corners = corners(found).map(|corner| self.homogeneous(corner));
        if !corners.iter().flatten().all(|value| value.is_finite()) {
            return None;
        }
        let edges: Vec<_> = EDGES
            .iter()
            .filter_map(|&[a, b]| self.segment(corners[a], corners[b]))
            .collect();
        let [_, _, depth] = self.homogeneous(found.center().map(f64::from));
        (!edges.is_empty()).then(|| ProjectedBox {
            edges,
            front: self.face(&FRONT.map(|corner| corners[corner])),
            depth,
        })
    }
}

/// The twelve edges of a box in an image of `size` (width, height in px), cut at the near plane and at
/// the borders; edges that cannot be seen are left out.
#[must_use]
pub fn project_box(
    found: &Detection,
    calibration: &CameraCalibration,
    size: [usize; 2],
) -> Vec<[[f32; 2]; 2]> {
    Projector::new(*calibration, size)
        .project(found)
        .map_or_else(Vec::new, |visible| visible.edges)
}

/// Bottom corners, then top corners (m), each in the order of the footprint.
pub(super) fn corners(found: &Detection) -> [[f64; 3]; 8] {
    let footprint = found.footprint();
    let [_, _, bottom] = found.bottom_center;
    std::array::from_fn(|index| {
        let [x, y] = footprint[index % footprint.len()];
        let z = if index < footprint.len() {
            bottom
        } else {
            bottom + found.size[2]
        };
        [x, y, z].map(f64::from)
    })
}

fn mix(a: Homogeneous, b: Homogeneous, t: f64) -> Homogeneous {
    std::array::from_fn(|i| a[i] + t * (b[i] - a[i]))
}

fn divide([u, v, z]: Homogeneous) -> [f32; 2] {
    [(u / z) as f32, (v / z) as f32]
}

#[cfg(test)]
mod tests {
    use super::{Projector, project_box};
    use crate::geometry::{CameraCalibration, Transform};
    use crate::output::Detection;
    use proptest::prelude::{prop_assert, proptest};

    /// A camera at the origin that looks along +x of a frame with x ahead, y left, z up.
    fn camera() -> CameraCalibration {
        CameraCalibration {
            image_from_camera: [[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]],
            camera_from_lidar: Transform::new(
                [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]],
                [0.0; 3],
            ),
        }
    }

    fn cube(x: f32, y: f32, edge: f32, yaw: f32) -> Detection {
        Detection {
            bottom_center: [x, y, -0.5 * edge],
            size: [edge; 3],
            yaw,
            velocity: [0.0; 2],
            score: 1.0,
            label: 0,
        }
    }

    #[test]
    fn a_box_ahead_has_twelve_edges_where_the_pinhole_puts_them() {
        let edges = project_box(&cube(10.0, 0.0, 2.0, 0.0), &camera(), [100, 80]);
        assert_eq!(edges.len(), 12);
        // Rear face at x = 9, left bottom corner: u = 50 - 100/9, v = 40 + 100/9.
        let near = |p: &[f32; 2]| {
            (p[0] - (50.0 - 100.0 / 9.0)).abs() < 1e-3 && (p[1] - (40.0 + 100.0 / 9.0)).abs() < 1e-3
        };
        assert_eq!(edges.iter().flatten().filter(|p| near(p)).count(), 3);
    }

    #[test]
    fn a_box_behind_or_beside_is_not_drawn() {
        assert!(project_box(&cube(-10.0, 0.0, 2.0, 0.0), &camera(), [100, 80]).is_empty());
        assert!(project_box(&cube(5.0, 30.0, 2.0, 0.0), &camera(), [100, 80]).is_empty());
        assert!(project_box(&cube(f32::NAN, 0.0, 2.0, 0.0), &camera(), [100, 80]).is_empty());
    }

    #[test]
    fn a_box_around_the_camera_is_cut_at_the_near_plane() {
        let edges = project_box(&cube(0.0, 0.0, 2.0, 0.0), &camera(), [1000, 800]);
        // Seen are the bottom and the right edge of the face ahead, and the edge that runs from their
        // corner toward the camera as far as the border of the image.
        assert_eq!(edges.len(), 3, "{edges:?}");
        let right = edges.iter().flatten().map(|p| p[0]).fold(0.0, f32::max);
        assert!(right > 800.0, "{edges:?}");
    }

    #[test]
    fn the_front_face_of_a_box_that_faces_us_is_the_nearer_one() {
        let visible = |yaw: f32| {
            let projector = Projector::new(camera(), [100, 80]);
            let front = projector
                .project(&cube(10.0, 0.0, 2.0, yaw))
                .expect("seen")
                .front;
            let width = |p: &[[f32; 2]]| {
                let x = || p.iter().map(|q| q[0]);
                x().fold(f32::MIN, f32::max) - x().fold(f32::MAX, f32::min)
            };
            width(&front)
        };
        assert!((visible(0.0) - 200.0 / 11.0).abs() < 1e-3);
        assert!((visible(std::f32::consts::PI) - 200.0 / 9.0).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn what_is_drawn_lies_inside_the_image(
            x in -20.0_f32..20.0, y in -20.0_f32..20.0, edge in 0.1_f32..8.0, yaw in -3.0_f32..3.0,
        ) {
            let projector = Projector::new(camera(), [100, 80]);
            if let Some(seen) = projector.project(&cube(x, y, edge, yaw)) {
                let points = seen.edges.iter().flatten().chain(&seen.front);
                for [u, v] in points {
                    prop_assert!((-0.01..=100.01).contains(u) && (-0.01..=80.01).contains(v), "{u} {v}");
                }
            }
        }
    }
}
