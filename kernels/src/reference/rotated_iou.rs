//! Overlap of upright boxes: exact area of intersection of rotated rectangles, and volume.
//!
//! Lengths in m, yaw in rad counter-clockwise. float64. In the frame of the first rectangle, which
//! is an axis-aligned window there, the second is clipped against the window's four sides.

/// A box's footprint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BevBox {
    /// x, y of the centre (m).
    pub center: [f64; 2],
    /// Extent along and across the heading (m).
    pub size: [f64; 2],
    /// Heading from +x, counter-clockwise (rad).
    pub yaw: f64,
}

/// A footprint with its height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UprightBox {
    /// Footprint.
    pub bev: BevBox,
    /// z of the bottom (m).
    pub bottom: f64,
    /// Extent along z (m).
    pub height: f64,
}

impl UprightBox {
    /// From x, y, z of the bottom centre, length, width, height (m), yaw (rad); velocities are not read.
    #[must_use]
    pub const fn of([x, y, z, l, w, h, yaw, ..]: [f64; 9]) -> Self {
        Self {
            bev: BevBox {
                center: [x, y],
                size: [l, w],
                yaw,
            },
            bottom: z,
            height: h,
        }
    }
}

impl BevBox {
    fn area(&self) -> f64 {
        self.size[0].max(0.0) * self.size[1].max(0.0)
    }

    /// Half the diagonal (m).
    fn radius(&self) -> f64 {
        0.5 * self.size[0].hypot(self.size[1])
    }

    fn usable(&self) -> bool {
        self.center.iter().chain(&self.size).all(|v| v.is_finite())
            && self.yaw.is_finite()
            && self.area() > 0.0
    }
}

/// A convex polygon: four corners and at most one more for each side that clips it.
struct Polygon {
    corners: [[f64; 2]; 8],
    count: usize,
}

impl Polygon {
    const EMPTY: Self = Self {
        corners: [[0.0; 2]; 8],
        count: 0,
    };

    fn push(&mut self, corner: [f64; 2]) {
        if let Some(slot) = self.corners.get_mut(self.count) {
            *slot = corner;
            self.count += 1;
        }
    }

    /// Corners of `other` in the frame of `window`.
    fn of(other: &BevBox, window: &BevBox) -> Self {
        let (sin, cos) = window.yaw.sin_cos();
        let dx = other.center[0] - window.center[0];
        let dy = other.center[1] - window.center[1];
        let center = [cos * dx + sin * dy, cos * dy - sin * dx];
        let (sin, cos) = (other.yaw - window.yaw).sin_cos();
        let mut polygon = Self::EMPTY;
        for (along, across) in [(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)] {
            let (forward, left) = (along * other.size[0], across * other.size[1]);
            polygon.push([
                center[0] + cos * forward - sin * left,
                center[1] + sin * forward + cos * left,
            ]);
        }
        polygon
    }

    /// The part with `sign · corner[axis] <= limit`.
    fn clip(&self, axis: usize, sign: f64, limit: f64) -> Self {
        let mut clipped = Self::EMPTY;
        for (index, corner) in self.corners[..self.count].iter().enumerate() {
            let next = self.corners[(index + 1) % self.count];
            let (here, there) = (limit - sign * corner[axis], limit - sign * next[axis]);
            if here >= 0.0 {
                clipped.push(*corner);
            }
            if (here >= 0.0) != (there >= 0.0) {
                let share = here / (here - there);
                let mut crossing: [f64; 2] =
                    std::array::from_fn(|k| corner[k] + share * (next[k] - corner[k]));
                crossing[axis] = sign * limit;
                clipped.push(crossing);
            }
        }
        clipped
    }

    /// Fan of triangles around the first corner, so that far-away origins cost no digits.
    fn area(&self) -> f64 {
        let origin = self.corners[0];
        let arms = |corner: [f64; 2]| [corner[0] - origin[0], corner[1] - origin[1]];
        let doubled: f64 = self.corners[..self.count]
            .windows(2)
            .map(|pair| {
                let (a, b) = (arms(pair[0]), arms(pair[1]));
                a[0] * b[1] - a[1] * b[0]
            })
            .sum();
        0.5 * doubled.abs()
    }
}

/// Area of the common part (m²); 0 for boxes without area or with values that are not finite.
#[must_use]
pub fn bev_intersection(a: &BevBox, b: &BevBox) -> f64 {
    if !a.usable() || !b.usable() {
        return 0.0;
    }
    let distance = (a.center[0] - b.center[0]).hypot(a.center[1] - b.center[1]);
    if distance > a.radius() + b.radius() {
        return 0.0;
    }
    let [half_length, half_width] = a.size.map(|extent| 0.5 * extent);
    Polygon::of(b, a)
        .clip(0, 1.0, half_length)
        .clip(0, -1.0, half_length)
        .clip(1, 1.0, half_width)
        .clip(1, -1.0, half_width)
        .area()
        .min(a.area())
        .min(b.area())
}

/// Intersection over union of two footprints, in 0..=1.
#[must_use]
pub fn bev_iou(a: &BevBox, b: &BevBox) -> f64 {
    over_union(bev_intersection(a, b), a.area() + b.area())
}

