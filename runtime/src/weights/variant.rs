//! Which variant a set of tensors is, by a few telling shapes: the remedy when a checkpoint does not fit.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{DepthNetForm, ModelSpec};

/// What tells the variants apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    classes: Option<usize>,
    /// Input channels of the sparse encoder; `None`: no LiDAR branch.
    encoder_channels: Option<usize>,
    /// Form of the depth net; `None`: no camera branch.
    camera: Option<DepthNetForm>,
}

/// The shipped variants: name, classes, encoder input channels, camera branch.
const VARIANTS: [(&str, usize, Option<usize>, Option<DepthNetForm>); 8] = [
    ("nuscenes_L", 10, Some(5), None),
    ("nuscenes_CL", 10, Some(5), Some(DepthNetForm::Mmdet3d)),
    ("t4_L", 5, Some(32), None),
    ("t4_L_intensity", 5, Some(50), None),
    ("t4_L_offline", 5, Some(5), None),
    ("t4_L_offline", 5, Some(4), None),
    ("t4_CL", 5, Some(5), Some(DepthNetForm::Awml)),
    ("t4_C", 5, None, Some(DepthNetForm::Awml)),
];

impl Traits {
    /// Traits of tensors under our names.
    pub(super) fn of_shapes(shapes: &BTreeMap<String, Vec<usize>>) -> Self {
        let form = if shapes.contains_key("view_transform.depthnet.net.0.weight") {
            Some(DepthNetForm::Awml)
        } else if shapes.contains_key("view_transform.depthnet.0.weight") {
            Some(DepthNetForm::Mmdet3d)
        } else {
            None
        };
        let first = |name: &str| shapes.get(name).and_then(|shape| shape.first().copied());
        let kernel = shapes.get("pts_middle_encoder.conv_input.0.weight");
        Self {
            classes: first("bbox_head.heatmap_head.1.bias"),
            encoder_channels: kernel.and_then(|shape| input_channels(shape)),
            camera: form,
        }
    }

    /// Traits of a model.
    pub(super) fn of_spec(spec: &ModelSpec) -> Self {
        let channels = spec.lidar_encoder.as_ref().map(|encoder| {
            let fourier = encoder.voxel_features.as_ref();
            fourier.map_or(spec.points.use_dim.len(), |f| {
                2 * f.num_frequencies * f.min.len()
            })
        });
        Self {
            classes: Some(spec.class_names.len()),
            encoder_channels: channels,
            camera: spec.camera.as_ref().map(|c| c.view_transform.form),
        }
    }

    fn name(&self) -> Option<&'static str> {
        VARIANTS
            .into_iter()
            .find(|(_, classes, channels, camera)| {
                self.classes == Some(*classes)
                    && self.encoder_channels == *channels
                    && self.camera == *camera
            })
            .map(|(name, ..)| name)
    }
}

/// Of `[out, 3, 3, 3, in]` or `[3, 3, 3, in, out]`.
fn input_channels(shape: &[usize]) -> Option<usize> {
    match shape {
        [3, 3, 3, input, _] | [_, 3, 3, 3, input] => Some(*input),
        _ => None,
    }
}

impl fmt::Display for Traits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.encoder_channels {
            Some(channels) => write!(f, "{channels} input channels")?,
            None => write!(f, "no LiDAR branch")?,
        }
        match self.camera {
            Some(DepthNetForm::Mmdet3d) => write!(f, ", a camera branch of mmdetection3d's form")?,
            Some(DepthNetForm::Awml) => write!(f, ", a camera branch of AWML's form")?,
            None => write!(f, ", no camera branch")?,
        }
        match self.classes {
            Some(classes) => write!(f, ", {classes} classes"),
            None => write!(f, ", no head"),
        }
    }
}

/// What to do about tensors that do not fit `spec`; `None` when they are of the same variant, or of no
/// BEVFusion at all.
pub(super) fn remedy(shapes: &BTreeMap<String, Vec<usize>>, spec: &ModelSpec) -> Option<String> {
    let (found, wanted) = (Traits::of_shapes(shapes), Traits::of_spec(spec));
    let nothing = found.encoder_channels.is_none() && found.camera.is_none();
    if found == wanted || nothing {
        return None;
    }
    let model = &spec.name;
    Some(match found.name() {
        Some(name) => {
            format!("this looks like {name}: {found}. {model} has {wanted}. Import it as {name}")
        }
        None => format!(
            "the tensors have {found}; {model} has {wanted}. Use the description that they were trained with"
        ),
    })
}
