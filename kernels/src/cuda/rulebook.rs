//! Launcher of `rulebook.cu`: sites of all levels of the sparse encoder and the rulebooks of all its
//! convolutions.
//!
//! In: the voxels of [`Voxelize`]. Out, on the device: sites of each level, `rows[level]`, and one
//! [`PackedMap`] per convolution; see [`packed_rulebook`](super::packed_rulebook) for the format.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::frame::{FrameCounts, MAX_LEVELS};
use super::images;
use super::packed_rulebook::{PackedShape, TILE_ROWS};
use super::sweep::COLUMN_CELLS;
use super::voxelize::{VoxelBuffers, Voxelize};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, Stream,
};
use crate::reference::rulebook::ConvGeometry;

const MAX_MAPS: usize = 12;
const LEVEL_THREADS: u32 = 1024;
const MAP_THREADS: u32 = 256;
/// Columns of a thread in levels with at least as many columns.
const WIDE_ROWS: usize = 4;
const WIDE_COLUMNS: usize = 200_000;

/// How a level comes from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StridedLevel {
    /// Of the convolution.
    pub geometry: ConvGeometry,
    /// Sites that fit in.
    pub capacity: usize,
}

/// The convolutions of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulebooksConfig<'a> {
    /// Levels 1, 2, …
    pub strided: &'a [StridedLevel],
    /// Kernel of the submanifold convolutions of levels 0, 1, …, where there are any.
    pub submanifold: &'a [Option<[usize; 3]>],
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Geometry {
    kernel: [i32; 3],
    stride: [i32; 3],
    padding: [i32; 3],
    input: [i32; 3],
    output: [i32; 3],
    spare: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct LevelParams {
    counts: u64,
    input_words: u64,
    words: u64,
    prefix: u64,
    site: u64,
    chunk_counts: u64,
    order: u64,
    geometry: Geometry,
    columns: u32,
    capacity: u32,
    level: u32,
    spare: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct MapParams {
    input_words: u64,
    input_prefix: u64,
    site: u64,
    entry: u64,
    geometry: Geometry,
    level: u32,
    row_stride: u32,
    first_block: u32,
    spare: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct MapsParams {
    counts: u64,
    chunk_counts: u64,
    chunks: u32,
    maps: u32,
    map: [MapParams; MAX_MAPS],
}

/// Sites of a level.
#[derive(Clone, Debug)]
pub struct Level {
    /// Extents.
    pub shape: [usize; 3],
    /// Sites that fit in.
    pub capacity: usize,
    /// `[capacity]`: column · 64 + z, ascending.
    pub site: DeviceSlice<u32>,
    words: DeviceSlice<u64>,
    prefix: DeviceSlice<u32>,
}

/// Which of two kernels makes a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// A column per thread.
    Narrow = 0,
    /// [`WIDE_ROWS`] columns per thread.
    Wide = 1,
}

impl Level {
    fn columns(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    fn width(&self) -> Width {
        if self.columns() < WIDE_COLUMNS {
            Width::Narrow
        } else {
            Width::Wide
        }
    }

    /// Blocks that make the level; each counts the sites of its columns.
    fn chunks(&self) -> usize {
        let rows = match self.width() {
            Width::Narrow => 1,
            Width::Wide => WIDE_ROWS,
        };
        self.columns().div_ceil(rows * LEVEL_THREADS as usize)
    }
}

/// The rulebook of one convolution on the device.
#[derive(Clone, Debug)]
pub struct PackedMap {
    /// Level of the input rows.
    pub input_level: usize,
    /// Level of the output rows; the same for a submanifold convolution.
    pub output_level: usize,
    /// Of the convolution.
    pub geometry: ConvGeometry,
    /// Extents of `entry`.
    pub shape: PackedShape,
    /// `[kx · KY + ky][row]`.
    pub entry: DeviceSlice<u32>,
}

/// Builds all rulebooks of a frame.
#[derive(Debug)]
pub struct Rulebooks {
    fill: (Function, Launch),
    level: [Function; 2],
    level_params: Vec<(LevelParams, Launch, Width)>,
    maps_params: MapsParams,
    levels: Vec<Level>,
    submanifold: Vec<Option<PackedMap>>,
    strided: Vec<PackedMap>,
    rows: DeviceSlice<u32>,
    _chunk_counts: DeviceSlice<u32>,
    _order: DeviceSlice<u32>,
    _voxels: VoxelBuffers,
}

impl Rulebooks {
    /// Takes memory and loads the kernels.
    ///
    /// # Errors
    /// When extents do not fit together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        voxelize: &Voxelize,
        config: &RulebooksConfig<'_>,
    ) -> Result<Self, DriverError> {
        check_config(config)?;
        let levels = take_levels(arena, voxelize, config)?;
        let strided = take_strided(arena, &levels, config)?;
        let submanifold = take_submanifold(arena, &levels, config)?;
        let counts = &voxelize.buffers().counts;
        let chunks = levels.iter().skip(1).map(Level::chunks);
        let chunk_counts = arena.take_zeroed("sites of chunks", chunks.sum())?;
        // The levels are made one after the other and leave it at 0.
        let order = arena.take_zeroed("started blocks", 1)?;
        let level_params = level_params(&levels, &strided, counts, &chunk_counts, &order);
        let maps: Vec<&PackedMap> = submanifold.iter().flatten().chain(&strided).collect();
        let (maps_params, map_blocks) = maps_params(&levels, &maps, counts, &chunk_counts);
        let module = Module::load(context, &images::RULEBOOK)?;
        Ok(Self {
            level: [
                module.function("rulebook_level", 0)?,
                module.function("rulebook_level_wide", 0)?,
            ],
            fill: (
                module.function("rulebook_maps", 0)?,
                Launch::row(map_blocks, MAP_THREADS),
            ),
            level_params,
            maps_params,
            levels,
            submanifold,
            strided,
            rows: counts
                .cast::<u32>()
                .part(FrameCounts::ROWS_WORD, MAX_LEVELS),
            _chunk_counts: chunk_counts,
            _order: order,
            _voxels: voxelize.buffers().clone(),
        })
    }

    /// Sites of each level, level 0 first.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// `rows[level]` of the frame: the number of sites, at most the capacity.
    #[must_use]
    pub const fn rows(&self) -> &DeviceSlice<u32> {
        &self.rows
    }

    /// Rulebook of the submanifold convolutions of a level.
    #[must_use]
    pub fn submanifold(&self, level: usize) -> Option<&PackedMap> {
        self.submanifold.get(level)?.as_ref()
    }

    /// Rulebook of the convolution that makes level `level + 1`.
    #[must_use]
    pub fn strided(&self, level: usize) -> Option<&PackedMap> {
        self.strided.get(level)
    }

    /// [`enqueue_levels`](Self::enqueue_levels) and [`enqueue_maps`](Self::enqueue_maps).
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        self.enqueue_levels(stream)?;
        self.enqueue_maps(stream)
    }

    /// Sites of levels 1, 2, …, after [`Voxelize::enqueue_ranks`]; one launch for each.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_levels(&self, stream: &Stream) -> Result<(), DriverError> {
        for (params, launch, width) in &self.level_params {
            let level = &self.level[*width as usize];
            // SAFETY: the struct mirrors the kernel's; its addresses belong to slices of `self`, with a
            // place for every column and every block; sites beyond the capacity are not written.
            unsafe { level.launch(stream, *launch, params) }?;
        }
        Ok(())
    }

    /// All rulebooks, after the levels and [`Voxelize::enqueue_features`]; one launch.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_maps(&self, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: the struct mirrors the kernel's; rows end at the row stride.
        unsafe { self.fill.0.launch(stream, self.fill.1, &self.maps_params) }
    }
}

