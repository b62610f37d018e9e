//! The LiDAR branch on the device: points to the LiDAR BEV map.
//!
//! Voxels, rulebooks and the sparse encoder of a model, with its weights. One submanifold table
//! serves all convolutions of a level; features live in a few buffers that take turns.

use bevfusion_kernels::cuda::rulebook::{PackedMap, Rulebooks, RulebooksConfig, StridedLevel};
use bevfusion_kernels::cuda::sparse_conv::{
    Activation, SparseConv, SparseConvBuffers, SparseConvKernels, SparseConvTarget,
    SparseConvWeights, padded_channels,
};
use bevfusion_kernels::cuda::sweep::{PointGrid, Sweep, SweepConfig};
use bevfusion_kernels::cuda::voxelize::{Voxelize, VoxelizeConfig};
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError, Stream};
use bevfusion_kernels::reference::rulebook::ConvGeometry;

use super::layout::DenseMap;
use crate::config::{LidarEncoderSpec, ModelSpec};
use crate::exec::BuildError;
use crate::lidar::blocks::{ConvShape, FoldedConv};
use crate::lidar::encoder::{CONV_OUT, PREFIX, fourier_params, input_columns};
use crate::lidar::{point_range, voxelize_params};
use crate::weights::Weights;

/// Rows of a level over `max_voxels`: what real clouds need at each stride, with room to spare.
const LEVEL_SHARE: [f64; 4] = [1.5, 0.75, 0.4, 0.4];
/// No level has less room than this, unless its grid is smaller.
const LEAST_ROWS: usize = 16_384;
/// Rows of a tile of the convolutions.
const TILE: usize = 128;

/// Features of a stage on the way, for whoever looks inside.
#[derive(Clone, Debug)]
pub struct EncoderTap {
    /// Name of the golden set, for example `enc.stage1.0`.
    pub name: String,
    /// Level of the rows.
    pub level: usize,
    /// fp16 `[rows, pitch]`; overwritten by a later stage.
    pub features: DeviceSlice<u16>,
    /// Real channels.
    pub channels: usize,
    /// Channels of a row in memory.
    pub pitch: usize,
    /// Convolutions that have run when the features are there.
    pub after: usize,
}

/// The LiDAR branch, ready to be enqueued.
#[derive(Debug)]
pub struct LidarProgram {
    voxelize: Voxelize,
    rulebooks: Rulebooks,
    convs: Vec<SparseConv>,
    bev: DeviceSlice<u16>,
    taps: Vec<EncoderTap>,
}

impl LidarProgram {
    /// Takes memory, packs weights; the result goes into `bev`, the map that the next network reads.
    ///
    /// # Errors
    /// When a weight is missing or the GPU refuses.
    pub fn new(
        arena: &DeviceArena,
        kernels: &SparseConvKernels,
        spec: &ModelSpec,
        weights: &Weights,
        bev: &DenseMap,
        sweep: &Sweep,
    ) -> Result<Self, BuildError> {
        let Some(encoder) = &spec.lidar_encoder else {
            return Err(refuse("the model has no LiDAR encoder"));
        };
        let Some(map) = bev.half() else {
            return Err(refuse("the LiDAR BEV map is not fp16"));
        };
        let context = arena.context();
        let grid = voxelize_params(&spec.voxel);
        let columns = input_columns(encoder.voxel_features.as_ref(), spec.points.use_dim.len())?;
        let voxels = VoxelizeConfig {
            max_points: grid.max_points,
            max_voxels: grid.max_voxels,
            channels: padded_channels(columns),
            fourier: encoder.voxel_features.as_ref().map(fourier_params),
            means: false,
        };
        let voxelize = Voxelize::new(context, arena, sweep, &voxels)?;
        let strided = levels(encoder, grid.max_voxels);
        let submanifold = vec![Some([3; 3]); strided.len()];
        let maps = RulebooksConfig {
            strided: &strided,
            submanifold: &submanifold,
        };
        let rulebooks = Rulebooks::new(context, arena, &voxelize, &maps)?;
        let mut layers = Layers {
            arena,
            kernels,
            weights,
            rulebooks: &rulebooks,
            memory: Vec::new(),
            convs: Vec::new(),
            taps: Vec::new(),
        };
        let input = Rows {
            features: voxelize.buffers().features.clone(),
            channels: columns,
            level: 0,
        };
        layers.take_memory(encoder)?;
        layers.encoder(encoder, input, (map, bev))?;
        Ok(Self {
            convs: layers.convs,
            taps: layers.taps,
            bev: map.clone(),
            voxelize,
            rulebooks,
        })
    }

