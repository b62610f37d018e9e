//! Names of MIT's BEVFusion as mmdetection3d and AWML write them.
//!
//! AWML and mmdetection3d names pass unchanged: no MIT prefix begins like one of theirs.

/// Longest prefix first, so that `encoders.lidar.backbone.` is not taken for a shorter one.
const PREFIXES: [(&str, &str); 8] = [
    ("encoders.camera.backbone.", "img_backbone."),
    ("encoders.camera.neck.", "img_neck."),
    ("encoders.camera.vtransform.", "view_transform."),
    ("encoders.lidar.backbone.", "pts_middle_encoder."),
    ("fuser.", "fusion_layer."),
    ("decoder.backbone.", "pts_backbone."),
    ("decoder.neck.", "pts_neck."),
    ("heads.object.", "bbox_head."),
];

/// Modules of a decoder layer of the head.
const DECODER_MODULES: [(&str, &str); 7] = [
    ("self_attn.", "self_attn.attn."),
    ("multihead_attn.", "cross_attn.attn."),
    ("linear1.", "ffn.layers.0.0."),
    ("linear2.", "ffn.layers.1."),
    ("norm1.", "norms.0."),
    ("norm2.", "norms.1."),
    ("norm3.", "norms.2."),
];

/// The name under which this project keeps a tensor; `None` when it has that name already.
pub(super) fn renamed(name: &str) -> Option<String> {
    let (prefix, rest) = PREFIXES.iter().find_map(|(mit, ours)| {
        let rest = name.strip_prefix(mit)?;
        Some((*ours, rest))
    })?;
    if let Some((layer, module)) = rest
        .strip_prefix("decoder.")
        .filter(|_| prefix == "bbox_head.")
        .and_then(|rest| rest.split_once('.'))
    {
        let (mit, ours) = DECODER_MODULES
            .iter()
            .find(|(mit, _)| module.starts_with(mit))
            .unwrap_or(&("", ""));
        let module = &module[mit.len()..];
        return Some(format!("{prefix}decoder.{layer}.{ours}{module}"));
    }
    Some(format!("{prefix}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn mit_names_become_ours() {
        let cases = [
            (
                "encoders.camera.backbone.stages.0.blocks.0.attn.w_msa.qkv.weight",
                "img_backbone.stages.0.blocks.0.attn.w_msa.qkv.weight",
            ),
            (
                "encoders.camera.vtransform.frustum",
                "view_transform.frustum",
            ),
            (
                "encoders.lidar.backbone.conv_out.0.weight",
                "pts_middle_encoder.conv_out.0.weight",
            ),
            ("fuser.1.running_var", "fusion_layer.1.running_var"),
            (
                "decoder.neck.deblocks.1.0.weight",
                "pts_neck.deblocks.1.0.weight",
            ),
            (
                "heads.object.shared_conv.bias",
                "bbox_head.shared_conv.bias",
            ),
            (
                "heads.object.decoder.0.multihead_attn.in_proj_weight",
                "bbox_head.decoder.0.cross_attn.attn.in_proj_weight",
            ),
            (
                "heads.object.decoder.1.linear1.bias",
                "bbox_head.decoder.1.ffn.layers.0.0.bias",
            ),
            (
                "heads.object.decoder.0.norm3.weight",
                "bbox_head.decoder.0.norms.2.weight",
            ),
            (
                "heads.object.decoder.0.self_posembed.position_embedding_head.3.bias",
                "bbox_head.decoder.0.self_posembed.position_embedding_head.3.bias",
            ),
        ];
        for (mit, ours) in cases {
            assert_eq!(renamed(mit).as_deref(), Some(ours));
            assert_eq!(renamed(ours), None, "{ours} is one of ours");
        }
    }
}
