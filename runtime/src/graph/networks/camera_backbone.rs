//! Camera backbone: Swin and LSSFPN.
//!
//! In: `images` `[N, 3, H, W]`, RGB, already (pixel − mean) / std. Out: `image_feats` `[N, C, fh, fw]`.

use super::layers::Layers;
use super::swin::{swin, token_size};
use super::{camera_of, lssfpn::lssfpn};
use crate::config::ModelSpec;
use crate::graph::{Graph, GraphError};
use crate::weights::Weights;

/// Builds the neck alone, for engines that run the transformer in kernels of their own: `stage1`, `stage2`, …,
/// maps of the stages after their own norm `[N, C_i, h_i, w_i]`, to `image_feats` `[N, C, fh, fw]`.
///
/// # Errors
/// As [`camera_backbone`].
pub fn image_neck(
    spec: &ModelSpec,
    weights: &Weights,
    cameras: usize,
) -> Result<Graph, GraphError> {
    let camera = camera_of(spec)?;
    let description = "LSSFPN. stage1, stage2, ...: [N, C_i, h_i, w_i], maps of the backbone's stages. \
                       image_feats: [N, C, fh, fw].";
    let mut l = Layers::new("image_neck", description, weights);
    let stages = 1..camera.backbone.depths.len();
    let maps = stages
        .map(|stage| {
            let [rows, columns] = token_size(camera.image_size, stage);
            let shape = [cameras, camera.backbone.embed_dims << stage, rows, columns];
            l.graph.input(&format!("stage{stage}"), &shape)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let features = lssfpn(&mut l, &maps, camera.neck_channels)?;
    l.graph.finish(&[("image_feats", features)])
}

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
