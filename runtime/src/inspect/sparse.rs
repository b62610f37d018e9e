//! The stages before the dense networks: clouds, voxels, the sparse encoder.

use super::StageCost;
use crate::config::{LidarEncoderSpec, ModelConfig};

const KERNEL_VOLUME: u64 = 27;
/// Outputs of a 3×3×3 convolution of stride 2 that one input can reach.
const STRIDED_FAN: u64 = 8;
/// Kernel of the last convolution.
const OUT_VOLUME: u64 = 3;

pub(super) fn rows(config: &ModelConfig) -> Vec<StageCost> {
    let Some(encoder) = &config.lidar_encoder else {
        return Vec::new();
    };
    let columns = config.point_columns();
    let voxels = config.voxel.max_voxels;
    let mut rows = vec![row(
        "voxelize",
        "voxels (max_voxels)",
        vec![voxels, columns],
        [0, 0],
    )];
    if encoder.voxel_features.is_some() {
        let channels = config.encoder_in_channels();
        rows.push(row(
            "voxelize",
            "Fourier features",
            vec![voxels, channels],
            [0, 0],
        ));
    }
    rows.extend(encoder_rows(config, encoder));
    rows
}

fn encoder_rows(config: &ModelConfig, encoder: &LidarEncoderSpec) -> Vec<StageCost> {
    let mut rows = Vec::new();
    let mut sites = config.voxel.max_voxels as u64;
    let mut channels = config.encoder_in_channels() as u64;
    let mut shape = encoder.sparse_shape;
    let mut push = |step: String, sites: u64, [volume, from, to]: [u64; 3]| {
        let parameters = volume * from * to + to;
        let extents = vec![usize::try_from(sites).unwrap_or(usize::MAX), to as usize];
        rows.push(row(
            "sparse_encoder",
            &step,
            extents,
            [parameters, 2 * sites * volume * from * to],
        ));
    };
    let base = encoder.base_channels as u64;
    push(
        "enc.conv_input".into(),
        sites,
        [KERNEL_VOLUME, channels, base],
    );
    channels = base;
    for (index, stage) in encoder.encoder_channels.iter().enumerate() {
        for block in 0..stage.len().min(2) {
            for conv in 1..=2 {
                let step = format!("enc.stage{}.{block}.conv{conv}", index + 1);
                push(step, sites, [KERNEL_VOLUME, channels, channels]);
            }
        }
        if let (Some(padding), Some(next)) = (encoder.encoder_paddings.get(index), stage.get(2)) {
            let next = *next as u64;
            shape = std::array::from_fn(|axis| {
                (shape[axis] + 2 * padding[axis]).saturating_sub(3) / 2 + 1
            });
            let cells = shape.iter().map(|extent| *extent as u64).product::<u64>();
            sites = (sites * STRIDED_FAN).min(cells);
            push(
                format!("enc.stage{} stride 2", index + 1),
                sites,
                [KERNEL_VOLUME, channels, next],
            );
            channels = next;
        }
    }
    let [x, y, z] = config.encoder_out_shape();
    let out = encoder.output_channels as u64;
    sites = sites.min((x * y * z) as u64);
    push("enc.conv_out".into(), sites, [OUT_VOLUME, channels, out]);
    rows.push(row(
        "sparse_encoder",
        "enc.bev",
        vec![config.bev_channels(), x, y],
        [0, 0],
    ));
    rows
}

fn row(stage: &str, step: &str, shape: Vec<usize>, [parameters, flops]: [u64; 2]) -> StageCost {
    let bytes = 4 * shape.iter().map(|extent| *extent as u64).product::<u64>();
    StageCost {
        stage: stage.into(),
        step: step.into(),
        shape,
        parameters,
        flops,
        bytes,
    }
}
