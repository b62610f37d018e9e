//! Fuser, SECOND and SECONDFPN.
//!
//! In: `camera_bev` `[1, C_cam, X, Y]` (only with a fuser) and `lidar_bev` `[1, C_lidar, X, Y]`. Out:
//! `bev_features` `[1, C, X, Y]`. Source: mmdetection3d `ConvFuser`, `SECOND`, `SECONDFPN`.

use super::bev_size;
use super::layers::{Conv, Layers, Norm};
use crate::config::{BevDecoderSpec, FuserSpec, ModelSpec};
use crate::graph::{Graph, GraphError, ValueId};
use crate::weights::Weights;

/// eps of the fuser's batch norm.
const FUSER_EPS: f64 = 1e-5;

/// eps of the batch norms of SECOND and SECONDFPN.
const SECOND_EPS: f64 = 1e-3;

/// Builds fuser, backbone and neck.
///
/// # Errors
/// When the description has no LiDAR encoder or decoder, or a weight is missing or does not fit.
pub fn bev_decoder(spec: &ModelSpec, weights: &Weights) -> Result<Graph, GraphError> {
    let (Some(encoder), Some(decoder)) = (&spec.lidar_encoder, &spec.bev_decoder) else {
        let problem = "this model has no LiDAR encoder with a BEV decoder behind it";
        return Err(GraphError::setting("bev_decoder", &spec.name, problem));
    };
    let description = "Fuser, SECOND and SECONDFPN. camera_bev (with cameras) and lidar_bev: [1, C, X, Y], \
                       rows x. bev_features: [1, C, X, Y].";
    let mut l = Layers::new("bev_decoder", description, weights);
    let [x_cells, y_cells] = bev_size(spec)?;
    let map = |channels: usize| [1, channels, x_cells, y_cells];
    let camera_bev = match &spec.fuser {
        Some(_) => {
            let channels = super::camera_of(spec)?.view_transform.out_channels;
            Some(l.graph.input("camera_bev", &map(channels))?)
        }
        None => None,
    };
    let levels = encoder_levels(encoder.sparse_shape[2], &encoder.encoder_paddings);
    let lidar = map(encoder.output_channels * levels);
    let mut x = l.graph.input("lidar_bev", &lidar)?;
    if let (Some(camera_bev), Some(fuser)) = (camera_bev, &spec.fuser) {
        x = fuse(&mut l, [camera_bev, x], fuser)?;
    }
    let maps = second(&mut l, x, decoder)?;
    let features = second_fpn(&mut l, &maps, decoder)?;
    l.graph.finish(&[("bev_features", features)])
}

/// Height levels of the sparse encoder's output: each stage halves them, and the last convolution
/// (kernel 3, stride 2) again.
fn encoder_levels(levels: usize, paddings: &[[usize; 3]]) -> usize {
    let strided = |n: usize, padding: usize| (n + 2 * padding).saturating_sub(3) / 2 + 1;
    let levels = paddings
        .iter()
        .fold(levels, |n, padding| strided(n, padding[2]));
    strided(levels, 0)
}

/// Camera channels first.
fn fuse(l: &mut Layers<'_>, maps: [ValueId; 2], spec: &FuserSpec) -> Result<ValueId, GraphError> {
    if spec.kernel_size.is_multiple_of(2) {
        return Err(GraphError::setting(
            "fuser.kernel_size",
            spec.kernel_size,
            "must be odd, so that the map keeps its size",
        ));
    }
    let joined = l.graph.concat(&maps, 1)?;
    let conv = Conv {
        name: "fusion_layer.0",
        bias: false,
        norm: Some(Norm {
            name: "fusion_layer.1",
            eps: FUSER_EPS,
        }),
        relu: true,
        out: spec.out_channels,
        kernel: spec.kernel_size,
        stride: 1,
        padding: spec.kernel_size / 2,
    };
    let fused = l.conv(joined, &conv)?;
    l.graph.name(fused, "fuse.out")
}

/// Blocks of 3×3 convolutions; each block's output.
fn second(
    l: &mut Layers<'_>,
    mut x: ValueId,
    spec: &BevDecoderSpec,
) -> Result<Vec<ValueId>, GraphError> {
    let blocks = spec.out_channels.len();
    if blocks == 0 || spec.layer_nums.len() != blocks || spec.layer_strides.len() != blocks {
        return Err(GraphError::setting(
            "bev_decoder.out_channels",
            &spec.out_channels,
            "layer_nums and layer_strides must have as many entries, at least one",
        ));
    }
    let mut maps = Vec::new();
    for (block, out) in spec.out_channels.iter().enumerate() {
        for layer in 0..=spec.layer_nums[block] {
            let prefix = format!("pts_backbone.blocks.{block}");
            let conv = Conv {
                name: &format!("{prefix}.{}", 3 * layer),
                bias: false,
                norm: Some(Norm {
                    name: &format!("{prefix}.{}", 3 * layer + 1),
                    eps: SECOND_EPS,
                }),
                relu: true,
                out: *out,
                kernel: 3,
                stride: if layer == 0 {
                    spec.layer_strides[block]
                } else {
                    1
                },
                padding: 1,
            };
            x = l.conv(x, &conv)?;
        }
        maps.push(l.graph.name(x, &format!("second.{block}"))?);
    }
    Ok(maps)
}

/// Every map brought to the first one's size, then joined.
fn second_fpn(
    l: &mut Layers<'_>,
    maps: &[ValueId],
    spec: &BevDecoderSpec,
) -> Result<ValueId, GraphError> {
    if spec.fpn_channels.len() != maps.len() || spec.upsample_strides.len() != maps.len() {
        return Err(GraphError::setting(
            "bev_decoder.fpn_channels",
            &spec.fpn_channels,
            "fpn_channels and upsample_strides must have as many entries as out_channels",
        ));
    }
    let mut upsampled = Vec::new();
    for (i, map) in maps.iter().enumerate() {
        let stride = spec.upsample_strides[i];
        let conv = Conv {
            name: &format!("pts_neck.deblocks.{i}.0"),
            bias: false,
            norm: Some(Norm {
                name: &format!("pts_neck.deblocks.{i}.1"),
                eps: SECOND_EPS,
            }),
            relu: true,
            out: spec.fpn_channels[i],
            kernel: stride,
            stride,
            padding: 0,
        };
        upsampled.push(if stride == 1 {
            l.conv(*map, &conv)?
        } else {
            l.deconv(*map, &conv)?
        });
    }
    let joined = l.graph.concat(&upsampled, 1)?;
    l.graph.name(joined, "neck.out")
}
