//! The sparse encoder: voxel means to the LiDAR BEV map.
//!
//! In: distinct voxels in any order with grid coordinates x, y, z and means `[n, columns]`. Out: dense
//! `[C·Z, X, Y]` with channel c·Z + z; x is the row axis; exactly 0 where nothing is active. Voxels are
//! sorted once, so the result does not depend on their order. One submanifold table serves all
//! convolutions of a level. Reference: mmdetection3d `BEVFusionSparseEncoder`; AWML for the Fourier
//! features.

use bevfusion_kernels::reference::fourier::{FourierParams, fourier_features};
use bevfusion_kernels::reference::rulebook::{ConvGeometry, Rulebook};
use bevfusion_kernels::reference::sites::{SiteError, Sites};
use bevfusion_kernels::reference::sparse_to_dense::sparse_to_dense;
use bevfusion_kernels::reference::voxelize::Voxels;

use super::blocks::{BasicBlock, ConvNormRelu, ConvShape};
use crate::config::{FourierSpec, LidarEncoderSpec};
use crate::weights::{MissingWeight, Weights};

pub(crate) const PREFIX: &str = "pts_middle_encoder";
/// The convolution that closes the encoder: it halves z only.
pub(crate) const CONV_OUT: ConvGeometry = ConvGeometry {
    kernel: [1, 1, 3],
    stride: [1, 1, 2],
    padding: [0; 3],
};

/// Receives the sparse tensors on the way: name (`enc.stage1.0`), sites sorted by (x, y, z), features
/// `[n, channels]` after the ReLU.
pub type SparseObserver<'a> = dyn FnMut(&str, &[[i32; 3]], &[f32]) + 'a;

/// Voxels that do not fit the encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderInputError {
    /// Another number of values per voxel.
    #[error("voxel means have {found} columns, the encoder takes {expected} (points.use_dim)")]
    Columns {
        /// Columns that the encoder was built for.
        expected: usize,
        /// Columns of the voxels.
        found: usize,
    },
    /// Coordinates that are no sites of the sparse tensor.
    #[error("voxel coordinates do not fit lidar_encoder.sparse_shape: {0}")]
    Sites(#[from] SiteError),
}

/// The encoder with its weights and working memory.
#[derive(Clone, Debug)]
pub struct LidarEncoder {
    sparse_shape: [usize; 3],
    in_channels: usize,
    fourier: Option<FourierSpec>,
    input: ConvNormRelu,
    stages: Vec<Stage>,
    output: ConvNormRelu,
    output_channels: usize,
    levels: Vec<Level>,
    rows: Rows,
}

/// Basic blocks and, but in the last stage, the strided convolution that ends it.
#[derive(Clone, Debug)]
struct Stage {
    blocks: Vec<BasicBlock>,
    down: Option<(ConvGeometry, ConvNormRelu)>,
}

/// One resolution: its sites, its submanifold table and the table that leads to the next one.
#[derive(Clone, Debug, Default)]
struct Level {
    sites: Sites,
    submanifold: Rulebook,
    down: Rulebook,
}

/// Feature rows, reused from frame to frame.
#[derive(Clone, Debug, Default)]
struct Rows {
    order: Vec<u32>,
    mean: Vec<f32>,
    features: Vec<f32>,
    hidden: Vec<f32>,
    next: Vec<f32>,
    bev: Vec<f32>,
}

