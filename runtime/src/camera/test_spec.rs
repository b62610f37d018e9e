//! A small camera branch for the unit tests: the geometry of the numeric checks of the original modules.

use crate::config::{CameraSpec, CellRounding, DepthNetForm, SwinSpec, ViewTransformSpec};

/// One camera, image 64×96, features 8×12, 24 depths, 48×48 cells of 0.5 m.
pub(crate) fn test_spec() -> CameraSpec {
    CameraSpec {
        camera_order: vec!["FRONT".into()],
        image_size: [64, 96],
        resize: 0.5,
        bottom_crop: 0.0,
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
        backbone: SwinSpec {
            embed_dims: 96,
            depths: vec![2, 2, 6, 2],
            num_heads: vec![3, 6, 12, 24],
            window_size: 7,
            mlp_ratio: 4,
        },
        neck_channels: 256,
        view_transform: ViewTransformSpec {
            form: DepthNetForm::Mmdet3d,
            out_channels: 80,
            feature_size: [8, 12],
            x_bound: [-12.0, 12.0, 0.5],
            y_bound: [-12.0, 12.0, 0.5],
            z_bound: [-10.0, 10.0, 20.0],
            d_bound: [1.0, 13.0, 0.5],
            downsample: 2,
            cell_rounding: CellRounding::Truncate,
            drop_behind_camera: false,
        },
    }
}