fn take_levels(
    arena: &DeviceArena,
    voxelize: &Voxelize,
    config: &RulebooksConfig<'_>,
) -> Result<Vec<Level>, DriverError> {
    let from = voxelize.buffers();
    let mut levels = vec![Level {
        shape: voxelize.sparse_shape(),
        capacity: voxelize.max_voxels(),
        site: from.site.clone(),
        words: from.words.clone(),
        prefix: from.prefix.clone(),
    }];
    let mut shape = voxelize.sparse_shape();
    for (number, strided) in (1..).zip(config.strided) {
        shape = strided.geometry.output_shape(shape);
        if shape.contains(&0) || shape[2] > COLUMN_CELLS {
            return fail(format!("level {number} has shape {shape:?}"));
        }
        let columns = shape[0] * shape[1];
        let name = |what: &str| format!("{what} {number}");
        levels.push(Level {
            shape,
            capacity: strided.capacity,
            site: arena.take(&name("sites"), strided.capacity)?,
            words: arena.take_zeroed(&name("occupancy"), columns)?,
            prefix: arena.take(&name("ranks"), columns)?,
        });
    }
    Ok(levels)
}

fn take_strided(
    arena: &DeviceArena,
    levels: &[Level],
    config: &RulebooksConfig<'_>,
) -> Result<Vec<PackedMap>, DriverError> {
    let strided = config.strided.iter().enumerate();
    let taken =
        strided.map(|(input, level)| take_map(arena, levels, [input, input + 1], level.geometry));
    taken.collect()
}

fn take_submanifold(
    arena: &DeviceArena,
    levels: &[Level],
    config: &RulebooksConfig<'_>,
) -> Result<Vec<Option<PackedMap>>, DriverError> {
    let take = |(level, kernel): (usize, &Option<[usize; 3]>)| {
        let geometry = kernel.map(ConvGeometry::submanifold);
        geometry
            .map(|geometry| take_map(arena, levels, [level; 2], geometry))
            .transpose()
    };
    config.submanifold.iter().enumerate().map(take).collect()
}

fn take_map(
    arena: &DeviceArena,
    levels: &[Level],
    [input_level, output_level]: [usize; 2],
    geometry: ConvGeometry,
) -> Result<PackedMap, DriverError> {
    let shape = PackedShape::new(geometry.kernel, levels[output_level].capacity);
    let name = format!("rulebook {input_level} to {output_level}");
    Ok(PackedMap {
        input_level,
        output_level,
        geometry,
        shape,
        entry: arena.take(&name, shape.entries())?,
    })
}

