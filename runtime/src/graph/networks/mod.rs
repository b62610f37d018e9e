//! The dense networks of BEVFusion, one file each, built from a model description and its weights.
//!
//! Values on the way carry the names of the golden set (`swin.stage0.block0`, `second.0`,
//! `head.topk_index`, …), so that each can be made an output with
//! [`Graph::with_outputs`](super::Graph::with_outputs). BEV maps are `[1, C, X, Y]`: rows are x.

mod bev_decoder;
mod bev_downsample;
mod camera_backbone;
mod depth_net;
pub mod head;
mod layers;
mod lssfpn;
pub mod swin;
#[cfg(test)]
#[cfg(feature = "cpu")]
mod tests;

pub use bev_decoder::bev_decoder;
pub use bev_downsample::bev_downsample;
pub use camera_backbone::{camera_backbone, image_neck};
pub use depth_net::{DepthStem, depth_maps, depth_net, depth_stem};
pub use head::{QueryWeights, head, query_weights};
pub use layers::{Conv, Layers, Norm};

use super::{Graph, GraphError};
use crate::config::{CameraSpec, ModelSpec};
use crate::weights::Weights;

/// Every dense network of a model in the order of the frame.
///
/// # Errors
/// When a description cannot be built, or a weight is missing or does not fit.
pub fn all(spec: &ModelSpec, weights: &Weights) -> Result<Vec<Graph>, GraphError> {
    let mut graphs = Vec::new();
    if let Some(camera) = &spec.camera {
        let cameras = camera.camera_order.len();
        graphs.push(camera_backbone(spec, weights, cameras)?);
        graphs.push(depth_net(spec, weights, cameras)?);
        graphs.extend(bev_downsample(spec, weights)?);
    }
    if spec.bev_decoder.is_some() {
        graphs.push(bev_decoder(spec, weights)?);
    }
    graphs.push(head(spec, weights)?);
    Ok(graphs)
}

/// The camera part of a description, which a camera network cannot do without.
fn camera_of(spec: &ModelSpec) -> Result<&CameraSpec, GraphError> {
    spec.camera.as_ref().ok_or_else(|| {
        GraphError::setting(
            "camera",
            &spec.name,
            "this model has no camera branch to build",
        )
    })
}

/// Depth bins of the frustum: ceil((stop − start) / step).
fn depth_bins([start, stop, step]: [f64; 3]) -> Result<usize, GraphError> {
    let bins = ((stop - start) / step).ceil();
    if (1.0..=65536.0).contains(&bins) {
        Ok(bins as usize)
    } else {
        Err(GraphError::setting(
            "camera.view_transform.d_bound",
            [start, stop, step],
            "first, end and step must give between 1 and 65536 depth bins",
        ))
    }
}

/// Cells of the BEV map that the head sees: voxels along x and y over `out_size_factor`.
pub(crate) fn bev_size(spec: &ModelSpec) -> Result<[usize; 2], GraphError> {
    let range = spec.voxel.point_cloud_range;
    let factor = spec.head.out_size_factor;
    let cells = |axis: usize| {
        let voxels = ((range[axis + 3] - range[axis]) / spec.voxel.voxel_size[axis]).round();
        if factor > 0 && (1.0..=1e6).contains(&voxels) && voxels as usize >= factor {
            Ok(voxels as usize / factor)
        } else {
            Err(GraphError::setting(
                "voxel.point_cloud_range",
                range,
                "with this voxel size and out_size_factor there is no BEV cell",
            ))
        }
    };
    Ok([cells(0)?, cells(1)?])
}