impl LidarEncoder {
    /// Builds the encoder of a checked description for voxel means of `in_channels` columns.
    ///
    /// # Errors
    /// When a weight is absent or has another shape than `spec` says.
    pub fn new(
        spec: &LidarEncoderSpec,
        in_channels: usize,
        weights: &Weights,
    ) -> Result<Self, MissingWeight> {
        let (stages, channels) = stages(spec, weights)?;
        let input = ConvShape {
            input: input_columns(spec.voxel_features.as_ref(), in_channels)?,
            output: spec.base_channels,
            kernel: [3; 3],
        };
        let output = ConvShape {
            input: channels,
            output: spec.output_channels,
            kernel: CONV_OUT.kernel,
        };
        Ok(Self {
            sparse_shape: spec.sparse_shape,
            in_channels,
            fourier: spec.voxel_features.clone(),
            input: conv(weights, &format!("{PREFIX}.conv_input"), input)?,
            levels: vec![Level::default(); stages.len() + 1],
            stages,
            output: conv(weights, &format!("{PREFIX}.conv_out"), output)?,
            output_channels: spec.output_channels,
            rows: Rows::default(),
        })
    }

    /// Extents of the BEV map: channels (C·Z), X, Y.
    #[must_use]
    pub fn output_shape(&self) -> [usize; 3] {
        let strided = self.stages.iter().filter_map(|stage| stage.down.as_ref());
        let deepest = strided.fold(self.sparse_shape, |shape, (geometry, _)| {
            geometry.output_shape(shape)
        });
        let [x, y, z] = CONV_OUT.output_shape(deepest);
        [self.output_channels * z, x, y]
    }

    /// Computes the BEV map of `voxels`; it stays valid until the next call.
    ///
    /// # Errors
    /// When the means have other columns, or a coordinate is outside the sparse shape or comes twice.
    pub fn run(
        &mut self,
        voxels: &Voxels,
        observer: Option<&mut SparseObserver<'_>>,
    ) -> Result<&[f32], EncoderInputError> {
        self.take_voxels(voxels)?;
        self.build_rulebooks();
        self.run_layers(observer);
        Ok(&self.rows.bev)
    }

    /// Sorts the voxels and makes the features of the first convolution.
    fn take_voxels(&mut self, voxels: &Voxels) -> Result<(), EncoderInputError> {
        if voxels.mean.len() != voxels.len() * self.in_channels {
            return Err(EncoderInputError::Columns {
                expected: self.in_channels,
                found: voxels.columns,
            });
        }
        let Rows {
            order,
            mean,
            features,
            ..
        } = &mut self.rows;
        self.levels[0]
            .sites
            .assign(self.sparse_shape, &voxels.coords, order)?;
        mean.clear();
        for row in order.iter() {
            let start = *row as usize * self.in_channels;
            mean.extend_from_slice(&voxels.mean[start..start + self.in_channels]);
        }
        match &self.fourier {
            Some(spec) => fourier_features(&fourier_params(spec), mean, features),
            None => std::mem::swap(mean, features),
        }
        Ok(())
    }

    fn build_rulebooks(&mut self) {
        for (index, stage) in self.stages.iter().enumerate() {
            let (upper, lower) = self.levels.split_at_mut(index + 1);
            let (Some(level), Some(next)) = (upper.last_mut(), lower.first_mut()) else {
                continue;
            };
            level.submanifold.build_submanifold([3; 3], &level.sites);
            level
                .down
                .build_strided(&stage.leads_on(), &level.sites, &mut next.sites);
        }
    }

    fn run_layers(&mut self, mut observer: Option<&mut SparseObserver<'_>>) {
        let Rows {
            features,
            hidden,
            next,
            bev,
            ..
        } = &mut self.rows;
        let first = &self.levels[0];
        self.input.run(&first.submanifold, features, None, next);
        std::mem::swap(features, next);
        observe(
            &mut observer,
            || "enc.conv_input".into(),
            &first.sites,
            features,
        );
        for (index, (stage, pair)) in self.stages.iter().zip(self.levels.windows(2)).enumerate() {
            let [level, below] = pair else { continue };
            for (b, block) in stage.blocks.iter().enumerate() {
                block.run(&level.submanifold, features, hidden, next);
                let name = || format!("enc.stage{}.{b}", index + 1);
                observe(&mut observer, name, &level.sites, features);
            }
            let sites = if let Some((_, conv)) = &stage.down {
                conv.run(&level.down, features, None, next);
                std::mem::swap(features, next);
                &below.sites
            } else {
                &level.sites
            };
            let name = || format!("enc.stage{}", index + 1);
            observe(&mut observer, name, sites, features);
        }
        let [.., deepest, last] = &self.levels[..] else {
            return;
        };
        self.output.run(&deepest.down, features, None, next);
        observe(&mut observer, || "enc.conv_out".into(), &last.sites, next);
        sparse_to_dense(&last.sites, next, self.output_channels, bev);
    }
}

