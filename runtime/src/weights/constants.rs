//! Values that checkpoints store although they follow from the model description: a checkpoint of
//! another grid, image size or normalisation has the same shapes and is recognised here.

use std::collections::BTreeMap;

use super::expected::{depth_bins, pooled_cells};
use crate::config::{LidarEncoderSpec, ModelSpec, SwinSpec, ViewTransformSpec};

/// What each stored constant should be, by state-dict name, row-major.
pub(super) fn constants(spec: &ModelSpec) -> BTreeMap<String, Vec<f64>> {
    let mut values = BTreeMap::new();
    if let Some(encoder) = &spec.lidar_encoder {
        fourier(&mut values, encoder);
    }
    if let Some(camera) = &spec.camera {
        window_index(&mut values, &camera.backbone);
        grid(&mut values, &camera.view_transform);
        let frustum = frustum(&camera.view_transform, camera.image_size);
        values.insert("view_transform.frustum".into(), frustum);
    }
    values
}

/// The first stored value that differs from its expected one: place, expected, found.
pub(super) fn difference(expected: &[f64], found: &[f64]) -> Option<(usize, f64, f64)> {
    /// float32 arithmetic of the original against float64 here, relative.
    const TOLERANCE: f64 = 1e-4;
    let pairs = expected.iter().zip(found).enumerate();
    let mut differing = pairs.filter(|(_, (expected, found))| {
        let limit = TOLERANCE * expected.abs().max(1.0);
        (**expected - **found).abs() > limit || found.is_nan()
    });
    differing
        .next()
        .map(|(place, (expected, found))| (place, *expected, *found))
}

fn fourier(values: &mut BTreeMap<String, Vec<f64>>, encoder: &LidarEncoderSpec) {
    let Some(fourier) = &encoder.voxel_features else {
        return;
    };
    let wide = |bounds: &[f32]| bounds.iter().map(|v| f64::from(*v)).collect();
    let exponents = (0..fourier.num_frequencies).map(|k| 2_f64.powi(k as i32));
    let mut add = |name: &str, list| values.insert(format!("pts_middle_encoder.{name}"), list);
    add("aug_features_min_values", wide(&fourier.min));
    add("aug_features_max_values", wide(&fourier.max));
    add("exponents", exponents.collect());
}

fn grid(values: &mut BTreeMap<String, Vec<f64>>, spec: &ViewTransformSpec) {
    let bounds = [spec.x_bound, spec.y_bound, spec.z_bound];
    let mut add = |name: &str, list| values.insert(format!("view_transform.{name}"), list);
    add("dx", bounds.map(|[_, _, step]| step).to_vec());
    add(
        "bx",
        bounds.map(|[lower, _, step]| lower + step / 2.0).to_vec(),
    );
    add("nx", pooled_cells(spec).map(|cells| cells as f64).to_vec());
}

/// `[D, fh, fw, (u, v, depth)]`: pixels of the network's image and metres.
fn frustum(spec: &ViewTransformSpec, [height, width]: [usize; 2]) -> Vec<f64> {
    let [rows, columns] = spec.feature_size;
    let [first, _, step] = spec.d_bound;
    let spread = |index: usize, count: usize, extent: usize| {
        index as f64 * (extent as f64 - 1.0) / (count as f64 - 1.0).max(1.0)
    };
    let mut points = Vec::new();
    for bin in 0..depth_bins(spec.d_bound) {
        for row in 0..rows {
            for column in 0..columns {
                points.extend([
                    spread(column, columns, width),
                    spread(row, rows, height),
                    first + bin as f64 * step,
                ]);
            }
        }
    }
    points
}

/// Row of the bias table for each pair (query, key) of tokens in a window.
fn window_index(values: &mut BTreeMap<String, Vec<f64>>, spec: &SwinSpec) {
    let edge = spec.window_size;
    let offsets = (2 * edge).saturating_sub(1);
    let token = |index: usize| (index / edge, index % edge);
    let mut table = Vec::new();
    for query in 0..edge * edge {
        for key in 0..edge * edge {
            let ((qy, qx), (ky, kx)) = (token(query), token(key));
            let (dy, dx) = (qy + edge - 1 - ky, qx + edge - 1 - kx);
            table.push((dy * offsets + dx) as f64);
        }
    }
    for (stage, blocks) in spec.depths.iter().enumerate() {
        for block in 0..*blocks {
            let module = format!("img_backbone.stages.{stage}.blocks.{block}.attn.w_msa");
            values.insert(format!("{module}.relative_position_index"), table.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{difference, frustum, grid, window_index};
    use crate::config::{CellRounding, DepthNetForm, DepthWinner, SwinSpec, ViewTransformSpec};

    fn view() -> ViewTransformSpec {
        ViewTransformSpec {
            form: DepthNetForm::Awml,
            out_channels: 1,
            feature_size: [2, 3],
            x_bound: [-122.4, 122.4, 0.68],
            y_bound: [-54.0, 54.0, 0.3],
            z_bound: [-10.0, 10.0, 20.0],
            d_bound: [1.0, 2.0, 0.5],
            downsample: 2,
            cell_rounding: CellRounding::Truncate,
            drop_behind_camera: true,
            depth_winner: DepthWinner::Last,
        }
    }

    #[test]
    fn grids_have_the_published_numbers_of_cells() {
        let mut values = BTreeMap::new();
        grid(&mut values, &view());
        assert_eq!(values["view_transform.nx"], [360.0, 360.0, 1.0]);
        assert_eq!(
            difference(&[-122.06, -53.85, 0.0], &values["view_transform.bx"]),
            None
        );
    }

    #[test]
    fn the_frustum_runs_over_columns_first_and_ends_at_the_last_pixel() {
        let points = frustum(&view(), [16, 21]);
        assert_eq!(points.len(), 2 * 2 * 3 * 3);
        assert_eq!(points[3..6], [10.0, 0.0, 1.0]);
        assert_eq!(points[33..], [20.0, 15.0, 1.5]);
    }

    #[test]
    fn the_window_index_counts_offsets_of_query_minus_key() {
        let swin = SwinSpec {
            embed_dims: 4,
            depths: vec![1],
            num_heads: vec![1],
            window_size: 2,
            mlp_ratio: 4,
        };
        let mut values = BTreeMap::new();
        window_index(&mut values, &swin);
        let name = "img_backbone.stages.0.blocks.0.attn.w_msa.relative_position_index";
        let expected = [
            4.0, 3.0, 1.0, 0.0, 5.0, 4.0, 2.0, 1.0, 7.0, 6.0, 4.0, 3.0, 8.0, 7.0, 5.0, 4.0,
        ];
        assert_eq!(values[name], expected);
    }

    #[test]
    fn a_difference_is_located_and_nan_is_one() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.00001]), None);
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.1]), Some((1, 2.0, 2.1)));
        assert!(difference(&[1.0], &[f64::NAN]).is_some());
    }
}
