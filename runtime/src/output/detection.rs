//! One detected object.

use serde::{Deserialize, Serialize};

/// A box in the frame of the key cloud.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// x, y, z of the bottom centre (m).
    pub bottom_center: [f32; 3],
    /// Length along the heading, width, height (m).
    pub size: [f32; 3],
    /// Heading about +z from +x, counter-clockwise (rad), in (−π, π].
    pub yaw: f32,
    /// x and y velocity in the cloud's frame (m/s).
    pub velocity: [f32; 2],
    /// Confidence in 0..=1.
    pub score: f32,
    /// Index into the model's `class_names`.
    pub label: u32,
}

impl Detection {
    /// x, y, z of the geometric centre (m).
    #[must_use]
    pub fn center(&self) -> [f32; 3] {
        let [x, y, z] = self.bottom_center;
        [x, y, z + 0.5 * self.size[2]]
    }

    /// Corners of the footprint (m): front left, front right, rear right, rear left.
    #[must_use]
    pub fn footprint(&self) -> [[f32; 2]; 4] {
        let (sin, cos) = self.yaw.sin_cos();
        let (half_length, half_width) = (0.5 * self.size[0], 0.5 * self.size[1]);
        let [x, y, _] = self.bottom_center;
        [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)].map(|(along, across)| {
            let (forward, left) = (along * half_length, across * half_width);
            [
                x + cos * forward - sin * left,
                y + sin * forward + cos * left,
            ]
        })
    }
}