impl Stage {
    /// What leads to the next level: the strided convolution, or the encoder's last.
    fn leads_on(&self) -> ConvGeometry {
        self.down
            .as_ref()
            .map_or(CONV_OUT, |(geometry, _)| *geometry)
    }
}

fn observe(
    observer: &mut Option<&mut SparseObserver<'_>>,
    name: impl FnOnce() -> String,
    sites: &Sites,
    features: &[f32],
) {
    if let Some(observer) = observer {
        observer(&name(), sites.coords(), features);
    }
}

pub(crate) fn fourier_params(spec: &FourierSpec) -> FourierParams<'_> {
    FourierParams {
        min: &spec.min,
        max: &spec.max,
        num_frequencies: spec.num_frequencies,
    }
}

/// Columns that the first convolution sees. The bounds are buffers of the checkpoint too, so bounds
/// that do not fit the points are reported as such.
pub(crate) fn input_columns(
    fourier: Option<&FourierSpec>,
    in_channels: usize,
) -> Result<usize, MissingWeight> {
    let Some(spec) = fourier else {
        return Ok(in_channels);
    };
    for (bound, values) in [("min", &spec.min), ("max", &spec.max)] {
        if values.len() != in_channels {
            return Err(MissingWeight::Mismatched {
                name: format!("{PREFIX}.aug_features_{bound}_values"),
                expected: vec![in_channels],
                found: vec![values.len()],
            });
        }
    }
    Ok(fourier_params(spec).output_columns())
}

/// The stages and the channels of the last one. A stage with a padding ends in a strided convolution.
fn stages(
    spec: &LidarEncoderSpec,
    weights: &Weights,
) -> Result<(Vec<Stage>, usize), MissingWeight> {
    let mut channels = spec.base_channels;
    let mut stages = Vec::new();
    for (index, outputs) in spec.encoder_channels.iter().enumerate() {
        let name = format!("{PREFIX}.encoder_layers.encoder_layer{}", index + 1);
        let down = outputs.split_last().zip(spec.encoder_paddings.get(index));
        let blocks = down.map_or(outputs.len(), |((_, blocks), _)| blocks.len());
        let blocks = (0..blocks)
            .map(|layer| BasicBlock::new(weights, &format!("{name}.{layer}"), channels))
            .collect::<Result<Vec<_>, _>>()?;
        let down = match down {
            Some(((output, _), padding)) => {
                let input = std::mem::replace(&mut channels, *output);
                let name = format!("{name}.{}", blocks.len());
                Some(strided(weights, &name, [input, *output], *padding)?)
            }
            None => None,
        };
        stages.push(Stage { blocks, down });
    }
    Ok((stages, channels))
}

fn strided(
    weights: &Weights,
    name: &str,
    [input, output]: [usize; 2],
    padding: [usize; 3],
) -> Result<(ConvGeometry, ConvNormRelu), MissingWeight> {
    let geometry = ConvGeometry {
        kernel: [3; 3],
        stride: [2; 3],
        padding,
    };
    let shape = ConvShape {
        input,
        output,
        kernel: geometry.kernel,
    };
    Ok((geometry, conv(weights, name, shape)?))
}

/// The convolution `name.0` with the batch norm `name.1`.
fn conv(weights: &Weights, name: &str, shape: ConvShape) -> Result<ConvNormRelu, MissingWeight> {
    ConvNormRelu::new(weights, &format!("{name}.0"), &format!("{name}.1"), shape)
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
