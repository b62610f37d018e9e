//! Depth network of the view transform: a depth distribution and a context vector per image cell.
//!
//! In: `depth_image` `[N, 1, H, W]` (m, 0 where no point fell) and `image_feats` `[N, C, fh, fw]`. Out:
//! `depth_prob` `[N, D, fh, fw]` and `context` `[N, C_bev, fh, fw]`; their outer product is what the
//! BEV pooling sums. Source: mmdetection3d and AWML `DepthLSSTransform`.

use super::layers::{Conv, Layers, Norm, rounded};
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

/// Builds what follows the first two layers on the depth image, for engines that have kernels of their own
/// for those and for the softmax: `depth_features` `[N, 32, H/4, W/4]` and `image_feats` to `depth_logits`
/// `[N, D, fh, fw]` and `context` `[N, C_bev, fh, fw]`.
///
/// # Errors
/// As [`depth_net`].
pub fn depth_maps(
    spec: &ModelSpec,
    weights: &Weights,
    cameras: usize,
) -> Result<Graph, GraphError> {
    let camera = camera_of(spec)?;
    let view = &camera.view_transform;
    let bins = depth_bins(view.d_bound)?;
    let description = "Depth network behind its stem. depth_features: [N, 32, H/4, W/4]; image_feats: \
                       [N, C, fh, fw]. depth_logits: [N, D, fh, fw]; context: [N, C_bev, fh, fw].";
    let mut l = Layers::new("depth_maps", description, weights);
    let [rows, columns] = view.feature_size;
    let [_, second, third] = transform_layers(camera)?;
    let [fine_rows, fine_columns] = camera
        .image_size
        .map(|extent| (extent + 2 * second.padding - second.kernel) / second.stride + 1);
    let depth = [cameras, second.out, fine_rows, fine_columns];
    let depth = l.graph.input("depth_features", &depth)?;
    let features = [cameras, camera.neck_channels, rows, columns];
    let features = l.graph.input("image_feats", &features)?;
    let depth = conv_bn(&mut l, depth, view.form, "dtransform", third)?;
    l.graph.name(depth, "lss.dtransform")?;
    let joined = l.graph.concat(&[depth, features], 1)?;
    let hidden = hidden_layers(&mut l, joined, camera)?;
    let name = layer_name(view.form, "depthnet", 6);
    let (channels, width) = (bins + view.out_channels, hidden_width(camera));
    let weight = l.weight(&format!("{name}.weight"), &[channels, width, 1, 1])?;
    let bias = l.weight(&format!("{name}.bias"), &[channels])?;
    let mut part = |range: std::ops::Range<usize>| {
        let out = range.len();
        let values = &weight[range.start * width..range.end * width];
        let weight = l.graph.constant(&[out, width, 1, 1], values)?;
        let bias = l.graph.constant(&[out], &bias[range])?;
        l.graph.conv2d(hidden, weight, Some(bias), 1, 0)
    };
    let (logits, context) = (part(0..bins)?, part(bins..channels)?);
    (l.graph).finish(&[("depth_logits", logits), ("context", context)])
}

/// The first two layers on the depth image, batch norm folded.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthStem {
    /// 1×1, `[8, 1]`.
    pub first_weight: Vec<f32>,
    /// `[8]`.
    pub first_bias: Vec<f32>,
    /// 5×5 with stride 4, `[32, 8, 5, 5]`.
    pub second_weight: Vec<f32>,
    /// `[32]`.
    pub second_bias: Vec<f32>,
}

/// Weights of the layers that [`depth_maps`] leaves out.
///
/// # Errors
/// When the description has no camera, or a weight is missing or does not fit.
pub fn depth_stem(spec: &ModelSpec, weights: &Weights) -> Result<DepthStem, GraphError> {
    let camera = camera_of(spec)?;
    let form = camera.view_transform.form;
    let l = Layers::new("depth_stem", "", weights);
    let [first, second, _] = transform_layers(camera)?;
    let folded = |layer: LayerShape, input: usize| {
        let names =
            [layer.index, layer.index + 1].map(|index| layer_name(form, "dtransform", index));
        let shape = [layer.out, input, layer.kernel, layer.kernel];
        let per_channel = input * layer.kernel * layer.kernel;
        let affine = l.affine(&conv_of(form, &names, layer), &shape, &|i| i / per_channel)?;
        Ok::<_, GraphError>((rounded(&affine.weight), rounded(&affine.bias)))
    };
    let (first_weight, first_bias) = folded(first, 1)?;
    let (second_weight, second_bias) = folded(second, first.out)?;
    Ok(DepthStem {
        first_weight,
        first_bias,
        second_weight,
        second_bias,
    })
}

