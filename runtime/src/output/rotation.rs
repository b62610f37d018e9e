//! Quaternions w, x, y, z of headings and poses.

use crate::geometry::Transform;

/// The heading `yaw` (rad, about +z).
pub(super) fn yaw_quaternion(yaw: f64) -> [f64; 4] {
    let (sin, cos) = (0.5 * yaw).sin_cos();
    [cos, 0.0, 0.0, sin]
}

/// Hamilton product: first `b`, then `a`.
pub(super) fn multiply(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    let [aw, ax, ay, az] = a;
    let [bw, bx, by, bz] = b;
    [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
}

/// Unit quaternion of a rigid transform's rotation, with w ≥ 0.
///
/// Of the four ways to divide, the one with the largest divisor is taken, so that half turns are as
/// exact as small angles.
pub(super) fn quaternion(transform: &Transform) -> [f64; 4] {
    let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = transform.linear();
    let candidates = [
        [1.0 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, 1.0 + xx - yy - zz, yx + xy, xz + zx],
        [xz - zx, yx + xy, 1.0 - xx + yy - zz, zy + yz],
        [yx - xy, xz + zx, zy + yz, 1.0 - xx - yy + zz],
    ];
    let norm = |q: &[f64; 4]| q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [first, rest @ ..] = candidates;
    let best = rest.into_iter().fold(first, |best, next| {
        if norm(&next) > norm(&best) {
            next
        } else {
            best
        }
    });
    let scale = norm(&best).recip().copysign(best[0]);
    best.map(|v| v * scale)
}

#[cfg(test)]
mod tests {
    use super::{multiply, quaternion, yaw_quaternion};
    use crate::geometry::Transform;
    use proptest::prelude::{Strategy, prop_assert, proptest};

    fn unit() -> impl Strategy<Value = [f64; 4]> {
        proptest::array::uniform4(-1.0_f64..1.0)
            .prop_filter("a quaternion has length", |q| {
                q.iter().map(|v| v * v).sum::<f64>() > 0.01
            })
            .prop_map(|q| {
                let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt().copysign(q[0]);
                q.map(|v| v / norm)
            })
    }

    fn distance(a: [f64; 4], b: [f64; 4]) -> f64 {
        let gap = |sign: f64| -> f64 {
            a.iter()
                .zip(&b)
                .map(|(x, y)| (x - sign * y).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        gap(1.0).min(gap(-1.0))
    }

    proptest! {
        #[test]
        fn a_pose_gives_its_quaternion_back(q in unit()) {
            let back = quaternion(&Transform::from_quaternion(q, [1.0, 2.0, 3.0]));
            prop_assert!(distance(back, q) < 1e-7, "{back:?} from {q:?}");
            prop_assert!(back[0] >= 0.0);
        }

        #[test]
        fn the_product_turns_like_the_composition(a in unit(), b in unit()) {
            let [ta, tb] = [a, b].map(|q| Transform::from_quaternion(q, [0.0; 3]));
            prop_assert!(distance(multiply(a, b), quaternion(&ta.compose(&tb))) < 1e-7);
        }

        #[test]
        fn a_heading_survives_the_way_through_a_quaternion(yaw in -3.1_f64..3.1) {
            let [w, _, _, z] = yaw_quaternion(yaw);
            prop_assert!((2.0 * z.atan2(w) - yaw).abs() < 1e-12);
        }
    }

    #[test]
    fn half_turns_about_each_axis_are_exact() {
        for q in [
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ] {
            let back = quaternion(&Transform::from_quaternion(q, [0.0; 3]));
            assert!(distance(back, q) < 1e-12, "{back:?} from {q:?}");
        }
    }
}
