//! What the unit tests of the networks share: the nuScenes description and weights filled by the
//! pseudo-random stream of the specification's appendix T, in state-dict order.

use crate::config::{DepthNetForm, ModelConfig, ModelSpec};
use crate::weights::{Tensor, TensorData, Weights};

/// s ← 1664525·s + 1013904223 mod 2³²; each step yields s / 2³².
pub(super) struct Stream(u32);

impl Stream {
    pub(super) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// In [0, 1).
    pub(super) fn v(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0) / 4_294_967_296.0
    }

    /// In [−½, ½).
    pub(super) fn u(&mut self) -> f64 {
        self.v() - 0.5
    }

    pub(super) fn take(&mut self, count: usize, scale: f64) -> Vec<f32> {
        (0..count).map(|_| (self.u() * scale) as f32).collect()
    }
}

/// Names and shapes in state-dict order.
#[derive(Default)]
pub(super) struct StateDict(Vec<(String, Vec<usize>)>);

impl StateDict {
    fn push(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    fn affine(&mut self, name: &str, shape: &[usize], bias: bool) {
        self.push(format!("{name}.weight"), shape);
        if bias {
            self.push(format!("{name}.bias"), &shape[..1]);
        }
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.push(format!("{name}.{part}"), &[channels]);
        }
    }

    fn conv_norm(&mut self, conv: &str, norm: &str, shape: &[usize], bias: bool) {
        self.affine(conv, shape, bias);
        self.norm(norm, shape[0]);
    }

    pub(super) fn second(mut self) -> Self {
        for (block, channels, first) in [(0, 128, 256), (1, 256, 128)] {
            for layer in 0..6 {
                let from = if layer == 0 { first } else { channels };
                let prefix = format!("pts_backbone.blocks.{block}");
                let (conv, norm) = (3 * layer, 3 * layer + 1);
                let shape = [channels, from, 3, 3];
                self.conv_norm(
                    &format!("{prefix}.{conv}"),
                    &format!("{prefix}.{norm}"),
                    &shape,
                    false,
                );
            }
        }
        for (block, shape) in [(0, [256, 128, 1, 1]), (1, [256, 256, 2, 2])] {
            let prefix = format!("pts_neck.deblocks.{block}");
            self.conv_norm(
                &format!("{prefix}.0"),
                &format!("{prefix}.1"),
                &shape,
                false,
            );
        }
        self
    }

    pub(super) fn head(mut self) -> Self {
        self.affine("bbox_head.shared_conv", &[128, 512, 3, 3], true);
        let prefix = "bbox_head.heatmap_head";
        let shape = [128, 128, 3, 3];
        self.conv_norm(
            &format!("{prefix}.0.conv"),
            &format!("{prefix}.0.bn"),
            &shape,
            false,
        );
        self.affine(&format!("{prefix}.1"), &[10, 128, 3, 3], true);
        self.affine("bbox_head.class_encoding", &[128, 10, 1], true);
        let layer = "bbox_head.decoder.0";
        for attention in ["self_attn", "cross_attn"] {
            let prefix = format!("{layer}.{attention}.attn");
            self.push(format!("{prefix}.in_proj_weight"), &[384, 128]);
            self.push(format!("{prefix}.in_proj_bias"), &[384]);
            self.affine(&format!("{prefix}.out_proj"), &[128, 128], true);
        }
        self.affine(&format!("{layer}.ffn.layers.0.0"), &[256, 128], true);
        self.affine(&format!("{layer}.ffn.layers.1"), &[128, 256], true);
        for i in 0..3 {
            self.affine(&format!("{layer}.norms.{i}"), &[128], true);
        }
        for posembed in ["self_posembed", "cross_posembed"] {
            let prefix = format!("{layer}.{posembed}.position_embedding_head");
            let shape = [128, 2, 1];
            self.conv_norm(&format!("{prefix}.0"), &format!("{prefix}.1"), &shape, true);
            self.affine(&format!("{prefix}.3"), &[128, 128, 1], true);
        }
        let heads = [
            ("center", 2),
            ("height", 1),
            ("dim", 3),
            ("rot", 2),
            ("vel", 2),
            ("heatmap", 10),
        ];
        for (name, channels) in heads {
            let prefix = format!("bbox_head.prediction_heads.0.{name}");
            let shape = [64, 128, 1];
            self.conv_norm(
                &format!("{prefix}.0.conv"),
                &format!("{prefix}.0.bn"),
                &shape,
                false,
            );
            self.affine(&format!("{prefix}.1"), &[channels, 64, 1], true);
        }
        self
    }

