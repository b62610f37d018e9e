//! State-dict tensors of the camera branch: Swin (`img_backbone.`), LSSFPN (`img_neck.`) and view
//! transform (`view_transform.`).

use super::TensorList;
use crate::config::{CameraSpec, DepthNetForm, SwinSpec, ViewTransformSpec};

const IMAGE_CHANNELS: usize = 3;
const PATCH: usize = 4;
/// Pixels that patch merging joins.
const MERGED: usize = 4;
const SPATIAL: usize = 3;
/// Input channels, output channels and kernel of the depth image's three convolutions.
const DEPTH_IMAGE_CONVS: [(usize, usize, usize); 3] = [(1, 8, 1), (8, 32, 5), (32, 64, 5)];
/// Modules from one convolution of a Sequential to the next: convolution, norm, ReLU.
const STEP: usize = 3;

/// Tensors of the whole branch.
pub(super) fn camera(list: &mut TensorList, spec: &CameraSpec) {
    swin(list, &spec.backbone);
    lss_fpn(list, &spec.backbone, spec.neck_channels);
    view_transform(list, spec);
}

fn stage_channels(spec: &SwinSpec) -> Vec<usize> {
    (0..spec.depths.len())
        .map(|stage| spec.embed_dims << stage)
        .collect()
}

fn swin(list: &mut TensorList, spec: &SwinSpec) {
    let channels = stage_channels(spec);
    list.biased(
        "img_backbone.patch_embed.projection",
        &[spec.embed_dims, IMAGE_CHANNELS, PATCH, PATCH],
    );
    list.layer_norm("img_backbone.patch_embed.norm", spec.embed_dims);
    for (stage, &width) in channels.iter().enumerate() {
        let heads = spec.num_heads.get(stage).copied().unwrap_or(0);
        for block in 0..spec.depths[stage] {
            let module = format!("img_backbone.stages.{stage}.blocks.{block}");
            swin_block(list, &module, spec, width, heads);
        }
        if let Some(&next) = channels.get(stage + 1) {
            let module = format!("img_backbone.stages.{stage}.downsample");
            list.layer_norm(&format!("{module}.norm"), MERGED * width);
            list.weight(&format!("{module}.reduction"), &[next, MERGED * width]);
        }
        if stage > 0 {
            list.layer_norm(&format!("img_backbone.norm{stage}"), width);
        }
    }
}

fn swin_block(list: &mut TensorList, module: &str, spec: &SwinSpec, width: usize, heads: usize) {
    let offsets = (2 * spec.window_size).saturating_sub(1);
    let tokens = spec.window_size * spec.window_size;
    let attention = format!("{module}.attn.w_msa");
    list.layer_norm(&format!("{module}.norm1"), width);
    list.parameter(
        format!("{attention}.relative_position_bias_table"),
        &[offsets * offsets, heads],
    );
    list.constant(
        format!("{attention}.relative_position_index"),
        &[tokens, tokens],
    );
    list.biased(&format!("{attention}.qkv"), &[3 * width, width]);
    list.biased(&format!("{attention}.proj"), &[width, width]);
    list.layer_norm(&format!("{module}.norm2"), width);
    let hidden = spec.mlp_ratio * width;
    list.biased(&format!("{module}.ffn.layers.0.0"), &[hidden, width]);
    list.biased(&format!("{module}.ffn.layers.1"), &[width, hidden]);
}

/// The neck takes the outputs of all stages but the first.
fn lss_fpn(list: &mut TensorList, backbone: &SwinSpec, neck: usize) {
    let channels = stage_channels(backbone);
    let inputs = channels.get(1..).unwrap_or_default();
    for (level, pair) in inputs.windows(2).enumerate() {
        let upper = if level + 2 == inputs.len() {
            pair[1]
        } else {
            neck
        };
        let lateral = format!("img_neck.lateral_convs.{level}");
        list.conv_module(&lateral, &[neck, pair[0] + upper, 1, 1]);
        list.conv_module(&format!("img_neck.fpn_convs.{level}"), &[neck, neck, 3, 3]);
    }
}

fn view_transform(list: &mut TensorList, camera: &CameraSpec) {
    let spec = &camera.view_transform;
    let bins = depth_bins(spec.d_bound);
    for constant in ["dx", "bx", "nx"] {
        list.constant(format!("view_transform.{constant}"), &[SPATIAL]);
    }
    let [height, width] = spec.feature_size;
    list.constant(
        "view_transform.frustum".into(),
        &[bins, height, width, SPATIAL],
    );
    let net = match spec.form {
        DepthNetForm::Mmdet3d => "",
        DepthNetForm::Awml => ".net",
    };
    depth_nets(list, camera, net, bins + spec.out_channels);
    if spec.downsample > 1 {
        let module = format!("view_transform.downsample{net}");
        for index in [0, STEP, 2 * STEP] {
            list.conv_then_norm(
                &module,
                index,
                &[spec.out_channels, spec.out_channels, 3, 3],
            );
        }
    }
}

fn depth_nets(list: &mut TensorList, camera: &CameraSpec, net: &str, output: usize) {
    let mut conv = |sequential: &str, index: usize, shape: &[usize]| {
        list.conv_then_norm(sequential, index, shape);
        if camera.view_transform.form == DepthNetForm::Mmdet3d {
            list.parameter(format!("{sequential}.{index}.bias"), &shape[..1]);
        }
    };
    let dtransform = format!("view_transform.dtransform{net}");
    let mut depth_channels = 0;
    for (place, (input, output, kernel)) in DEPTH_IMAGE_CONVS.into_iter().enumerate() {
        conv(&dtransform, place * STEP, &[output, input, kernel, kernel]);
        depth_channels = output;
    }
    let input = depth_channels + camera.neck_channels;
    let hidden = match camera.view_transform.form {
        DepthNetForm::Mmdet3d => camera.neck_channels,
        DepthNetForm::Awml => input,
    };
    let depthnet = format!("view_transform.depthnet{net}");
    conv(&depthnet, 0, &[hidden, input, 3, 3]);
    conv(&depthnet, STEP, &[hidden, hidden, 3, 3]);
    list.biased(&format!("{depthnet}.{}", 2 * STEP), &[output, hidden, 1, 1]);
}

/// Depth bins of `[first, end, step]`: the length of `arange`.
pub(in crate::weights) fn depth_bins([first, end, step]: [f64; 3]) -> usize {
    ((end - first) / step).ceil() as usize
}

/// Cells along each axis of the pooled map.
pub(in crate::weights) fn pooled_cells(spec: &ViewTransformSpec) -> [i64; 3] {
    [spec.x_bound, spec.y_bound, spec.z_bound]
        .map(|[lower, upper, step]| ((upper - lower) / step).trunc() as i64)
}