    /// Voxels and counts of the frame.
    #[must_use]
    pub const fn voxelize(&self) -> &Voxelize {
        &self.voxelize
    }

    /// Sites and rulebooks of the frame.
    #[must_use]
    pub const fn rulebooks(&self) -> &Rulebooks {
        &self.rulebooks
    }

    /// Features on the way.
    #[must_use]
    pub fn taps(&self) -> &[EncoderTap] {
        &self.taps
    }

    /// Points to voxels.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_voxels(&self, stream: &Stream) -> Result<(), DriverError> {
        self.voxelize.enqueue(stream)
    }

    /// Empties the BEV map, all of it: a camera's channels lie in the same memory, so that this comes before
    /// anything of either branch that writes there.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_empty_map(&self, stream: &Stream) -> Result<(), DriverError> {
        self.bev.fill_bytes(stream, 0)
    }

    /// Voxels to the BEV map, which is empty.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_encoder(&self, stream: &Stream) -> Result<(), DriverError> {
        self.rulebooks.enqueue(stream)?;
        self.enqueue_convs(stream, 0..self.convs.len())
    }

    /// The convolutions `which` alone, after the rulebooks.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_convs(
        &self,
        stream: &Stream,
        which: std::ops::Range<usize>,
    ) -> Result<(), DriverError> {
        let convs = self.convs.get(which).unwrap_or_default();
        convs.iter().try_for_each(|conv| conv.enqueue(stream))
    }
}

/// Gathers the points of a model's frames. Without an encoder the grid only says which points count.
///
/// # Errors
/// When extents do not fit together or the driver refuses.
pub(super) fn sweep(
    arena: &DeviceArena,
    spec: &ModelSpec,
    point_capacity: usize,
) -> Result<Sweep, DriverError> {
    let grid = voxelize_params(&spec.voxel);
    let encoder = spec.lidar_encoder.as_ref();
    let config = SweepConfig {
        point_capacity,
        use_dim: &spec.points.use_dim,
        time_column: spec.points.time_column,
        range: point_range(&spec.voxel),
        grid: PointGrid {
            min: grid.min,
            size: grid.size,
            grid: grid.grid,
            sparse_shape: encoder.map_or(grid.grid, |encoder| encoder.sparse_shape),
        },
    };
    Sweep::new(arena.context(), arena, &config)
}

/// Levels 1, 2, … with the room that each has.
fn levels(encoder: &LidarEncoderSpec, max_voxels: usize) -> Vec<StridedLevel> {
    let strided = encoder.encoder_paddings.iter().map(|padding| ConvGeometry {
        kernel: [3; 3],
        stride: [2; 3],
        padding: *padding,
    });
    let mut shape = encoder.sparse_shape;
    let geometries: Vec<ConvGeometry> = strided.chain([CONV_OUT]).collect();
    let mut levels = Vec::new();
    for (index, geometry) in geometries.into_iter().enumerate() {
        shape = geometry.output_shape(shape);
        let share = LEVEL_SHARE[index.min(LEVEL_SHARE.len() - 1)];
        let wanted = (max_voxels as f64 * share).ceil() as usize;
        let volume: usize = shape.iter().product();
        levels.push(StridedLevel {
            geometry,
            capacity: wanted.max(LEAST_ROWS).min(volume).next_multiple_of(TILE),
        });
    }
    levels
}

/// Features of the rows of a level.
#[derive(Clone)]
struct Rows {
    features: DeviceSlice<u16>,
    channels: usize,
    level: usize,
}

