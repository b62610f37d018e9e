//! Sizes that follow from a model description: grids, channels and counts.

use super::{FourierSpec, LidarEncoderSpec, ModelConfig, ModelSpec, ViewTransformSpec};

/// Kernel edge, stride of the convolution that ends a stage.
const STAGE_KERNEL: usize = 3;
const STAGE_STRIDE: usize = 2;
/// z kernel and stride of the encoder's last convolution; x and y stay.
const OUT_KERNEL_Z: usize = 3;
const OUT_STRIDE_Z: usize = 2;

/// Derived sizes, computed once. A size that the description does not determine is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shapes {
    pub(super) voxel_grid: [usize; 3],
    pub(super) bev: [usize; 2],
    /// Extent of the sparse tensor after the whole encoder.
    pub(super) encoder_out: [usize; 3],
    pub(super) pooled: [usize; 2],
    pub(super) depth_bins: usize,
}

impl Shapes {
    pub(super) fn of(spec: &ModelSpec) -> Self {
        let voxel = &spec.voxel;
        let [x0, y0, z0, x1, y1, z1] = voxel.point_cloud_range;
        let [sx, sy, sz] = voxel.voxel_size;
        let voxel_grid = [cells(x0, x1, sx), cells(y0, y1, sy), cells(z0, z1, sz)];
        let factor = spec.head.out_size_factor;
        let per_cell = |n: usize| n.checked_div(factor).unwrap_or(0);
        let view = spec.camera.as_ref().map(|camera| &camera.view_transform);
        Self {
            voxel_grid,
            bev: [per_cell(voxel_grid[0]), per_cell(voxel_grid[1])],
            encoder_out: spec.lidar_encoder.as_ref().map_or([0; 3], encoder_out),
            pooled: view.map_or([0; 2], |view| {
                [bound_cells(view.x_bound), bound_cells(view.y_bound)]
            }),
            depth_bins: view.map_or(0, depth_bins),
        }
    }
}

/// Cells of an axis, rounded to the nearest whole number.
fn cells(lower: f64, upper: f64, size: f64) -> usize {
    ((upper - lower) / size).round() as usize
}

fn bound_cells([lower, upper, step]: [f64; 3]) -> usize {
    cells(lower, upper, step)
}

/// As `torch.arange` counts: the end is not a bin.
fn depth_bins(view: &ViewTransformSpec) -> usize {
    let [first, end, step] = view.d_bound;
    ((end - first) / step).ceil() as usize
}

/// ⌊(n + 2p − k)/s⌋ + 1; 0 when the kernel is larger than the padded input.
pub(super) fn convolved(n: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    let room = (n + 2 * padding).checked_sub(kernel);
    room.map_or(0, |room| room / stride + 1)
}

fn encoder_out(encoder: &LidarEncoderSpec) -> [usize; 3] {
    let mut shape = encoder.sparse_shape;
    for padding in &encoder.encoder_paddings {
        for (n, p) in shape.iter_mut().zip(padding) {
            *n = convolved(*n, STAGE_KERNEL, STAGE_STRIDE, *p);
        }
    }
    let [x, y, z] = shape;
    [x, y, convolved(z, OUT_KERNEL_Z, OUT_STRIDE_Z, 0)]
}

/// Channels of the Fourier features of `columns` point columns.
fn fourier_channels(fourier: &FourierSpec, columns: usize) -> usize {
    2 * columns * fourier.num_frequencies
}

impl ModelConfig {
    /// Voxels along x, y, z.
    #[must_use]
    pub fn voxel_grid(&self) -> [usize; 3] {
        self.shapes.voxel_grid
    }

    /// Cells of the BEV map along x (rows) and y (columns).
    #[must_use]
    pub fn bev_shape(&self) -> [usize; 2] {
        self.shapes.bev
    }

    /// Edge of a BEV cell along x and y (m).
    #[must_use]
    pub fn cell_size(&self) -> [f64; 2] {
        let [x, y, _] = self.voxel.voxel_size;
        let factor = self.head.out_size_factor as f64;
        [x * factor, y * factor]
    }

    /// Columns of a point that go into the network.
    #[must_use]
    pub fn point_columns(&self) -> usize {
        self.points.use_dim.len()
    }

    /// Whether the model has a sparse LiDAR encoder.
    #[must_use]
    pub fn has_lidar(&self) -> bool {
        self.lidar_encoder.is_some()
    }

    /// Whether the model has a camera branch.
    #[must_use]
    pub fn has_camera(&self) -> bool {
        self.camera.is_some()
    }

    /// Cameras; 0 without a camera branch.
    #[must_use]
    pub fn camera_count(&self) -> usize {
        let camera = self.camera.as_ref();
        camera.map_or(0, |camera| camera.camera_order.len())
    }

    /// Channels into the sparse encoder: the point columns, or their Fourier features.
    #[must_use]
    pub fn encoder_in_channels(&self) -> usize {
        let columns = self.point_columns();
        let encoder = self.lidar_encoder.as_ref();
        let fourier = encoder.and_then(|encoder| encoder.voxel_features.as_ref());
        fourier.map_or(columns, |fourier| fourier_channels(fourier, columns))
    }

    /// x, y, z extent of the sparse tensor after the whole encoder; 0 without one.
    #[must_use]
    pub fn encoder_out_shape(&self) -> [usize; 3] {
        self.shapes.encoder_out
    }

    /// Channels of the LiDAR BEV map, `output_channels` times the z extent; 0 without an encoder.
    #[must_use]
    pub fn bev_channels(&self) -> usize {
        let [_, _, z] = self.shapes.encoder_out;
        let encoder = self.lidar_encoder.as_ref();
        encoder.map_or(0, |encoder| encoder.output_channels * z)
    }

    /// Channels of the camera BEV map; 0 without a camera branch.
    #[must_use]
    pub fn camera_bev_channels(&self) -> usize {
        let camera = self.camera.as_ref();
        camera.map_or(0, |camera| camera.view_transform.out_channels)
    }

    /// Depth bins of the view transform; 0 without a camera branch.
    #[must_use]
    pub fn depth_bins(&self) -> usize {
        self.shapes.depth_bins
    }

    /// Cells of the pooled camera map along x and y, before it is downsampled; 0 without cameras.
    #[must_use]
    pub fn pooled_shape(&self) -> [usize; 2] {
        self.shapes.pooled
    }

    /// Channels into SECOND, or into the head where there is none: the fused map, or the map of
    /// the only branch.
    #[must_use]
    pub fn decoder_in_channels(&self) -> usize {
        match &self.fuser {
            Some(fuser) => fuser.out_channels,
            None => self.bev_channels() + self.camera_bev_channels(),
        }
    }

    /// Channels into the head.
    #[must_use]
    pub fn head_in_channels(&self) -> usize {
        match &self.bev_decoder {
            Some(decoder) => decoder.fpn_channels.iter().sum(),
            None => self.decoder_in_channels(),
        }
    }
}
