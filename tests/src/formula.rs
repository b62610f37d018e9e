//! Weights by formula: any model gets reproducible weights from the names and shapes of its tensors.
//!
//! Value i of tensor NAME comes from a splitmix generator seeded with FNV-1a-64(salt + NAME), scaled by a
//! rule that its name and shape choose, so that activations stay in a sensible range through the whole
//! network. Source: README of the golden outputs, "Numbers by formula".

use std::path::Path;

use bevfusion::weights::{ExpectedTensor, Tensor, TensorData, TensorKind, Weights};
use serde::Deserialize;

use crate::golden::{GoldenError, json};

/// FNV-1a, 64 bits.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Output `index` of the splitmix generator.
#[must_use]
pub fn splitmix(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform in [0, 1) with 24 bits.
#[must_use]
pub fn unit(seed: u64, index: u64) -> f64 {
    const STEPS: f64 = (1 << 24) as f64;
    (splitmix(seed, index) >> 40) as f64 / STEPS
}

/// Which of the golden models the gain of the heatmap follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GainProfile {
    /// `tiny-*`.
    Tiny,
    /// `nus-*` and every other full-size model.
    FullSize,
}

/// How the values of one tensor are made from v in [-1, 1) or u in [0, 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Not generated: the model description determines it.
    Skip,
    /// Relative position bias: 0.02 v.
    Table,
    /// Running mean: 0.1 v.
    Mean,
    /// Running variance: 1 + 0.5 u.
    Var,
    /// v times a scale.
    Weight(f64),
    /// The same with the mean of v over each output channel taken off.
    WeightCentered(f64),
    /// Weight of a norm: 1 + 0.2 v.
    NormWeight,
    /// Bias of a heatmap: -2.19 + 0.1 v.
    HeatmapBias,
    /// Any other bias: 0.1 v.
    Bias,
}

impl Rule {
    /// The rule for a tensor.
    #[must_use]
    pub fn of(name: &str, shape: &[usize], profile: GainProfile) -> Self {
        let is = |suffix: &str| name.ends_with(suffix);
        if is("relative_position_bias_table") {
            Self::Table
        } else if is("running_mean") {
            Self::Mean
        } else if is("running_var") {
            Self::Var
        } else if name == HEATMAP {
            Self::WeightCentered(scale(fan_in(name, shape), gain(name, profile)))
        } else if shape.len() >= 2 {
            Self::Weight(scale(fan_in(name, shape), gain(name, profile)))
        } else if is(".weight") {
            Self::NormWeight
        } else if is("heatmap_head.1.bias") || is(".heatmap.1.bias") {
            Self::HeatmapBias
        } else {
            Self::Bias
        }
    }
}

const HEATMAP: &str = "bbox_head.heatmap_head.1.weight";

fn scale(fan_in: usize, gain: f64) -> f64 {
    (3.0 / fan_in as f64).sqrt() * gain
}

/// Inputs of one output: the first extent of a transposed convolution, else all but the first.
fn fan_in(name: &str, shape: &[usize]) -> usize {
    let is_transposed =
        name.starts_with("pts_neck.deblocks.") && shape.get(2).is_some_and(|kernel| *kernel > 1);
    if is_transposed {
        shape[0]
    } else {
        shape[1..].iter().product()
    }
}

fn gain(name: &str, profile: GainProfile) -> f64 {
    let has = |part: &str| name.contains(part);
    let is = |suffix: &str| name.ends_with(suffix);
    let any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if name == HEATMAP {
        return match profile {
            GainProfile::Tiny => 1.0,
            GainProfile::FullSize => 0.3,
        };
    }
    let attention = [
        ".attn.",
        "_attn.",
        ".ffn.",
        "img_backbone.",
        "view_transform.depthnet.6.",
        "class_encoding.",
    ];
    let rules = [
        (has("pts_backbone."), 1.8),
        (has("pts_neck."), 1.8),
        (has("pts_middle_encoder.conv_input."), 0.5),
        (is(".conv1.weight") || is(".conv2.weight"), 1.4),
        (has("pts_middle_encoder.conv_out."), 2.0),
        (has("pts_middle_encoder."), 2.2),
        (any(&attention), 1.0),
        (has("posembed.position_embedding_head.0."), 0.05),
        (has("posembed."), 1.0),
        (is("prediction_heads.0.heatmap.1.weight"), 1.0),
        (is("prediction_heads.0.center.1.weight"), 1.0),
        (is("prediction_heads.0.dim.1.weight"), 0.5),
    ];
    let matched = rules.into_iter().find(|(matches, _)| *matches);
    matched.map_or(std::f64::consts::SQRT_2, |(_, gain)| gain)
}

