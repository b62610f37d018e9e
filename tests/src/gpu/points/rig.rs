//! The launchers of one case, captured in a graph, and what a run leaves behind.

use std::sync::Arc;

use bevfusion_kernels::cuda::frame::{CloudData, CloudHeader, FrameCounts, FrameHeader, NO_POINT};
use bevfusion_kernels::cuda::packed_rulebook::TILE_ROWS;
use bevfusion_kernels::cuda::rulebook::{PackedMap, Rulebooks, RulebooksConfig, StridedLevel};
use bevfusion_kernels::cuda::sweep::{PointGrid, Sweep, SweepConfig};
use bevfusion_kernels::cuda::voxelize::{Voxelize, VoxelizeConfig};
use bevfusion_kernels::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Graph, PinnedSlice, Priority, Stream,
};
use bevfusion_kernels::reference::fourier::FourierParams;

use super::scene::Cloud;

/// Bounds and frequencies of Fourier features.
#[derive(Clone, Debug)]
pub(super) struct Fourier {
    pub(super) min: Vec<f32>,
    pub(super) max: Vec<f32>,
    pub(super) frequencies: usize,
}

impl Fourier {
    pub(super) fn params(&self) -> FourierParams<'_> {
        FourierParams {
            min: &self.min,
            max: &self.max,
            num_frequencies: self.frequencies,
        }
    }
}

/// Configuration of all launchers.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) point_capacity: usize,
    pub(super) use_dim: Vec<usize>,
    pub(super) time_column: usize,
    pub(super) range: [f32; 6],
    pub(super) grid: PointGrid,
    pub(super) max_points: usize,
    pub(super) max_voxels: usize,
    pub(super) channels: usize,
    pub(super) fourier: Option<Fourier>,
    pub(super) means: bool,
    pub(super) strided: Vec<StridedLevel>,
    pub(super) submanifold: Vec<Option<[usize; 3]>>,
}

/// Valid parts of what a run left on the device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) counts: FrameCounts,
    pub(super) cell: Vec<u32>,
    /// Rows of kept points, as bits.
    pub(super) points: Vec<u32>,
    pub(super) features: Vec<u16>,
    /// As bits.
    pub(super) means: Vec<u32>,
    pub(super) sites: Vec<Vec<u32>>,
    /// `[tap][rows, rounded up to a tile]`, submanifold ones first.
    pub(super) maps: Vec<Vec<u32>>,
}

/// Memory of the clouds of a frame.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    headers: Vec<CloudHeader>,
    _device: Vec<DeviceSlice<u8>>,
    _pinned: Vec<PinnedSlice<u8>>,
}

#[derive(Debug)]
pub(super) struct Rig {
    context: Arc<Context>,
    pub(super) stream: Stream,
    pub(super) header: PinnedSlice<FrameHeader>,
    pub(super) sweep: Sweep,
    pub(super) voxelize: Voxelize,
    pub(super) rulebooks: Rulebooks,
}

impl Rig {
    pub(super) fn new(context: &Arc<Context>, setup: &Setup) -> Result<Self, DriverError> {
        let arena = DeviceArena::new(context);
        let sweep = SweepConfig {
            point_capacity: setup.point_capacity,
            use_dim: &setup.use_dim,
            time_column: setup.time_column,
            range: setup.range,
            grid: setup.grid,
        };
        let sweep = Sweep::new(context, &arena, &sweep)?;
        let voxelize = VoxelizeConfig {
            max_points: setup.max_points,
            max_voxels: setup.max_voxels,
            channels: setup.channels,
            fourier: setup.fourier.as_ref().map(Fourier::params),
            means: setup.means,
        };
        let voxelize = Voxelize::new(context, &arena, &sweep, &voxelize)?;
        let rulebooks = RulebooksConfig {
            strided: &setup.strided,
            submanifold: &setup.submanifold,
        };
        let rulebooks = Rulebooks::new(context, &arena, &voxelize, &rulebooks)?;
        arena.seal();
        Ok(Self {
            context: Arc::clone(context),
            stream: Stream::new(context, Priority::Normal)?,
            header: PinnedSlice::new(context, 1)?,
            sweep,
            voxelize,
            rulebooks,
        })
    }