    pub(super) fn swin(mut self) -> Self {
        let prefix = "img_backbone";
        self.affine(
            &format!("{prefix}.patch_embed.projection"),
            &[96, 3, 4, 4],
            true,
        );
        self.affine(&format!("{prefix}.patch_embed.norm"), &[96], true);
        for (stage, (depth, heads)) in [(2, 3), (2, 6), (6, 12), (2, 24)].into_iter().enumerate() {
            let c = 96 << stage;
            for block in 0..depth {
                let prefix = format!("{prefix}.stages.{stage}.blocks.{block}");
                self.affine(&format!("{prefix}.norm1"), &[c], true);
                let attention = format!("{prefix}.attn.w_msa");
                self.push(
                    format!("{attention}.relative_position_bias_table"),
                    &[169, heads],
                );
                self.affine(&format!("{attention}.qkv"), &[3 * c, c], true);
                self.affine(&format!("{attention}.proj"), &[c, c], true);
                self.affine(&format!("{prefix}.norm2"), &[c], true);
                self.affine(&format!("{prefix}.ffn.layers.0.0"), &[4 * c, c], true);
                self.affine(&format!("{prefix}.ffn.layers.1"), &[c, 4 * c], true);
            }
            if stage < 3 {
                let prefix = format!("{prefix}.stages.{stage}.downsample");
                self.affine(&format!("{prefix}.norm"), &[4 * c], true);
                self.affine(&format!("{prefix}.reduction"), &[2 * c, 4 * c], false);
            }
        }
        for stage in 1..4 {
            self.affine(&format!("{prefix}.norm{stage}"), &[96 << stage], true);
        }
        self
    }

    pub(super) fn lssfpn(mut self) -> Self {
        for (kind, kernel, inputs) in [
            ("lateral_convs", 1, [448, 1152]),
            ("fpn_convs", 3, [256, 256]),
        ] {
            for (level, from) in inputs.into_iter().enumerate() {
                let prefix = format!("img_neck.{kind}.{level}");
                let shape = [256, from, kernel, kernel];
                self.conv_norm(
                    &format!("{prefix}.conv"),
                    &format!("{prefix}.bn"),
                    &shape,
                    false,
                );
            }
        }
        self
    }

    /// Either form, with D + C outputs.
    pub(super) fn view_transform(mut self, form: DepthNetForm, outputs: usize) -> Self {
        let (infix, hidden, bias) = match form {
            DepthNetForm::Mmdet3d => ("", 256, true),
            DepthNetForm::Awml => ("net.", 320, false),
        };
        let mut layer = |part: &str, index: usize, shape: [usize; 4], bias: bool| {
            let prefix = format!("view_transform.{part}.{infix}");
            let norm = format!("{prefix}{}", index + 1);
            self.conv_norm(&format!("{prefix}{index}"), &norm, &shape, bias);
        };
        layer("dtransform", 0, [8, 1, 1, 1], bias);
        layer("dtransform", 3, [32, 8, 5, 5], bias);
        layer("dtransform", 6, [64, 32, 5, 5], bias);
        layer("depthnet", 0, [hidden, 320, 3, 3], bias);
        layer("depthnet", 3, [hidden, hidden, 3, 3], bias);
        let last = format!("view_transform.depthnet.{infix}6");
        self.affine(&last, &[outputs, hidden, 1, 1], true);
        for index in [0, 3, 6] {
            let prefix = format!("view_transform.downsample.{infix}");
            let norm = format!("{prefix}{}", index + 1);
            self.conv_norm(&format!("{prefix}{index}"), &norm, &[80, 80, 3, 3], false);
        }
        self
    }

    /// Fills all tensors with one stream.
    pub(super) fn filled(self, seed: u32) -> Weights {
        let mut stream = Stream::new(seed);
        let mut weights = Weights::default();
        for (name, shape) in self.0 {
            let count = shape.iter().product();
            let fan = match name.as_str() {
                "pts_neck.deblocks.1.0.weight" => shape[0],
                _ => count / shape[0],
            };
            let (offset, scale) = if name.ends_with("relative_position_bias_table") {
                (0.0, 0.5)
            } else if shape.len() > 1 {
                (0.0, (24.0 / fan as f64).sqrt())
            } else if name.ends_with("running_var") {
                (1.0, 0.5)
            } else if name.ends_with(".weight") {
                (1.0, 0.1)
            } else {
                (0.0, 0.1)
            };
            let values = (0..count).map(|_| (offset + scale * stream.u()) as f32);
            let data = TensorData::F32(values.collect());
            weights.tensors.insert(name, Tensor { shape, data });
        }
        weights
    }
}

/// nuScenes camera + LiDAR with a small grid, `cells`² BEV cells of 0.6 m from −54 m on, 20 proposals, and
/// one camera with the geometry of appendix T.5.
pub(super) fn nuscenes(cells: usize) -> ModelSpec {
    let mut spec = (*ModelConfig::preset("nuscenes_CL").expect("shipped")).clone();
    let end = -54.0 + 0.6 * cells as f64;
    spec.voxel.point_cloud_range = [-54.0, -54.0, -5.0, end, end, 3.0];
    if let Some(encoder) = &mut spec.lidar_encoder {
        encoder.sparse_shape = [8 * cells, 8 * cells, 41];
    }
    spec.camera = Some(crate::camera::test_spec());
    spec.head.num_proposals = 20;
    spec
}

/// Sum and sum of squares in float64.
pub(super) fn sums(values: &[f32]) -> [f64; 2] {
    values.iter().fold([0.0; 2], |[sum, squares], v| {
        let v = f64::from(*v);
        [sum + v, squares + v * v]
    })
}

/// Fails unless every value is within `tolerance` of the expected one.
pub(super) fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let away = (f64::from(*got) - want).abs();
        assert!(away <= tolerance, "{what}: {got} instead of {want}");
    }
}
