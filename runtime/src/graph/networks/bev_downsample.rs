//! Down-sampling of the pooled camera map.
//!
//! In: `camera_bev_pooled` `[1, C, Xp, Yp]`. Out: `camera_bev` `[1, C, X, Y]`. Source: mmdetection3d and
//! AWML `DepthLSSTransform.downsample`.

use super::camera_of;
use super::depth_net::layer_name;
use super::layers::{Conv, Layers, Norm};
use crate::config::ModelSpec;
use crate::graph::{Graph, GraphError};
use crate::weights::Weights;

/// eps of its batch norms.
const EPS: f64 = 1e-5;

/// Builds the down-sampling; none when the pooled map is used as it is (`downsample = 1`).
///
/// # Errors
/// When the description has no camera, a bound is empty, or a weight is missing.
pub fn bev_downsample(spec: &ModelSpec, weights: &Weights) -> Result<Option<Graph>, GraphError> {
    let view = &camera_of(spec)?.view_transform;
    match view.downsample {
        1 => return Ok(None),
        2 => {}
        other => {
            let problem = "only 1 (none) and 2 are known";
            let key = "camera.view_transform.downsample";
            return Err(GraphError::setting(key, other, problem));
        }
    }
    let description = "Down-sampling of the pooled camera map. camera_bev_pooled: [1, C, Xp, Yp], rows x; \
                       camera_bev: [1, C, X, Y].";
    let mut l = Layers::new("bev_downsample", description, weights);
    let cells = [view.x_bound, view.y_bound].map(|[low, high, step]| {
        let cells = ((high - low) / step).trunc();
        if (1.0..=65536.0).contains(&cells) {
            cells as usize
        } else {
            0
        }
    });
    let shape = [1, view.out_channels, cells[0], cells[1]];
    let mut x = l.graph.input("camera_bev_pooled", &shape)?;
    for (index, stride) in [(0, 1), (3, 2), (6, 1)] {
        let conv = Conv {
            name: &layer_name(view.form, "downsample", index),
            bias: false,
            norm: Some(Norm {
                name: &layer_name(view.form, "downsample", index + 1),
                eps: EPS,
            }),
            relu: true,
            out: view.out_channels,
            kernel: 3,
            stride,
            padding: 1,
        };
        x = l.conv(x, &conv)?;
    }
    l.graph.name(x, "lss.out")?;
    l.graph.finish(&[("camera_bev", x)]).map(Some)
}
