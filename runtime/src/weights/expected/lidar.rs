//! State-dict tensors of the sparse encoder (`pts_middle_encoder.`).

use super::TensorList;
use crate::config::LidarEncoderSpec;

/// Prefix of every tensor here.
pub(super) const PREFIX: &str = "pts_middle_encoder.";

const KERNEL: usize = 3;
const STRIDE: usize = 2;

/// Tensors of the encoder for points of `point_channels` channels.
pub(super) fn sparse_encoder(
    list: &mut TensorList,
    spec: &LidarEncoderSpec,
    point_channels: usize,
) {
    let mut input = point_channels;
    if let Some(fourier) = &spec.voxel_features {
        let channels = fourier.min.len();
        list.constant(format!("{PREFIX}aug_features_min_values"), &[channels]);
        list.constant(
            format!("{PREFIX}aug_features_max_values"),
            &[fourier.max.len()],
        );
        list.constant(format!("{PREFIX}exponents"), &[fourier.num_frequencies]);
        input = 2 * channels * fourier.num_frequencies;
    }
    let cube = |output: usize, input: usize| [output, KERNEL, KERNEL, KERNEL, input];
    let conv_input = format!("{PREFIX}conv_input");
    list.conv_then_norm(&conv_input, 0, &cube(spec.base_channels, input));
    let mut input = spec.base_channels;
    for (stage, channels) in spec.encoder_channels.iter().enumerate() {
        let ends_strided = stage + 1 < spec.encoder_channels.len();
        for (index, &output) in channels.iter().enumerate() {
            let module = format!("{PREFIX}encoder_layers.encoder_layer{}.{index}", stage + 1);
            if ends_strided && index + 1 == channels.len() {
                list.conv_then_norm(&module, 0, &cube(output, input));
            } else {
                for conv in 1..=2 {
                    list.weight(&format!("{module}.conv{conv}"), &cube(output, output));
                    list.batch_norm(&format!("{module}.bn{conv}"), output);
                }
            }
            input = output;
        }
    }
    let conv_out = format!("{PREFIX}conv_out");
    list.conv_then_norm(&conv_out, 0, &[spec.output_channels, 1, 1, KERNEL, input]);
}

/// Channels of the dense BEV map: those of `conv_out` times what is left of z.
pub(super) fn bev_channels(spec: &LidarEncoderSpec) -> usize {
    let strided =
        |extent: usize, padding: usize| (extent + 2 * padding).saturating_sub(KERNEL) / STRIDE + 1;
    let [_, _, z] = spec.sparse_shape;
    let z = spec
        .encoder_paddings
        .iter()
        .fold(z, |z, padding| strided(z, padding[2]));
    spec.output_channels * strided(z, 0)
}
