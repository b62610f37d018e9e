//! Made-up frames that look like a drive to the code: reproducible from a seed, in need of no data.
//!
//! Out: clouds as a spinning LiDAR gives them (ground rings and upright obstacles, m, sensor frame),
//! rigs of cameras around the vehicle, smooth noisy images. Times hardly depend on the values, but the
//! sparse encoder's do on where points are.

use std::f64::consts::TAU;

use crate::config::{CameraSpec, ModelSpec};
use crate::geometry::{CameraCalibration, Transform};
use crate::input::{CameraFrame, Frame, PointCloud, RgbImage};

/// Points of a key cloud: what one revolution of a nuScenes LiDAR returns.
pub const POINTS: usize = 34_688;

/// Raw images: nuScenes' size (width, height in px).
const IMAGE_SIZE: [usize; 2] = [1600, 900];

/// Beams of the LiDAR.
const BEAMS: usize = 32;

/// A splitmix generator: the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / STEPS
    }

    /// `count` numbers in [low, high).
    pub fn take(&mut self, count: usize, [low, high]: [f64; 2]) -> Vec<f32> {
        let value = |_| (low + (high - low) * self.unit()) as f32;
        (0..count).map(value).collect()
    }
}

/// One revolution of a spinning LiDAR, 1.8 m above flat ground among obstacles 4 to 60 m away:
/// `[count, columns]` with x, y, z (m), intensity 0..=255, ring; further columns are 0.
#[must_use]
pub fn cloud(count: usize, columns: usize, seed: u64) -> PointCloud {
    let mut noise = Noise::new(seed);
    let obstacles: Vec<f64> = (0..180).map(|_| 4.0 + 56.0 * noise.unit()).collect();
    let turns = count.div_ceil(BEAMS).max(1);
    let mut values = Vec::with_capacity(count * columns);
    for index in 0..count {
        let azimuth = TAU * (index / BEAMS) as f64 / turns as f64;
        let beam = index % BEAMS;
        let slope = (-30.0 + 40.0 * beam as f64 / BEAMS as f64)
            .to_radians()
            .tan();
        let sector = (azimuth / TAU * obstacles.len() as f64) as usize;
        let wall = obstacles[sector.min(obstacles.len() - 1)];
        let ground = if slope < 0.0 {
            -1.8 / slope
        } else {
            f64::INFINITY
        };
        let range = wall.min(ground) + 0.04 * noise.unit();
        let [sin, cos] = [azimuth.sin(), azimuth.cos()];
        let point = [
            range * cos,
            range * sin,
            range * slope,
            255.0 * noise.unit(),
            beam as f64,
        ];
        let kept = point.len().min(columns);
        values.extend(point[..kept].iter().map(|value| *value as f32));
        values.resize(values.len() + columns - kept, 0.0);
    }
    PointCloud { values, columns }
}

/// A picture of soft colour gradients with noise.
#[must_use]
pub fn image([width, height]: [usize; 2], seed: u64) -> RgbImage {
    let mut noise = Noise::new(seed);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for row in 0..height {
        for column in 0..width {
            let shade = [255 * row / height, 255 * column / width, 128];
            let grain = (32.0 * noise.unit()) as usize;
            pixels.extend(shade.map(|value| (value * 7 / 8 + grain).min(255) as u8));
        }
    }
    RgbImage {
        width,
        height,
        pixels,
    }
}

/// Calibration of camera `index` of `count` that look outward in equal steps, 1.5 m above the ground.
#[must_use]
pub fn calibration(index: usize, count: usize) -> CameraCalibration {
    let heading = TAU * index as f64 / count.max(1) as f64;
    let [sin, cos] = [heading.sin(), heading.cos()];
    // Camera axes: x right, y down, z ahead; rows are those axes in the LiDAR frame.
    let linear = [[sin, -cos, 0.0], [0.0, 0.0, -1.0], [cos, sin, 0.0]];
    CameraCalibration {
        image_from_camera: [[1266.0, 0.0, 800.0], [0.0, 1266.0, 450.0], [0.0, 0.0, 1.0]],
        camera_from_lidar: Transform::new(linear, [0.0, -0.3, -0.5]),
    }
}

/// The cameras of a model, each with an image.
#[must_use]
pub fn cameras(spec: &CameraSpec, seed: u64) -> Vec<CameraFrame> {
    let count = spec.camera_order.len();
    let camera = |(index, name): (usize, &String)| CameraFrame {
        name: name.clone(),
        image: Some(image(IMAGE_SIZE, seed + index as u64)),
        calibration: calibration(index, count),
        stamp_ns: None,
    };
    spec.camera_order.iter().enumerate().map(camera).collect()
}

/// A key cloud without sweeps, and images for every camera of the model.
#[must_use]
pub fn frame(spec: &ModelSpec, seed: u64) -> Frame {
    Frame {
        points: cloud(POINTS, spec.points.load_dim, seed),
        sweeps: Vec::new(),
        cameras: spec
            .camera
            .as_ref()
            .map_or_else(Vec::new, |camera| cameras(camera, seed)),
        stamp_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{POINTS, calibration, cloud};

    #[test]
    fn a_cloud_is_reproducible_lies_above_the_ground_and_has_its_columns() {
        let made = cloud(POINTS, 6, 3);
        assert_eq!(made, cloud(POINTS, 6, 3));
        assert_ne!(made, cloud(POINTS, 6, 4));
        assert_eq!(made.len(), POINTS);
        assert!(
            made.values
                .chunks(6)
                .all(|point| point[2] > -2.0 && point[5] == 0.0)
        );
    }

    #[test]
    fn cameras_look_outward_from_the_vehicle() {
        for index in 0..6 {
            let pose = calibration(index, 6).camera_from_lidar;
            let heading = std::f64::consts::TAU * index as f64 / 6.0;
            let ahead = pose.apply([10.0 * heading.cos(), 10.0 * heading.sin(), 0.0]);
            assert!(
                (ahead[2] - 9.5).abs() < 1e-9 && ahead[0].abs() < 1e-9,
                "{ahead:?}"
            );
        }
    }
}