/// A convolution of the depth network.
#[derive(Clone, Copy, Debug)]
struct LayerShape {
    /// In the original's sequence.
    index: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// The depth image's own layers: strides 1, 4 and what is left to the feature map.
fn transform_layers(camera: &CameraSpec) -> Result<[LayerShape; 3], GraphError> {
    let view = &camera.view_transform;
    let stride = camera.image_size[0] / view.feature_size[0].max(1);
    if stride == 0 || !stride.is_multiple_of(4) {
        return Err(GraphError::setting(
            "camera.view_transform.feature_size",
            view.feature_size,
            "the image must be 4, 8, 12, … times as large, for the stride-4 layer of the depth image",
        ));
    }
    let layer = |at: usize, kernel, stride, padding| LayerShape {
        index: 3 * at,
        out: DEPTH_CHANNELS[at],
        kernel,
        stride,
        padding,
    };
    Ok([
        layer(0, 1, 1, 0),
        layer(1, 5, 4, 2),
        layer(2, 5, stride / 4, 2),
    ])
}

/// Depth image → `[N, 64, fh, fw]`.
fn depth_transform(
    l: &mut Layers<'_>,
    depth: ValueId,
    camera: &CameraSpec,
) -> Result<ValueId, GraphError> {
    let mut x = depth;
    for layer in transform_layers(camera)? {
        x = conv_bn(l, x, camera.view_transform.form, "dtransform", layer)?;
    }
    l.graph.name(x, "lss.dtransform")
}

/// Channels between the layers of the estimate.
const fn hidden_width(camera: &CameraSpec) -> usize {
    match camera.view_transform.form {
        DepthNetForm::Mmdet3d => camera.neck_channels,
        DepthNetForm::Awml => camera.neck_channels + DEPTH_CHANNELS[2],
    }
}

/// `[N, 64 + C, fh, fw]` through the two 3×3 layers of the estimate.
fn hidden_layers(
    l: &mut Layers<'_>,
    joined: ValueId,
    camera: &CameraSpec,
) -> Result<ValueId, GraphError> {
    let mut x = joined;
    for index in [0, 3] {
        let layer = LayerShape {
            index,
            out: hidden_width(camera),
            kernel: 3,
            stride: 1,
            padding: 1,
        };
        x = conv_bn(l, x, camera.view_transform.form, "depthnet", layer)?;
    }
    Ok(x)
}

/// `[N, 64 + C, fh, fw]` → `[N, D + C_bev, fh, fw]`, depth logits first.
fn estimate(
    l: &mut Layers<'_>,
    joined: ValueId,
    camera: &CameraSpec,
    out: usize,
) -> Result<ValueId, GraphError> {
    let x = hidden_layers(l, joined, camera)?;
    let last = Conv {
        name: &layer_name(camera.view_transform.form, "depthnet", 6),
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
    layer: LayerShape,
) -> Result<ValueId, GraphError> {
    let names = [layer.index, layer.index + 1].map(|index| layer_name(form, part, index));
    l.conv(x, &conv_of(form, &names, layer))
}

/// The layer with the names of its convolution and its batch norm.
fn conv_of(form: DepthNetForm, [conv, norm]: &[String; 2], layer: LayerShape) -> Conv<'_> {
    Conv {
        name: conv,
        bias: form == DepthNetForm::Mmdet3d,
        norm: Some(Norm {
            name: norm,
            eps: EPS,
        }),
        relu: true,
        out: layer.out,
        kernel: layer.kernel,
        stride: layer.stride,
        padding: layer.padding,
    }
}