/// Intersection over union of two volumes, in 0..=1.
#[must_use]
pub fn iou_3d(a: &UprightBox, b: &UprightBox) -> f64 {
    let top = (a.bottom + a.height).min(b.bottom + b.height);
    let overlap = (top - a.bottom.max(b.bottom)).max(0.0);
    let common = bev_intersection(&a.bev, &b.bev) * overlap;
    let volumes = a.bev.area() * a.height + b.bev.area() * b.height;
    over_union(common, volumes)
}

fn over_union(common: f64, total: f64) -> f64 {
    let union = total - common;
    if common > 0.0 && union > 0.0 {
        (common / union).min(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::{BevBox, UprightBox, bev_intersection, bev_iou, iou_3d};
    use proptest::prelude::{Strategy, prop_assert, proptest};

    fn bev() -> impl Strategy<Value = BevBox> {
        let center = proptest::array::uniform2(-3.0_f64..3.0);
        let size = proptest::array::uniform2(0.1_f64..6.0);
        (center, size, -7.0_f64..7.0).prop_map(|(center, size, yaw)| BevBox { center, size, yaw })
    }

    fn turned(b: &BevBox, angle: f64) -> BevBox {
        let (sin, cos) = angle.sin_cos();
        let [x, y] = b.center;
        BevBox {
            center: [cos * x - sin * y + 40.0, sin * x + cos * y - 70.0],
            yaw: b.yaw + angle,
            ..*b
        }
    }

    fn inside(b: &BevBox, x: f64, y: f64) -> bool {
        let (sin, cos) = b.yaw.sin_cos();
        let (dx, dy) = (x - b.center[0], y - b.center[1]);
        (cos * dx + sin * dy).abs() <= b.size[0] / 2.0
            && (cos * dy - sin * dx).abs() <= b.size[1] / 2.0
    }

    proptest! {
        #[test]
        fn the_iou_is_symmetric_bounded_and_moves_with_the_scene(a in bev(), b in bev(), angle in -7.0_f64..7.0) {
            let iou = bev_iou(&a, &b);
            prop_assert!((0.0..=1.0).contains(&iou));
            prop_assert!((iou - bev_iou(&b, &a)).abs() < 1e-12);
            prop_assert!((iou - bev_iou(&turned(&a, angle), &turned(&b, angle))).abs() < 1e-10);
        }

        #[test]
        fn a_box_covers_itself(a in bev(), quarter in 0_i32..4) {
            prop_assert!((bev_iou(&a, &a) - 1.0).abs() < 1e-12);
            let square = BevBox { size: [2.0, 2.0], ..a };
            let again = BevBox { yaw: a.yaw + f64::from(quarter) * std::f64::consts::FRAC_PI_2, ..square };
            prop_assert!((bev_iou(&square, &again) - 1.0).abs() < 1e-10);
        }

        #[test]
        fn the_area_equals_counted_points(a in bev(), b in bev()) {
            const STEPS: u32 = 160;
            let (mut hits, step) = (0_u32, 12.0 / f64::from(STEPS));
            for i in 0..STEPS {
                for j in 0..STEPS {
                    let (x, y) = ((f64::from(i) + 0.5) * step - 6.0, (f64::from(j) + 0.5) * step - 6.0);
                    hits += u32::from(inside(&a, x, y) && inside(&b, x, y));
                }
            }
            // The counting error is at most about the perimeter times a step.
            prop_assert!((bev_intersection(&a, &b) - f64::from(hits) * step * step).abs() < 24.0 * step);
        }
    }

    #[test]
    fn the_octagon_of_two_crossed_squares_has_its_known_area() {
        let a = BevBox {
            center: [0.0, 0.0],
            size: [2.0, 2.0],
            yaw: 0.0,
        };
        let b = BevBox {
            yaw: std::f64::consts::FRAC_PI_4,
            ..a
        };
        let area = 8.0 * (2.0_f64.sqrt() - 1.0);
        assert!((bev_intersection(&a, &b) - area).abs() < 1e-12);
    }

    #[test]
    fn boxes_without_area_or_with_nans_overlap_nothing() {
        let a = BevBox {
            center: [0.0, 0.0],
            size: [2.0, 2.0],
            yaw: 0.0,
        };
        for size in [[0.0, 2.0], [-1.0, 2.0], [f64::NAN, 2.0]] {
            assert!(bev_iou(&a, &BevBox { size, ..a }) <= 0.0);
        }
    }

    #[test]
    fn half_the_height_in_common_is_a_third_of_the_union() {
        let bev = BevBox {
            center: [1.0, 2.0],
            size: [4.0, 2.0],
            yaw: 0.3,
        };
        let low = UprightBox {
            bev,
            bottom: 0.0,
            height: 2.0,
        };
        let high = UprightBox { bottom: 1.0, ..low };
        assert!((iou_3d(&low, &high) - 1.0 / 3.0).abs() < 1e-12);
        let above = UprightBox { bottom: 5.0, ..low };
        assert!(iou_3d(&low, &above) <= 0.0);
    }
}