    /// Puts clouds where the device reads them and names them in the header.
    pub(super) fn load(&mut self, clouds: &[Cloud]) -> Result<Loaded, DriverError> {
        let arena = DeviceArena::new(&self.context);
        let mut loaded = Loaded::default();
        for cloud in clouds {
            let bytes = cloud.encoded();
            let start = if cloud.pinned {
                let mut memory = PinnedSlice::new(&self.context, bytes.len())?;
                memory.as_mut_slice().copy_from_slice(&bytes);
                let address = memory.device_address();
                loaded._pinned.push(memory);
                address
            } else {
                let memory = arena.take_with("cloud", &bytes)?;
                let address = memory.address();
                loaded._device.push(memory);
                address
            };
            let data = CloudData {
                address: start + cloud.lead as u64,
                points: cloud.points(),
            };
            let header = self.sweep.cloud(data, &cloud.layout, &cloud.placement)?;
            loaded.headers.push(header);
        }
        if let Some(header) = self.header.as_mut_slice().first_mut() {
            header.set(&loaded.headers)?;
        }
        Ok(loaded)
    }

    pub(super) fn enqueue(&self) -> Result<(), DriverError> {
        self.sweep.enqueue(&self.stream, &self.header)?;
        self.voxelize.enqueue(&self.stream)?;
        self.rulebooks.enqueue(&self.stream)
    }

    pub(super) fn graph(&self) -> Result<Graph, DriverError> {
        Graph::capture(&self.stream, || self.enqueue())
    }

    pub(super) fn maps(&self) -> Vec<&PackedMap> {
        let levels = self.rulebooks.levels().len();
        let submanifold = (0..levels).filter_map(|level| self.rulebooks.submanifold(level));
        let strided = (0..levels).filter_map(|level| self.rulebooks.strided(level));
        submanifold.chain(strided).collect()
    }

    /// Spoils all outputs that carry nothing into the next frame, so that what is not written shows.
    pub(super) fn poison(&self, byte: u8) -> Result<(), DriverError> {
        self.sweep.buffers().points.fill_bytes(&self.stream, byte)?;
        let voxels = self.voxelize.buffers();
        voxels.prefix.fill_bytes(&self.stream, byte)?;
        voxels.features.fill_bytes(&self.stream, byte)?;
        if let Some(means) = &voxels.means {
            means.fill_bytes(&self.stream, byte)?;
        }
        for level in self.rulebooks.levels() {
            level.site.fill_bytes(&self.stream, byte)?;
        }
        for map in self.maps() {
            map.entry.fill_bytes(&self.stream, byte)?;
        }
        Ok(())
    }

    /// Waits and fetches what is valid.
    pub(super) fn outcome(&self) -> Result<Outcome, DriverError> {
        self.stream.synchronize()?;
        let counts = self.voxelize.buffers().counts.download()?;
        let counts = counts.first().copied().unwrap_or_default();
        let voxels = counts.rows[0] as usize;
        let buffers = self.sweep.buffers();
        let cell = buffers.cell.part(0, counts.points as usize).download()?;
        let columns = self.sweep.columns();
        let all = buffers.points.part(0, cell.len() * columns).download()?;
        let kept = all
            .chunks_exact(columns)
            .zip(&cell)
            .filter(|(_, cell)| **cell != NO_POINT);
        let points = kept
            .flat_map(|(row, _)| row.iter().map(|v| v.to_bits()))
            .collect();
        let features = &self.voxelize.buffers().features;
        let channels = features.len() / self.voxelize.max_voxels();
        let means = match &self.voxelize.buffers().means {
            Some(means) => means.cast::<u32>().part(0, voxels * columns).download()?,
            None => Vec::new(),
        };
        let levels = self.rulebooks.levels().iter().zip(counts.rows);
        let sites = levels.map(|(level, rows)| level.site.part(0, rows as usize).download());
        let maps = self.maps().into_iter().map(|map| fetch_map(map, &counts));
        Ok(Outcome {
            counts,
            points,
            features: features.part(0, voxels * channels).download()?,
            means,
            sites: sites.collect::<Result<_, _>>()?,
            maps: maps.collect::<Result<_, _>>()?,
            cell,
        })
    }
}

fn fetch_map(map: &PackedMap, counts: &FrameCounts) -> Result<Vec<u32>, DriverError> {
    let rows = (counts.rows[map.output_level] as usize).next_multiple_of(TILE_ROWS);
    let entries = map.entry.download()?;
    let taps = entries.chunks_exact(map.shape.row_stride);
    Ok(taps
        .flat_map(|tap| tap.iter().take(rows))
        .copied()
        .collect())
}
