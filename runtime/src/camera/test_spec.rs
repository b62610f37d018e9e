//! A small camera branch for the unit tests: the geometry of the numeric checks of the original modules.

use crate::config::{CameraSpec, ModelConfig};

/// One camera, image 64×96, features 8×12, 24 depths, 48×48 cells of 0.5 m; the rest as nuScenes.
pub(crate) fn test_spec() -> CameraSpec {
    let config = ModelConfig::preset("nuscenes_CL").expect("shipped");
    let mut spec = config.camera.clone().expect("a camera branch");
    spec.camera_order = vec!["FRONT".into()];
    spec.image_size = [64, 96];
    spec.resize = 0.5;
    let view = &mut spec.view_transform;
    view.feature_size = [8, 12];
    (view.x_bound, view.y_bound) = ([-12.0, 12.0, 0.5], [-12.0, 12.0, 0.5]);
    view.d_bound = [1.0, 13.0, 0.5];
    spec
}
