//! Camera backbone: Swin and LSSFPN.
//!
//! In: `images` `[N, 3, H, W]`, RGB, already (pixel − mean) / std. Out: `image_feats` `[N, C, fh, fw]`.

use super::layers::Layers;
use super::{camera_of, lssfpn::lssfpn, swin::swin};
use crate::config::ModelSpec;
use crate::graph::{Graph, GraphError};
use crate::weights::Weights;

/// Builds the backbone for `cameras` images a frame.
///
/// # Errors
/// When the description has no camera, a weight is missing, or the feature map has another size than
/// the view transform expects.
pub fn camera_backbone(
    spec: &ModelSpec,
    weights: &Weights,
    cameras: usize,
) -> Result<Graph, GraphError> {
    let camera = camera_of(spec)?;
    let description = "Swin transformer and LSSFPN. images: [N, 3, H, W] float32 RGB, (pixel - mean) / \
                       std. image_feats: [N, C, fh, fw].";
    let mut l = Layers::new("camera_backbone", description, weights);
    let [height, width] = camera.image_size;
    let images = l.graph.input("images", &[cameras, 3, height, width])?;
    let maps = swin(&mut l, images, &camera.backbone)?;
    let features = lssfpn(&mut l, &maps, camera.neck_channels)?;
    let [rows, columns] = camera.view_transform.feature_size;
    if l.graph.shape(features) != [cameras, camera.neck_channels, rows, columns] {
        return Err(GraphError::setting(
            "camera.view_transform.feature_size",
            [rows, columns],
            &format!("the backbone makes {:?}", l.graph.shape(features)),
        ));
    }
    l.graph.finish(&[("image_feats", features)])
}
