//! Rigid and affine transforms in double precision.
//!
//! A transform is named `target_from_source`: `target_from_source.apply(p_in_source)` is
//! `p_in_target`.

/// A 4×4 affine transform, row-major, last row 0 0 0 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform {
    rows: [[f64; 4]; 3],
}

impl Transform {
    /// The identity.
    pub const IDENTITY: Self = Self {
        rows: [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ],
    };

    /// From a 3×3 block (row-major) and a translation (m).
    #[must_use]
    pub const fn new(linear: [[f64; 3]; 3], translation: [f64; 3]) -> Self {
        let [a, b, c] = linear;
        let [x, y, z] = translation;
        Self {
            rows: [
                [a[0], a[1], a[2], x],
                [b[0], b[1], b[2], y],
                [c[0], c[1], c[2], z],
            ],
        }
    }

    /// From a quaternion w, x, y, z (any length but zero) and a translation (m).
    #[must_use]
    pub fn from_quaternion(wxyz: [f64; 4], translation: [f64; 3]) -> Self {
        let norm = wxyz.iter().map(|v| v * v).sum::<f64>().sqrt();
        let [w, x, y, z] = wxyz.map(|v| v / norm);
        Self::new(
            [
                [
                    1.0 - 2.0 * (y * y + z * z),
                    2.0 * (x * y - w * z),
                    2.0 * (x * z + w * y),
                ],
                [
                    2.0 * (x * y + w * z),
                    1.0 - 2.0 * (x * x + z * z),
                    2.0 * (y * z - w * x),
                ],
                [
                    2.0 * (x * z - w * y),
                    2.0 * (y * z + w * x),
                    1.0 - 2.0 * (x * x + y * y),
                ],
            ],
            translation,
        )
    }

    /// From a row-major 4×4 matrix; the last row is not read.
    #[must_use]
    pub const fn from_matrix(m: [[f64; 4]; 4]) -> Self {
        Self {
            rows: [m[0], m[1], m[2]],
        }
    }

    /// The row-major 4×4 matrix.
    #[must_use]
    pub const fn matrix(&self) -> [[f64; 4]; 4] {
        let [a, b, c] = self.rows;
        [a, b, c, [0.0, 0.0, 0.0, 1.0]]
    }

    /// The 3×3 block, row-major.
    #[must_use]
    pub fn linear(&self) -> [[f64; 3]; 3] {
        self.rows.map(|[a, b, c, _]| [a, b, c])
    }

    /// The translation (m).
    #[must_use]
    pub fn translation(&self) -> [f64; 3] {
        self.rows.map(|row| row[3])
    }

    /// A point moved from source to target.
    #[must_use]
    pub fn apply(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        self.rows.map(|[a, b, c, t]| a * x + b * y + c * z + t)
    }

    /// A direction moved from source to target: no translation.
    #[must_use]
    pub fn apply_direction(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        self.rows.map(|[a, b, c, _]| a * x + b * y + c * z)
    }

    /// `a_from_b.compose(&b_from_c)` is `a_from_c`.
    #[must_use]
    pub fn compose(&self, inner: &Self) -> Self {
        let other = inner.matrix();
        Self {
            rows: self.rows.map(|row| {
                std::array::from_fn(|column| {
                    row.iter()
                        .zip(&other)
                        .map(|(value, line)| value * line[column])
                        .sum()
                })
            }),
        }
    }

    /// Determinant of the 3×3 block.
    #[must_use]
    pub fn determinant(&self) -> f64 {
        let [a, b, c] = self.linear();
        dot(a, cross(b, c))
    }

    /// The inverse of any affine transform; `None` when singular or not finite.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, c] = self.linear();
        let determinant = self.determinant();
        let scale = [a, b, c]
            .map(|row| dot(row, row).sqrt())
            .iter()
            .product::<f64>();
        let finite = self.rows.iter().flatten().all(|v| v.is_finite());
        if !finite || determinant.abs() <= 1e-12 * scale {
            return None;
        }
        let columns = [cross(b, c), cross(c, a), cross(a, b)].map(|v| v.map(|e| e / determinant));
        let linear: [[f64; 3]; 3] =
            std::array::from_fn(|row| std::array::from_fn(|column| columns[column][row]));
        let moved = self.translation();
        let translation = linear.map(|row| -dot(row, moved));
        Some(Self::new(linear, translation))
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[cfg(test)]
mod tests {
    use super::Transform;
    use proptest::prelude::{Strategy, prop_assert, proptest};

    fn pose() -> impl Strategy<Value = Transform> {
        let q = proptest::array::uniform4(-1.0_f64..1.0)
            .prop_filter("a quaternion has length", |q| {
                q.iter().map(|v| v * v).sum::<f64>() > 0.01
            });
        (q, proptest::array::uniform3(-1e5_f64..1e5))
            .prop_map(|(q, t)| Transform::from_quaternion(q, t))
    }

    proptest! {
        #[test]
        fn a_pose_and_its_inverse_cancel(pose in pose(), p in proptest::array::uniform3(-100.0_f64..100.0)) {
            let back = pose.inverse().expect("rigid").apply(pose.apply(p));
            prop_assert!(back.iter().zip(&p).all(|(a, b)| (a - b).abs() < 1e-8));
        }

        #[test]
        fn composition_is_application_in_turn(a in pose(), b in pose(), p in proptest::array::uniform3(-100.0_f64..100.0)) {
            let (left, right) = (a.compose(&b).apply(p), a.apply(b.apply(p)));
            prop_assert!(left.iter().zip(&right).all(|(x, y)| (x - y).abs() < 1e-8));
        }
    }

    #[test]
    fn a_singular_transform_has_no_inverse() {
        let flat = Transform::new(
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]],
            [0.0; 3],
        );
        assert!(flat.inverse().is_none());
        let broken = Transform::new(
            [[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [0.0; 3],
        );
        assert!(broken.inverse().is_none());
    }
}
