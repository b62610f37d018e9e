//! The sparse encoder and SECOND with its FPN: channels, strides and the shapes they lead to.

use super::super::derived::convolved;
use super::super::error::ConfigProblem;
use super::super::{BevDecoderSpec, FourierSpec, LidarEncoderSpec};
use super::Checker;

const GRID: &[&str] = &[
    "voxel.point_cloud_range",
    "voxel.voxel_size",
    "head.out_size_factor",
];
const ENCODER: &[&str] = &[
    "voxel.point_cloud_range",
    "voxel.voxel_size",
    "head.out_size_factor",
    "lidar_encoder.sparse_shape",
    "lidar_encoder.encoder_channels",
];
/// Basic blocks of a stage.
const BLOCKS: usize = 2;
/// Exponent beyond which 2ᵏ is not a useful frequency in single precision.
const MOST_FREQUENCIES: usize = 24;

impl Checker<'_> {
    pub(super) fn encoder(&mut self) {
        let Some(encoder) = &self.spec.lidar_encoder else {
            return;
        };
        self.positive("lidar_encoder.base_channels", encoder.base_channels);
        self.positive("lidar_encoder.output_channels", encoder.output_channels);
        self.sparse_shape(encoder);
        self.stages(encoder);
        if encoder.encoder_paddings.len() + 1 == encoder.encoder_channels.len() {
            self.encoder_bev();
        }
        if let Some(fourier) = &encoder.voxel_features {
            self.fourier(fourier);
        }
    }

    fn sparse_shape(&mut self, encoder: &LidarEncoderSpec) {
        let [x, y, z] = self.shapes.voxel_grid;
        let expected = [x, y, z.saturating_add(1)];
        if encoder.sparse_shape != expected {
            self.fail(
                GRID,
                ConfigProblem::new(
                    "lidar_encoder.sparse_shape",
                    format!("{expected:?}, the voxel grid with one more layer in z"),
                    format!("{:?}", encoder.sparse_shape),
                    "write the expected shape, or correct point_cloud_range and voxel_size",
                ),
            );
        }
    }

    fn stages(&mut self, encoder: &LidarEncoderSpec) {
        let key = "lidar_encoder.encoder_channels";
        let stages = encoder.encoder_channels.len();
        self.positive(key, stages);
        self.length(
            &["lidar_encoder.encoder_channels"],
            "lidar_encoder.encoder_paddings",
            &encoder.encoder_paddings,
            (stages.saturating_sub(1), "stage but the last"),
        );
        let mut entering = encoder.base_channels;
        for (i, channels) in encoder.encoder_channels.iter().enumerate() {
            let key = format!("{key}[{i}]");
            let last = i + 1 == stages;
            self.all_positive(&key, channels);
            let blocks = channels.get(..BLOCKS).unwrap_or_default();
            let right_length = channels.len() == if last { BLOCKS } else { BLOCKS + 1 };
            if !right_length || blocks.iter().any(|block| *block != entering) {
                let mut expected = format!("[{entering}, {entering}");
                expected.push_str(if last { "]" } else { ", C]" });
                self.fail(
                    &["lidar_encoder.base_channels", "lidar_encoder.encoder_channels"],
                    ConfigProblem::new(
                        key,
                        format!("{expected}: two basic blocks as wide as what enters the stage{}",
                            if last { "" } else { ", then the strided convolution" }),
                        format!("{channels:?}"),
                        "a basic block cannot change the width; the strided convolution before it does",
                    ),
                );
            }
            entering = channels.last().copied().unwrap_or(entering);
        }
    }

    fn encoder_bev(&mut self) {
        let [x, y, z] = self.shapes.encoder_out;
        let [bev_x, bev_y] = self.shapes.bev;
        if [x, y] != [bev_x, bev_y] {
            self.fail(
                ENCODER,
                ConfigProblem::new(
                    "lidar_encoder.encoder_paddings",
                    format!("{bev_x} x {bev_y} cells after the encoder (grid / out_size_factor)"),
                    format!("{x} x {y}"),
                    "use one strided stage per factor of 2 in out_size_factor, each with x, y padding 1",
                ),
            );
        }
        if z == 0 {
            self.fail(
                ENCODER,
                ConfigProblem::new(
                    "lidar_encoder.encoder_paddings",
                    "at least 3 z layers before the last convolution",
                    "fewer",
                    "use fewer stages, more z padding or thinner voxels",
                ),
            );
        }
    }

    fn fourier(&mut self, fourier: &FourierSpec) {
        const KEY: &str = "lidar_encoder.voxel_features";
        let frequencies = fourier.num_frequencies;
        self.within(
            &format!("{KEY}.num_frequencies"),
            frequencies as f64,
            ((1..=MOST_FREQUENCIES).contains(&frequencies), "1 to 24"),
        );
        let columns = (self.spec.points.use_dim.len(), "column of points.use_dim");
        for (name, bounds) in [("min", &fourier.min), ("max", &fourier.max)] {
            let key = format!("{KEY}.{name}");
            self.length(&["points.use_dim"], &key, bounds, columns);
        }
        for (i, (min, max)) in fourier.min.iter().zip(&fourier.max).enumerate() {
            if max <= min {
                self.fail(
                    &["lidar_encoder.voxel_features.min"],
                    ConfigProblem::new(
                        format!("{KEY}.max[{i}]"),
                        format!("more than min[{i}] = {min}"),
                        max.to_string(),
                        "write the channel's largest value",
                    ),
                );
            }
        }
    }

    pub(super) fn bev_decoder(&mut self) {
        let Some(decoder) = &self.spec.bev_decoder else {
            return;
        };
        const READS: &[&str] = &["bev_decoder.out_channels"];
        let blocks = (decoder.out_channels.len(), "block of out_channels");
        self.positive("bev_decoder.out_channels", blocks.0);
        for (name, list) in [
            ("out_channels", &decoder.out_channels),
            ("layer_nums", &decoder.layer_nums),
            ("layer_strides", &decoder.layer_strides),
            ("fpn_channels", &decoder.fpn_channels),
            ("upsample_strides", &decoder.upsample_strides),
        ] {
            let key = format!("bev_decoder.{name}");
            self.length(READS, &key, list, blocks);
            if name != "layer_nums" {
                self.all_positive(&key, list);
            }
        }
        self.layers("bev_decoder.layer_nums", &decoder.layer_nums);
        self.upsampling(decoder);
    }

    /// Every upsampled map must have the size of the BEV grid.
    fn upsampling(&mut self, decoder: &BevDecoderSpec) {
        let mut shape = self.shapes.bev;
        let strides = decoder.layer_strides.iter();
        for (i, (stride, upsample)) in strides.zip(&decoder.upsample_strides).enumerate() {
            shape = shape.map(|n| convolved(n, 3, (*stride).max(1), 1));
            let upsampled = shape.map(|n| n.saturating_mul(*upsample));
            if upsampled != self.shapes.bev {
                self.fail(
                    &["voxel", "head.out_size_factor", "bev_decoder.layer_strides"],
                    ConfigProblem::new(
                        format!("bev_decoder.upsample_strides[{i}]"),
                        format!("block {i} upsampled to the BEV grid {:?}", self.shapes.bev),
                        format!("{shape:?} x {upsample} = {upsampled:?}"),
                        "use the product of layer_strides up to this block; it must divide the grid",
                    ),
                );
            }
        }
    }
}
