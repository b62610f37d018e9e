//! State-dict tensors on the BEV map: fuser (`fusion_layer.`), SECOND (`pts_backbone.`), SECONDFPN
//! (`pts_neck.`) and TransFusion head (`bbox_head.`).

use super::TensorList;
use crate::config::{BevDecoderSpec, FuserSpec, HeadSpec};

/// Modules from one convolution of a SECOND block to the next: convolution, norm, ReLU.
const STEP: usize = 3;
/// Prediction heads besides the heatmap and their channels.
const PREDICTIONS: [(&str, usize); 5] = [
    ("center", 2),
    ("height", 1),
    ("dim", 3),
    ("rot", 2),
    ("vel", 2),
];
/// Coordinates of a query's position.
const POSITION: usize = 2;

/// The convolutional fuser of `input` channels, camera first.
pub(super) fn fuser(list: &mut TensorList, spec: &FuserSpec, input: usize) {
    let kernel = spec.kernel_size;
    list.conv_then_norm(
        "fusion_layer",
        0,
        &[spec.out_channels, input, kernel, kernel],
    );
}

/// SECOND and SECONDFPN.
pub(super) fn decoder(list: &mut TensorList, spec: &BevDecoderSpec, input: usize) {
    let mut input = input;
    for (block, &width) in spec.out_channels.iter().enumerate() {
        let module = format!("pts_backbone.blocks.{block}");
        list.conv_then_norm(&module, 0, &[width, input, 3, 3]);
        let further = spec.layer_nums.get(block).copied().unwrap_or(0);
        for layer in 1..=further {
            list.conv_then_norm(&module, layer * STEP, &[width, width, 3, 3]);
        }
        input = width;
    }
    let levels = spec.out_channels.iter().zip(&spec.fpn_channels);
    for (level, ((&input, &output), &stride)) in levels.zip(&spec.upsample_strides).enumerate() {
        let module = format!("pts_neck.deblocks.{level}");
        let kernel = if stride > 1 {
            [input, output, stride, stride]
        } else {
            [output, input, 1, 1]
        };
        list.weight(&format!("{module}.0"), &kernel);
        list.batch_norm(&format!("{module}.1"), output);
    }
}

/// The head on a map of `input` channels.
pub(super) fn head(list: &mut TensorList, spec: &HeadSpec, input: usize, classes: usize) {
    let hidden = spec.hidden_channels;
    list.biased("bbox_head.shared_conv", &[hidden, input, 3, 3]);
    list.conv_module("bbox_head.heatmap_head.0", &[hidden, hidden, 3, 3]);
    list.biased("bbox_head.heatmap_head.1", &[classes, hidden, 3, 3]);
    list.biased("bbox_head.class_encoding", &[hidden, classes, 1]);
    for layer in 0..spec.num_decoder_layers {
        decoder_layer(list, &format!("bbox_head.decoder.{layer}"), spec);
        let heads = PREDICTIONS.into_iter().chain([("heatmap", classes)]);
        for (name, channels) in heads {
            let module = format!("bbox_head.prediction_heads.{layer}.{name}");
            let width = spec.prediction_channels;
            list.conv_module(&format!("{module}.0"), &[width, hidden, 1]);
            list.biased(&format!("{module}.1"), &[channels, width, 1]);
        }
    }
}

fn decoder_layer(list: &mut TensorList, module: &str, spec: &HeadSpec) {
    let hidden = spec.hidden_channels;
    for attention in ["self_attn", "cross_attn"] {
        let attention = format!("{module}.{attention}.attn");
        list.parameter(format!("{attention}.in_proj_weight"), &[3 * hidden, hidden]);
        list.parameter(format!("{attention}.in_proj_bias"), &[3 * hidden]);
        list.biased(&format!("{attention}.out_proj"), &[hidden, hidden]);
    }
    let ffn = spec.ffn_channels;
    list.biased(&format!("{module}.ffn.layers.0.0"), &[ffn, hidden]);
    list.biased(&format!("{module}.ffn.layers.1"), &[hidden, ffn]);
    for norm in 0..3 {
        list.layer_norm(&format!("{module}.norms.{norm}"), hidden);
    }
    for embedding in ["self_posembed", "cross_posembed"] {
        let embedding = format!("{module}.{embedding}.position_embedding_head");
        list.biased(&format!("{embedding}.0"), &[hidden, POSITION, 1]);
        list.batch_norm(&format!("{embedding}.1"), hidden);
        list.biased(&format!("{embedding}.3"), &[hidden, hidden, 1]);
    }
}
