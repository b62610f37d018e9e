//! What a model expects: every state-dict tensor with its shape, derived from the model description.
//!
//! Names and shapes are those of mmdetection3d and AWML. Layouts: Conv2d `[out, in, kh, kw]`, Conv1d
//! `[out, in, k]`, Linear `[out, in]`, ConvTranspose2d `[in, out, kh, kw]`, sparse convolutions
//! `[out, kx, ky, kz, in]`.

mod bev;
mod camera;
mod lidar;

pub(super) use camera::{depth_bins, pooled_cells};

use crate::config::ModelSpec;

/// What a state-dict tensor is to a network that only predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TensorKind {
    /// Trained value.
    Parameter,
    /// Statistic gathered in training, needed for prediction.
    Buffer,
    /// Follows from the model description or is a counter: read for a check, never needed.
    Constant,
}

/// One tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// State-dict name.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
}

impl ExpectedTensor {
    /// Whether this is the kernel of a sparse convolution, `[out, kx, ky, kz, in]`.
    #[must_use]
    pub fn is_sparse_kernel(&self) -> bool {
        self.shape.len() == SPARSE_KERNEL_DIMENSIONS && self.name.starts_with(lidar::PREFIX)
    }
}

const SPARSE_KERNEL_DIMENSIONS: usize = 5;

/// Every tensor of the model's state dict, sorted by name.
#[must_use]
pub fn expected_tensors(spec: &ModelSpec) -> Vec<ExpectedTensor> {
    let mut list = TensorList::default();
    let mut bev_channels = 0;
    if let Some(camera) = &spec.camera {
        camera::camera(&mut list, camera);
        bev_channels = camera.view_transform.out_channels;
    }
    if let Some(encoder) = &spec.lidar_encoder {
        lidar::sparse_encoder(&mut list, encoder, spec.points.use_dim.len());
        let lidar_channels = lidar::bev_channels(encoder);
        bev_channels = match &spec.fuser {
            Some(fuser) => {
                bev::fuser(&mut list, fuser, bev_channels + lidar_channels);
                fuser.out_channels
            }
            None => lidar_channels,
        };
    }
    if let Some(decoder) = &spec.bev_decoder {
        bev::decoder(&mut list, decoder, bev_channels);
        bev_channels = decoder.fpn_channels.iter().sum();
    }
    bev::head(&mut list, &spec.head, bev_channels, spec.class_names.len());
    list.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    list.tensors
}

/// Tensors in the order in which the modules name them.
#[derive(Default)]
struct TensorList {
    tensors: Vec<ExpectedTensor>,
}

impl TensorList {
    fn add(&mut self, name: String, shape: &[usize], kind: TensorKind) {
        let shape = shape.to_vec();
        self.tensors.push(ExpectedTensor { name, shape, kind });
    }

    fn parameter(&mut self, name: String, shape: &[usize]) {
        self.add(name, shape, TensorKind::Parameter);
    }

    fn constant(&mut self, name: String, shape: &[usize]) {
        self.add(name, shape, TensorKind::Constant);
    }

    /// `module.weight` of the given shape, no bias.
    fn weight(&mut self, module: &str, shape: &[usize]) {
        self.parameter(format!("{module}.weight"), shape);
    }

    /// `module.weight` of the given shape and `module.bias` of `shape[0]`.
    fn biased(&mut self, module: &str, shape: &[usize]) {
        self.weight(module, shape);
        self.parameter(format!("{module}.bias"), &shape[..1]);
    }

    /// Layer norm: weight and bias.
    fn layer_norm(&mut self, module: &str, channels: usize) {
        self.biased(module, &[channels]);
    }

    /// Batch norm: weight, bias, statistics and the step counter.
    fn batch_norm(&mut self, module: &str, channels: usize) {
        self.biased(module, &[channels]);
        for statistic in ["running_mean", "running_var"] {
            let name = format!("{module}.{statistic}");
            self.add(name, &[channels], TensorKind::Buffer);
        }
        self.constant(format!("{module}.num_batches_tracked"), &[]);
    }

    /// mmcv's ConvModule: `module.conv` without bias and `module.bn`.
    fn conv_module(&mut self, module: &str, shape: &[usize]) {
        self.weight(&format!("{module}.conv"), shape);
        self.batch_norm(&format!("{module}.bn"), shape[0]);
    }

    /// A convolution at `index` of a Sequential and its batch norm right after, no bias.
    fn conv_then_norm(&mut self, sequential: &str, index: usize, shape: &[usize]) {
        self.weight(&format!("{sequential}.{index}"), shape);
        self.batch_norm(&format!("{sequential}.{}", index + 1), shape[0]);
    }
}