struct Layers<'a> {
    arena: &'a DeviceArena,
    kernels: &'a SparseConvKernels,
    weights: &'a Weights,
    rulebooks: &'a Rulebooks,
    memory: Vec<DeviceSlice<u16>>,
    convs: Vec<SparseConv>,
    taps: Vec<EncoderTap>,
}

impl Layers<'_> {
    fn encoder(
        &mut self,
        spec: &LidarEncoderSpec,
        input: Rows,
        bev: (&DeviceSlice<u16>, &DenseMap),
    ) -> Result<(), BuildError> {
        let first = self.folded("conv_input", [input.channels, spec.base_channels], [3; 3])?;
        let map = self.submanifold(0)?;
        let mut x = self.rows(&first, &map, &input, None)?;
        self.tap("enc.conv_input", &x);
        for (stage, outputs) in spec.encoder_channels.iter().enumerate() {
            let name = format!("encoder_layers.encoder_layer{}", stage + 1);
            let down = spec.encoder_paddings.get(stage).and(outputs.last());
            let blocks = outputs.len() - usize::from(down.is_some());
            let map = self.submanifold(stage)?;
            for block in 0..blocks {
                x = self.block(&format!("{name}.{block}"), &map, &x)?;
                self.tap(&format!("enc.stage{}.{block}", stage + 1), &x);
            }
            if let Some(output) = down {
                let conv =
                    self.folded(&format!("{name}.{blocks}"), [x.channels, *output], [3; 3])?;
                let map = self.strided(stage)?;
                x = self.rows(&conv, &map, &x, None)?;
            }
            self.tap(&format!("enc.stage{}", stage + 1), &x);
        }
        let last = self.folded(
            "conv_out",
            [x.channels, spec.output_channels],
            CONV_OUT.kernel,
        )?;
        let map = self.strided(x.level)?;
        let level = &self.rulebooks.levels()[x.level + 1];
        let (memory, layout) = bev;
        let target = SparseConvTarget::Dense {
            map: memory.clone(),
            pitch: layout.pitch(),
            channel: layout.offset(),
            sites: level.site.clone(),
            z_extent: level.shape[2],
        };
        self.push(&last, &map, &x, None, target)
    }

    /// Two convolutions around which the input is added.
    fn block(&mut self, name: &str, map: &PackedMap, x: &Rows) -> Result<Rows, BuildError> {
        let channels = [x.channels; 2];
        let conv = |this: &Self, index: usize| {
            let of = |what: &str| format!("{PREFIX}.{name}.{what}{index}");
            this.folded_as(&of("conv"), &of("bn"), channels, [3; 3])
        };
        let (first, second) = (conv(self, 1)?, conv(self, 2)?);
        let hidden = self.rows(&first, map, x, None)?;
        self.rows(&second, map, &hidden, Some(x))
    }

    fn rows(
        &mut self,
        conv: &FoldedConv,
        map: &PackedMap,
        input: &Rows,
        residual: Option<&Rows>,
    ) -> Result<Rows, BuildError> {
        // Whatever neither the input nor the residual lies in is free.
        let taken = |memory: &DeviceSlice<u16>| {
            let rows = [Some(input), residual].into_iter().flatten();
            rows.map(|rows| rows.features.address())
                .any(|address| address == memory.address())
        };
        let free = self.memory.iter().find(|memory| !taken(memory)).cloned();
        let out = free.ok_or_else(|| refuse("all memory of features is in use"))?;
        self.push(
            conv,
            map,
            input,
            residual,
            SparseConvTarget::Rows(out.clone()),
        )?;
        Ok(Rows {
            features: out,
            channels: conv.shape.output,
            level: map.output_level,
        })
    }

    fn push(
        &mut self,
        conv: &FoldedConv,
        map: &PackedMap,
        input: &Rows,
        residual: Option<&Rows>,
        target: SparseConvTarget,
    ) -> Result<(), BuildError> {
        let buffers = SparseConvBuffers {
            features: input.features.clone(),
            entries: map.entry.clone(),
            entry_stride: map.shape.row_stride,
            residual: residual.map(|rows| rows.features.clone()),
            rows: self.rulebooks.rows().part(map.output_level, 1),
            target,
        };
        let weights = SparseConvWeights {
            output: conv.shape.output,
            input: conv.shape.input,
            kernel: conv.shape.kernel,
            weight: &conv.weight,
            bias: &conv.bias,
        };
        let conv = SparseConv::new(
            self.kernels,
            self.arena,
            &weights,
            buffers,
            Activation::Relu,
        )?;
        self.convs.push(conv);
        Ok(())
    }

    fn tap(&mut self, name: &str, rows: &Rows) {
        self.taps.push(EncoderTap {
            name: name.to_owned(),
            level: rows.level,
            features: rows.features.clone(),
            channels: rows.channels,
            pitch: padded_channels(rows.channels),
            after: self.convs.len(),
        });
    }

    /// Three buffers, each for the features of any level.
    fn take_memory(&mut self, spec: &LidarEncoderSpec) -> Result<(), DriverError> {
        let widths = spec.encoder_channels.iter().map(|blocks| {
            let widest = blocks.iter().copied().max().unwrap_or(0);
            padded_channels(widest)
        });
        let levels = self.rulebooks.levels().iter().zip(widths);
        let first = padded_channels(spec.base_channels);
        let sizes = levels.map(|(level, width)| {
            let rows = level.capacity.next_multiple_of(TILE);
            rows * width.max(first)
        });
        let largest = sizes.max().unwrap_or(0);
        for _ in 0..3 {
            let memory = self.arena.take("sparse features", largest)?;
            self.memory.push(memory);
        }
        Ok(())
    }

    fn folded(
        &self,
        name: &str,
        channels: [usize; 2],
        kernel: [usize; 3],
    ) -> Result<FoldedConv, BuildError> {
        let name = format!("{PREFIX}.{name}");
        self.folded_as(&format!("{name}.0"), &format!("{name}.1"), channels, kernel)
    }

    fn folded_as(
        &self,
        conv: &str,
        norm: &str,
        [input, output]: [usize; 2],
        kernel: [usize; 3],
    ) -> Result<FoldedConv, BuildError> {
        let shape = ConvShape {
            input,
            output,
            kernel,
        };
        Ok(FoldedConv::new(self.weights, conv, norm, shape)?)
    }

    fn submanifold(&self, level: usize) -> Result<PackedMap, BuildError> {
        let map = self.rulebooks.submanifold(level).cloned();
        map.ok_or_else(|| refuse("the encoder has more stages than rulebooks"))
    }

    fn strided(&self, level: usize) -> Result<PackedMap, BuildError> {
        let map = self.rulebooks.strided(level).cloned();
        map.ok_or_else(|| refuse("the encoder has more stages than rulebooks"))
    }
}

fn refuse(problem: &str) -> BuildError {
    let problem = problem.to_owned();
    BuildError::Driver(DriverError::Arguments {
        kernel: "lidar encoder",
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::{LEAST_ROWS, TILE, levels};
    use crate::config::ModelConfig;

    #[test]
    fn levels_have_room_in_whole_tiles_and_none_beyond_their_grid() {
        let config = ModelConfig::preset("nuscenes_L").expect("a shipped model");
        let encoder = config.lidar_encoder.as_ref().expect("a LiDAR model");
        for max_voxels in [1, 1000, 160_000] {
            let levels = levels(encoder, max_voxels);
            assert_eq!(levels.len(), 4);
            let mut shape = encoder.sparse_shape;
            for level in &levels {
                shape = level.geometry.output_shape(shape);
                let volume: usize = shape.iter().product();
                assert!(level.capacity.is_multiple_of(TILE));
                assert!(level.capacity < volume + TILE);
                assert!(level.capacity >= LEAST_ROWS.min(volume));
            }
            assert_eq!(shape, [180, 180, 2]);
        }
    }
}