fn geometry(levels: &[Level], map: &PackedMap) -> Geometry {
    let signed = |extents: [usize; 3]| extents.map(|extent| extent as i32);
    Geometry {
        kernel: signed(map.geometry.kernel),
        stride: signed(map.geometry.stride),
        padding: signed(map.geometry.padding),
        input: signed(levels[map.input_level].shape),
        output: signed(levels[map.output_level].shape),
        spare: 0,
    }
}

fn level_params(
    levels: &[Level],
    strided: &[PackedMap],
    counts: &DeviceSlice<FrameCounts>,
    chunk_counts: &DeviceSlice<u32>,
    order: &DeviceSlice<u32>,
) -> Vec<(LevelParams, Launch, Width)> {
    let mut first = 0;
    let params = strided.iter().map(|map| {
        let (input, output) = (&levels[map.input_level], &levels[map.output_level]);
        let chunks = output.chunks();
        let own_counts = chunk_counts.part(first, chunks);
        first += chunks;
        let params = LevelParams {
            counts: counts.address(),
            input_words: input.words.address(),
            words: output.words.address(),
            prefix: output.prefix.address(),
            site: output.site.address(),
            chunk_counts: own_counts.address(),
            order: order.address(),
            geometry: geometry(levels, map),
            columns: output.columns() as u32,
            capacity: output.capacity as u32,
            level: map.output_level as u32,
            spare: 0,
        };
        (
            params,
            Launch::row(chunks as u32, LEVEL_THREADS),
            output.width(),
        )
    });
    params.collect()
}

fn maps_params(
    levels: &[Level],
    maps: &[&PackedMap],
    counts: &DeviceSlice<FrameCounts>,
    chunk_counts: &DeviceSlice<u32>,
) -> (MapsParams, u32) {
    let mut params = MapsParams {
        counts: counts.address(),
        chunk_counts: chunk_counts.address(),
        chunks: chunk_counts.len() as u32,
        maps: maps.len() as u32,
        ..Zeroable::zeroed()
    };
    let mut blocks = 0;
    for (place, map) in params.map.iter_mut().zip(maps) {
        let (input, output) = (&levels[map.input_level], &levels[map.output_level]);
        *place = MapParams {
            input_words: input.words.address(),
            input_prefix: input.prefix.address(),
            site: output.site.address(),
            entry: map.entry.address(),
            geometry: geometry(levels, map),
            level: map.output_level as u32,
            row_stride: map.shape.row_stride as u32,
            first_block: blocks,
            spare: 0,
        };
        blocks += map.shape.row_stride.div_ceil(MAP_THREADS as usize) as u32;
    }
    // The kernel also clears the counts of chunks, one per thread.
    let clearing = chunk_counts.len().div_ceil(MAP_THREADS as usize) as u32;
    (params, blocks.max(clearing))
}

fn check_config(config: &RulebooksConfig<'_>) -> Result<(), DriverError> {
    let (strided, submanifold) = (config.strided, config.submanifold);
    let maps = strided.len() + submanifold.iter().flatten().count();
    if strided.len() >= MAX_LEVELS || submanifold.len() > strided.len() + 1 {
        return fail(format!(
            "{} levels, at most {MAX_LEVELS}",
            strided.len() + 1
        ));
    }
    if maps == 0 || maps > MAX_MAPS {
        return fail(format!(
            "{maps} convolutions, 1 to {MAX_MAPS} are supported"
        ));
    }
    let centred = submanifold
        .iter()
        .flatten()
        .map(|kernel| ConvGeometry::submanifold(*kernel));
    for geometry in strided.iter().map(|level| level.geometry).chain(centred) {
        let ConvGeometry {
            kernel,
            stride,
            padding,
        } = geometry;
        let whole = (0..3).all(|axis| {
            (1..=64).contains(&kernel[axis]) && stride[axis] >= 1 && padding[axis] < kernel[axis]
        });
        // Three bits of an entry say which offsets along z have an input.
        if !whole || kernel[2] > 3 {
            return fail(format!(
                "{geometry:?}: kernels from 1 to 64 (3 along z) with less padding are supported"
            ));
        }
    }
    let capacities = strided.iter().map(|level| level.capacity);
    if let Some(capacity) = capacities
        .into_iter()
        .find(|c| *c == 0 || *c >= (1 << 29) - TILE_ROWS)
    {
        return fail(format!(
            "a level's capacity of {capacity} is not in 1..2^29"
        ));
    }
    if submanifold
        .iter()
        .flatten()
        .flatten()
        .any(|extent| extent % 2 == 0)
    {
        return fail("submanifold kernels are odd".to_owned());
    }
    Ok(())
}

fn fail<T>(problem: String) -> Result<T, DriverError> {
    Err(DriverError::Arguments {
        kernel: "rulebook",
        problem,
    })
}
