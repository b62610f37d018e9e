//! Depth network of the view transform: a depth distribution and a context vector per image cell.
//!
//! In: `depth_image` `[N, 1, H, W]` (m, 0 where no point fell) and `image_feats` `[N, C, fh, fw]`. Out:
//! `depth_prob` `[N, D, fh, fw]` and `context` `[N, C_bev, fh, fw]`; their outer product is what the
//! BEV pooling sums. Source: mmdetection3d and AWML `DepthLSSTransform`.

use super::layers::{Conv, Layers, Norm};
use super::{camera_of, depth_bins};
use crate::config::{CameraSpec, DepthNetForm, ModelSpec};
use crate::graph::{Graph, GraphError, ValueId};
use crate::weights::Weights;

/// eps of its batch norms.
const EPS: f64 = 1e-5;

/// Channels of the depth image's own layers.
const DEPTH_CHANNELS: [usize; 3] = [8, 32, 64];

/// Builds the depth network for `cameras` images a frame.
///
/// # Errors
/// When the description has no camera, a weight is missing, or image and feature size do not fit.
pub fn depth_net(spec: &ModelSpec, weights: &Weights, cameras: usize) -> Result<Graph, GraphError> {
    let camera = camera_of(spec)?;
    let view = &camera.view_transform;
    let bins = depth_bins(view.d_bound)?;
    let description = "Depth network of the view transform. depth_image: [N, 1, H, W] float32 metres, 0 \
                       where empty; image_feats: [N, C, fh, fw]. depth_prob: [N, D, fh, fw], softmax over \
                       D; context: [N, C_bev, fh, fw].";
    let mut l = Layers::new("depth_net", description, weights);
    let [height, width] = camera.image_size;
    let [rows, columns] = view.feature_size;
    let depth = (l.graph).input("depth_image", &[cameras, 1, height, width])?;
    let features = [cameras, camera.neck_channels, rows, columns];
    let features = l.graph.input("image_feats", &features)?;
    let depth = depth_transform(&mut l, depth, camera)?;
    let joined = l.graph.concat(&[depth, features], 1)?;
    let out = estimate(&mut l, joined, camera, bins + view.out_channels)?;
    let logits = l.graph.slice(out, 1, 0..bins)?;
    let probability = l.graph.softmax(logits, 1)?;
    l.graph.name(probability, "lss.depth_prob")?;
    let context = (l.graph).slice(out, 1, bins..bins + view.out_channels)?;
    (l.graph).finish(&[("depth_prob", probability), ("context", context)])
}

/// Depth image → `[N, 64, fh, fw]`: strides 1, 4 and what is left to the feature map.
fn depth_transform(
    l: &mut Layers<'_>,
    depth: ValueId,
    camera: &CameraSpec,
) -> Result<ValueId, GraphError> {
    let view = &camera.view_transform;
    let stride = camera.image_size[0] / view.feature_size[0].max(1);
    if stride == 0 || !stride.is_multiple_of(4) {
        return Err(GraphError::setting(
            "camera.view_transform.feature_size",
            view.feature_size,
            "the image must be 4, 8, 12, … times as large, for the stride-4 layer of the depth image",
        ));
    }
    let layers = [(0, 1, 1, 0), (3, 5, 4, 2), (6, 5, stride / 4, 2)];
    let mut x = depth;
    for ((index, kernel, stride, padding), out) in layers.into_iter().zip(DEPTH_CHANNELS) {
        let shape = (out, kernel, stride, padding);
        x = conv_bn(l, x, view.form, "dtransform", index, shape)?;
    }
    l.graph.name(x, "lss.dtransform")
}

/// `[N, 64 + C, fh, fw]` → `[N, D + C_bev, fh, fw]`, depth logits first.
fn estimate(
    l: &mut Layers<'_>,
    joined: ValueId,
    camera: &CameraSpec,
    out: usize,
) -> Result<ValueId, GraphError> {
    let form = camera.view_transform.form;
    let hidden = match form {
        DepthNetForm::Mmdet3d => camera.neck_channels,
        DepthNetForm::Awml => camera.neck_channels + DEPTH_CHANNELS[2],
    };
    let x = conv_bn(l, joined, form, "depthnet", 0, (hidden, 3, 1, 1))?;
    let x = conv_bn(l, x, form, "depthnet", 3, (hidden, 3, 1, 1))?;
    let last = Conv {
        name: &layer_name(form, "depthnet", 6),
        bias: true,
        norm: None,
        relu: false,
        out,
        kernel: 1,
        stride: 1,
        padding: 0,
    };
    let x = l.conv(x, &last)?;
    l.graph.name(x, "lss.depthnet")
}

/// State-dict prefix of a layer: AWML has `.net` between.
pub(super) fn layer_name(form: DepthNetForm, part: &str, index: usize) -> String {
    match form {
        DepthNetForm::Mmdet3d => format!("view_transform.{part}.{index}"),
        DepthNetForm::Awml => format!("view_transform.{part}.net.{index}"),
    }
}

fn conv_bn(
    l: &mut Layers<'_>,
    x: ValueId,
    form: DepthNetForm,
    part: &str,
    index: usize,
    (out, kernel, stride, padding): (usize, usize, usize, usize),
) -> Result<ValueId, GraphError> {
    let conv = Conv {
        name: &layer_name(form, part, index),
        bias: form == DepthNetForm::Mmdet3d,
        norm: Some(Norm {
            name: &layer_name(form, part, index + 1),
            eps: EPS,
        }),
        relu: true,
        out,
        kernel,
        stride,
        padding,
    };
    l.conv(x, &conv)
}
