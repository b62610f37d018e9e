//! The TransFusion box coder: ten regression values to a box and back.
//!
//! A code is cx, cy (BEV cells), z of the centre (m), ln l, ln w, ln h, sin, cos, vx, vy. A box is x, y,
//! z of the bottom centre, l (along the heading), w, h (m), yaw (rad), vx, vy (m/s), in the LiDAR
//! frame. float32 in the order of operations of the original `TransFusionBBoxCoder`.

/// Values of a code.
pub const CODE_SIZE: usize = 10;
/// Values of a box.
pub const BOX_SIZE: usize = 9;

/// How BEV cells lie in the LiDAR frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// Voxels per BEV cell edge.
    pub out_size_factor: usize,
    /// x, y edge of a voxel (m).
    pub voxel_size: [f64; 2],
    /// x, y lower bound of the grid (m).
    pub lower: [f64; 2],
}

impl BoxCoder {
    /// Code to box.
    #[must_use]
    pub fn decode(&self, code: [f32; CODE_SIZE]) -> [f32; BOX_SIZE] {
        let [cx, cy, z, log_l, log_w, log_h, sin, cos, vx, vy] = code;
        let metres = |cells: f32, axis: usize| {
            cells * self.out_size_factor as f32 * self.voxel_size[axis] as f32
                + self.lower[axis] as f32
        };
        let (l, w, h) = (log_l.exp(), log_w.exp(), log_h.exp());
        let yaw = sin.atan2(cos);
        [
            metres(cx, 0),
            metres(cy, 1),
            z - h * 0.5,
            l,
            w,
            h,
            yaw,
            vx,
            vy,
        ]
    }

    /// Box to code.
    #[must_use]
    pub fn encode(&self, values: [f32; BOX_SIZE]) -> [f32; CODE_SIZE] {
        let [x, y, z, l, w, h, yaw, vx, vy] = values;
        let cells = |metres: f32, axis: usize| {
            let edge = self.out_size_factor as f64 * self.voxel_size[axis];
            (metres - self.lower[axis] as f32) / edge as f32
        };
        let (sin, cos) = yaw.sin_cos();
        [
            cells(x, 0),
            cells(y, 1),
            z + h * 0.5,
            l.ln(),
            w.ln(),
            h.ln(),
            sin,
            cos,
            vx,
            vy,
        ]
    }

    /// Boxes `[P, 9]` of a head output `[10, P]`; `out` is reused.
    pub fn decode_all(&self, bbox_pred: &[f32], out: &mut Vec<[f32; BOX_SIZE]>) {
        let proposals = bbox_pred.len() / CODE_SIZE;
        out.clear();
        out.extend((0..proposals).map(|proposal| {
            self.decode(std::array::from_fn(|row| {
                bbox_pred[row * proposals + proposal]
            }))
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::BoxCoder;
    use proptest::prelude::{prop_assert, proptest};

    const CODER: BoxCoder = BoxCoder {
        out_size_factor: 8,
        voxel_size: [0.075, 0.075],
        lower: [-54.0, -54.0],
    };

    proptest! {
        #[test]
        fn decoding_an_encoded_box_gives_the_box(
            center in proptest::array::uniform3(-60.0_f32..60.0),
            size in proptest::array::uniform3(0.1_f32..20.0),
            yaw in -3.1_f32..3.1,
            velocity in proptest::array::uniform2(-30.0_f32..30.0)
        ) {
            let [x, y, z] = center;
            let [l, w, h] = size;
            let values = [x, y, z, l, w, h, yaw, velocity[0], velocity[1]];
            let back = CODER.decode(CODER.encode(values));
            for (got, want) in back.iter().zip(&values) {
                prop_assert!((got - want).abs() < 3e-5, "{back:?} {values:?}");
            }
        }
    }

    #[test]
    fn a_known_box_has_the_known_code() {
        let code = CODER.encode([12.3, -4.5, -1.2, 4.6, 1.95, 1.7, 0.7, 3.0, -1.0]);
        let want = [
            110.5, 82.5, -0.35, 1.5261, 0.6678, 0.5306, 0.6442, 0.7648, 3.0, -1.0,
        ];
        for (got, want) in code.iter().zip(&want) {
            assert!((got - want).abs() < 5e-5, "{code:?}");
        }
    }

    #[test]
    fn a_head_output_is_read_by_rows_of_proposals() {
        let mut rows = vec![0.0; 20];
        rows[1] = 90.0;
        rows[3] = 100.0;
        let mut boxes = Vec::new();
        CODER.decode_all(&rows, &mut boxes);
        assert_eq!(boxes.len(), 2);
        assert!(boxes[1][0].abs() < 1e-5 && (boxes[1][1] - 6.0).abs() < 1e-5);
        assert_eq!(boxes[0][2..7], [-0.5, 1.0, 1.0, 1.0, 0.0]);
    }
}
