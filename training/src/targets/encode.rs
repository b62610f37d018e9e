//! A box in metres as the ten numbers that the head regresses.

use super::{BOX_CODE_SIZE, TargetConfig};

/// Code of a box (x, y, z of the bottom centre, length, width, height, yaw, velocity): centre in BEV
/// cells, height of the geometric centre (m), logarithms of the size, sine and cosine of yaw, velocity.
#[must_use]
pub fn encode_box(b: &[f32; 9], config: &TargetConfig) -> [f32; BOX_CODE_SIZE] {
    let cell = |axis: usize| {
        let size = (config.out_size_factor * config.voxel_size[axis]) as f32;
        (b[axis] - config.point_cloud_range[axis] as f32) / size
    };
    let (sin, cos) = b[6].sin_cos();
    let middle = b[2] + b[5] * 0.5;
    [
        cell(0),
        cell(1),
        middle,
        b[3].ln(),
        b[4].ln(),
        b[5].ln(),
        sin,
        cos,
        b[7],
        b[8],
    ]
}

#[cfg(test)]
mod tests {
    use super::encode_box;
    use crate::targets::TargetConfig;
    use crate::targets::assign::CostConfig;

    #[test]
    fn code_is_that_of_the_original() {
        let config = TargetConfig {
            point_cloud_range: [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0],
            voxel_size: [0.075, 0.075],
            out_size_factor: 8.0,
            bev_shape: [180, 180],
            num_classes: 10,
            gaussian_overlap: 0.1,
            min_radius: 2,
            cost: CostConfig::default(),
        };
        let code = encode_box(&[12.3, -4.5, -1.2, 4.6, 1.95, 1.7, 0.7, 3.0, -1.0], &config);
        let want = [
            110.5, 82.5, -0.35, 1.5261, 0.6678, 0.5306, 0.6442, 0.7648, 3.0, -1.0,
        ];
        for (got, want) in code.iter().zip(want) {
            assert!((got - want).abs() < 5e-5, "{code:?}");
        }
    }
}
