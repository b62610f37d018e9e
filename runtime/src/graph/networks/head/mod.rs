//! TransFusion head: from the BEV features to one box per proposal, not yet decoded.
//!
//! In: `bev_features` `[1, C, X, Y]`. Out: `bbox_pred` `[10, P]` (centre x, y in cells, centre z (m),
//! ln l, ln w, ln h, sin, cos of the yaw, vx, vy (m/s)), `score` `[P]` (class score · heatmap score at the
//! proposal), `label_pred` `[P]`. Proposals are in order of their heatmap score. Source: mmdetection3d
//! `TransFusionHead`; the interface is AWML's.

mod decoder;
mod maps;
mod position;
mod prediction;
mod proposals;
mod query_weights;
mod widen;

pub use maps::head_maps;
pub use query_weights::{QueryWeights, query_weights};
pub use widen::widened_decoder;

use super::bev_size;
use super::layers::{Conv, Layers, Norm};
use crate::config::ModelSpec;
use crate::graph::{Graph, GraphError, ValueId};
use crate::weights::Weights;

/// eps of the head's batch norms.
const EPS: f64 = 1e-5;

/// Builds the head.
///
/// # Errors
/// When the description asks for what the head does not do, or a weight is missing or does not fit.
pub fn head(spec: &ModelSpec, weights: &Weights) -> Result<Graph, GraphError> {
    if spec.head.num_decoder_layers != 1 {
        return Err(GraphError::setting(
            "head.num_decoder_layers",
            spec.head.num_decoder_layers,
            "only one decoder layer is implemented, which is what every published model has",
        ));
    }
    let description = "TransFusion head. bev_features: [1, C, X, Y], rows x. bbox_pred: [10, P] = centre x, \
                       y (cells), z (m), ln l, ln w, ln h, sin yaw, cos yaw, vx, vy (m/s); score: [P]; \
                       label_pred: [P] int64.";
    let mut l = Layers::new("head", description, weights);
    let size = bev_size(spec)?;
    let input = [1, input_channels(spec)?, size[0], size[1]];
    let x = l.graph.input("bev_features", &input)?;
    let features = shared(&mut l, x, spec.head.hidden_channels)?;
    let found = proposals::proposals(&mut l, features, spec)?;
    let out = decoder::decoder(&mut l, &found, spec)?;
    let made = prediction::predictions(&mut l, out, &found, spec)?;
    l.graph.finish(&[
        ("bbox_pred", made.boxes),
        ("score", made.score),
        ("label_pred", found.labels),
    ])
}

/// Channels of the BEV features: the neck's, or the camera map's where there is no BEV decoder.
fn input_channels(spec: &ModelSpec) -> Result<usize, GraphError> {
    match &spec.bev_decoder {
        Some(decoder) => Ok(decoder.fpn_channels.iter().sum()),
        None => Ok(super::camera_of(spec)?.view_transform.out_channels),
    }
}

/// The convolution whose output is both heatmap input and keys.
fn shared(l: &mut Layers<'_>, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
    let conv = conv3x3("bbox_head.shared_conv", out, true);
    let features = l.conv(x, &conv)?;
    l.graph.name(features, "head.shared")
}

fn conv3x3(name: &str, out: usize, bias: bool) -> Conv<'_> {
    Conv {
        name,
        bias,
        norm: None,
        relu: false,
        out,
        kernel: 3,
        stride: 1,
        padding: 1,
    }
}

/// A 1×1 convolution over a sequence, weight `[out, in, 1]`, to be read as a matrix.
fn conv1x1<'a>(name: &'a str, out: usize, bias: bool, norm: Option<Norm<'a>>) -> Conv<'a> {
    Conv {
        name,
        bias,
        norm,
        relu: false,
        out,
        kernel: 1,
        stride: 1,
        padding: 0,
    }
}

/// Names the transpose of `[P, C]`: the golden set keeps these values channel-major.
fn name_transposed(l: &mut Layers<'_>, x: ValueId, name: &str) -> Result<(), GraphError> {
    let transposed = l.graph.transpose(x, &[1, 0])?;
    l.graph.name(transposed, name).map(|_| ())
}