/// The values of one tensor, row-major; `None` when its rule is to skip it.
#[must_use]
pub fn formula_values(name: &str, shape: &[usize], salt: &str, rule: Rule) -> Option<Vec<f32>> {
    let seed = fnv1a(format!("{salt}{name}").as_bytes());
    let count: usize = shape.iter().product();
    let all = |value: &dyn Fn(f64) -> f64| {
        let indices = 0..count as u64;
        Some(indices.map(|i| value(unit(seed, i)) as f32).collect())
    };
    let signed = |u: f64| 2.0 * u - 1.0;
    match rule {
        Rule::Skip => None,
        Rule::Table => all(&|u| 0.02 * signed(u)),
        Rule::Mean | Rule::Bias => all(&|u| 0.1 * signed(u)),
        Rule::Var => all(&|u| 1.0 + 0.5 * u),
        Rule::Weight(scale) => all(&|u| signed(u) * scale),
        Rule::NormWeight => all(&|u| 1.0 + 0.2 * signed(u)),
        Rule::HeatmapBias => all(&|u| -2.19 + 0.1 * signed(u)),
        Rule::WeightCentered(scale) => {
            let raw: Vec<f64> = (0..count as u64).map(|i| signed(unit(seed, i))).collect();
            let channels = raw.chunks(shape[1..].iter().product::<usize>().max(1));
            Some(
                channels
                    .flat_map(|values| centered(values, scale))
                    .collect(),
            )
        }
    }
}

fn centered(values: &[f64], scale: f64) -> impl Iterator<Item = f32> + '_ {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(move |v| ((v - mean) * scale) as f32)
}

/// Formula weights of a model: every parameter and buffer.
#[must_use]
pub fn formula_weights(expected: &[ExpectedTensor], salt: &str, profile: GainProfile) -> Weights {
    let needed = expected.iter().filter(|t| t.kind != TensorKind::Constant);
    let tensors = needed.filter_map(|tensor| {
        let rule = Rule::of(&tensor.name, &tensor.shape, profile);
        tensor_by(&tensor.name, &tensor.shape, salt, rule)
    });
    Weights {
        tensors: tensors.collect(),
    }
}

fn tensor_by(name: &str, shape: &[usize], salt: &str, rule: Rule) -> Option<(String, Tensor)> {
    let tensor = Tensor {
        shape: shape.to_vec(),
        data: TensorData::F32(formula_values(name, shape, salt, rule)?),
    };
    Some((name.to_owned(), tensor))
}

/// One entry of a golden `*.weights.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldenWeight {
    /// State-dict name.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Name of the rule.
    pub rule: String,
    /// Inputs of one output.
    pub fan_in: Option<usize>,
    /// Gain.
    pub gain: Option<f64>,
    /// First values.
    pub first: Option<Vec<f32>>,
    /// Sum of all values.
    pub sum: Option<f64>,
    /// Square root of the sum of squares.
    pub l2: Option<f64>,
}

impl GoldenWeight {
    /// The rule that the entry states; `None` when it states none that is known.
    #[must_use]
    pub fn stated_rule(&self) -> Option<Rule> {
        let scale = || Some(scale(self.fan_in?, self.gain?));
        Some(match self.rule.as_str() {
            "skip" => Rule::Skip,
            "table" => Rule::Table,
            "mean" => Rule::Mean,
            "var" => Rule::Var,
            "weight" => Rule::Weight(scale()?),
            "weight_centered" => Rule::WeightCentered(scale()?),
            "norm_weight" => Rule::NormWeight,
            "heatmap_bias" => Rule::HeatmapBias,
            "bias" => Rule::Bias,
            _ => return None,
        })
    }
}

/// Formula weights by the rules that a golden `*.weights.json` states.
///
/// # Errors
/// When the file cannot be read or states an unknown rule.
pub fn formula_weights_from_json(path: &Path, salt: &str) -> Result<Weights, GoldenError> {
    let entries: Vec<GoldenWeight> = json(path)?;
    let mut weights = Weights::default();
    for entry in entries {
        let Some(rule) = entry.stated_rule() else {
            return Err(GoldenError::Malformed {
                path: path.into(),
                problem: format!("{}: rule {:?} is not known", entry.name, entry.rule),
            });
        };
        weights
            .tensors
            .extend(tensor_by(&entry.name, &entry.shape, salt, rule));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::{GainProfile, Rule, fnv1a, formula_values, splitmix, unit};

    #[test]
    fn the_generator_gives_the_published_vectors() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(splitmix(0, 0), 0xe220_a839_7b1d_cdaf);
        let seed = fnv1a(b"bbox_head.shared_conv.weight");
        assert_eq!(seed, 0x886e_2991_2cae_4fd7);
        let expected = [
            0xe623_b2fb_cf5f_d9e9,
            0x9c8c_d73c_ad6a_cecc,
            0x4737_537c_7d7f_d5b5,
        ];
        let units = [
            0.898_982_167_243_957_5,
            0.611_524_045_467_376_7,
            0.278_187_930_583_953_86,
        ];
        for (index, (bits, value)) in expected.into_iter().zip(units).enumerate() {
            assert_eq!(splitmix(seed, index as u64), bits);
            assert_eq!(unit(seed, index as u64).to_bits(), f64::to_bits(value));
        }
    }

    #[test]
    fn centred_weights_have_no_mean_per_channel() {
        let name = "bbox_head.heatmap_head.1.weight";
        let rule = Rule::of(name, &[3, 4, 3, 3], GainProfile::Tiny);
        let values = formula_values(name, &[3, 4, 3, 3], "", rule).expect("not skipped");
        for channel in values.chunks(36) {
            let sum: f64 = channel.iter().map(|v| f64::from(*v)).sum();
            assert!(sum.abs() < 1e-6, "{sum}");
        }
    }
}
