//! How the image kernel handles images of one geometry: tables, a map of the lens, tiles.
//!
//! In: [`ImageGeometry`]. Out: what a launch is told of it, and words for the device. Host work without a
//! device, so that it can be tested anywhere.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::image_params::{CameraParams, NARROW_MAP, NO_MAP, WIDE_MAP};
use super::image_tables::{Axis, WORD, axes};
use crate::reference::image::{CHANNELS, Lens, LensMap, MAP_STEPS, MAX_EDGE, PATCH_VALUES, Window};

/// Output columns of a block.
pub(super) const TILE_COLUMNS: usize = 32;
/// Outputs that are weighed together.
const BATCH: usize = 8;
/// Words of four source pixels of a product, and groups of four source rows of one in the first pass.
const STEP_WORDS: usize = 8;
const STRIP_GROUPS: usize = 4;
/// Bytes of four source pixels in shared memory, and of what is copied there at a time.
const WORD_BYTES: usize = WORD * CHANNELS;
const CHUNK: usize = 16;
/// Bytes of the normalised levels.
const LOOKUP_BYTES: usize = CHANNELS * 256 * size_of::<u16>();
/// Bytes of the patches that the four warps of a block have at hand, 16 by 8 px each.
const PATCH_BYTES: usize = 4 * 8 * PATCH_VALUES * size_of::<u16>();
/// Output rows of a block, the most first.
const TILE_ROWS: [usize; 4] = [32, 16, 8, 4];
/// Shared memory with which a few blocks share a multiprocessor of any supported GPU (bytes).
const PREFERRED_SHARED: usize = 48 << 10;
/// Largest extent of a resized image (px): positions in it fit every number.
const MAX_RESIZED: usize = 1 << 20;

/// Which library's grey levels a resize has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resampling {
    /// Bicubic with antialiasing, Pillow's.
    #[default]
    Pillow,
    /// Two pixels a direction, OpenCV's `INTER_LINEAR`.
    OpenCv,
}

/// From raw images of a camera to the network's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageGeometry {
    /// Width, height of raw images (px), at most [`MAX_EDGE`].
    pub raw: [usize; 2],
    /// Width, height after the resize (px).
    pub resized: [usize; 2],
    /// What is cut out of the resized image; of the network's size, black where it reaches outside.
    pub crop: Window,
    /// How it is resized.
    pub resampling: Resampling,
    /// The lens, when images are to be undistorted before the resize.
    pub lens: Option<Lens>,
}

/// What a launch needs of a geometry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImagePlan {
    /// Without what belongs to one image.
    pub(super) camera: CameraParams,
    /// Shared memory of a block (bytes).
    pub(super) shared_bytes: usize,
    /// Whether a tile is beyond shared memory.
    pub(super) far: bool,
    pub(super) table_words: usize,
    pub(super) map_words: usize,
}

/// Table words that any geometry of these extents (px) takes along one axis.
pub(super) const fn table_room(raw: usize, output: usize) -> usize {
    3 * raw + 8 * output
}

impl ImagePlan {
    /// Writes `table` and `map`; `shared` is what a block may have (bytes).
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn new(
        geometry: &ImageGeometry,
        shared: usize,
        table: &mut [u32],
        map: &mut [u32],
    ) -> Result<Self, String> {
        check(geometry)?;
        let [columns, rows] = axes(geometry)?;
        let table_words = columns.len() + rows.len();
        if table_words > table.len() {
            let room = table.len();
            return Err(format!(
                "tables take {table_words} words, there is room for {room}"
            ));
        }
        let (first, second) = table.split_at_mut(columns.len());
        columns.write_columns(first);
        rows.write_rows(second);
        let [left, right] = columns.range();
        let [top, bottom] = rows.range();
        let mut camera = CameraParams {
            width: geometry.raw[0] as u32,
            height: geometry.raw[1] as u32,
            right: right.min(geometry.raw[0]) as u32,
            bottom: bottom.min(geometry.raw[1]) as u32,
            linear: u32::from(geometry.resampling == Resampling::OpenCv),
            first_column: columns.first as u32,
            columns: columns.starts.len() as u32,
            first_row: rows.first as u32,
            rows: rows.starts.len() as u32,
            column_words: columns.span as u32,
            row_groups: rows.span as u32,
            rows_at: columns.len() as u32,
            row_size: rows.size as u32,
            map_left: left as u32,
            map_top: top as u32,
            map_kind: NO_MAP,
            ..CameraParams::default()
        };
        camera.map_width = camera.right.saturating_sub(camera.map_left);
        let mut plan = Self {
            camera,
            shared_bytes: 0,
            far: false,
            table_words,
            map_words: 0,
        };
        if let Some(lens) = &geometry.lens {
            plan.write_map(lens, geometry.raw, map)?;
        }
        plan.choose_tile([&columns, &rows], &geometry.crop, shared);
        Ok(plan)
    }

    /// Whether rows of three bytes a pixel are brought to shared memory as they are.
    pub(super) const fn stages(&self, interleaved: bool) -> bool {
        interleaved && self.camera.map_kind == NO_MAP
    }

    /// Positions of what is read of the source; in 16 bits where they fit.
    fn write_map(&mut self, lens: &Lens, raw: [usize; 2], map: &mut [u32]) -> Result<(), String> {
        let positions = LensMap::new(lens, raw).map_err(|error| error.to_string())?;
        let camera = &mut self.camera;
        let (left, width) = (camera.map_left as usize, camera.map_width as usize);
        let top = camera.map_top as usize;
        let pixels = width * (camera.bottom as usize).saturating_sub(top);
        if 2 * pixels > map.len() {
            let room = map.len() / 2;
            return Err(format!(
                "the lens bends {pixels} px of the source, there is room for {room}"
            ));
        }
        camera.map_kind = NARROW_MAP;
        self.map_words = pixels;
        if pixels == 0 {
            return Ok(());
        }
        let wide = &mut map[..2 * pixels];
        wide.par_chunks_mut(2 * width)
            .enumerate()
            .for_each(|(row, line)| {
                for (column, pair) in line.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    *pair = positions
                        .at(left + column, top + row)
                        .map(i32::cast_unsigned);
                }
            });
        let away = |pixel: usize, pair: [u32; 2]| -> Option<u32> {
            let here = [left + pixel % width, top + pixel / width];
            let [x, y] = [0, 1].map(|axis| {
                i16::try_from(pair[axis].cast_signed() - here[axis] as i32 * MAP_STEPS).ok()
            });
            Some(u32::from(x?.cast_unsigned()) | u32::from(y?.cast_unsigned()) << 16)
        };
        let pairs = wide.as_chunks::<2>().0.iter().enumerate();
        if pairs
            .map(|(pixel, pair)| away(pixel, *pair))
            .any(|offset| offset.is_none())
        {
            camera.map_kind = WIDE_MAP;
            self.map_words = 2 * pixels;
            return Ok(());
        }
        for pixel in 0..pixels {
            let pair = [wide[2 * pixel], wide[2 * pixel + 1]];
            wide[pixel] = away(pixel, pair).unwrap_or(0);
        }
        Ok(())
    }

    /// The most rows with which several blocks share a multiprocessor; else what fits.
    fn choose_tile(&mut self, axes: [&Axis; 2], crop: &Window, shared: usize) {
        let candidates = TILE_ROWS.map(|rows| self.with_rows(axes, crop, rows));
        for limit in [PREFERRED_SHARED.min(shared), shared / 2, shared] {
            let fits = |plan: &&Self| plan.shared_bytes <= limit;
            if let Some(plan) = candidates.iter().find(fits) {
                *self = *plan;
                return;
            }
        }
        self.far = true;
    }

    fn with_rows(&self, [columns, rows]: [&Axis; 2], crop: &Window, tile: usize) -> Self {
        let mut plan = *self;
        let linear = self.camera.linear == 1;
        let words = columns.room(TILE_COLUMNS, crop.width).max(2);
        // The first pass takes whole strips of rows.
        let groups = rows.room(tile, crop.height).next_multiple_of(STRIP_GROUPS);
        let windows = [
            columns.room(BATCH, crop.width),
            if linear {
                0
            } else {
                rows.room(BATCH.min(tile), crop.height)
            },
        ];
        let window = windows[0].max(windows[1]).max(1);
        let steps = window.div_ceil(STEP_WORDS);
        // Twice an odd number, so that lanes of both passes are in different banks.
        let middle_pitch = if linear { 2 * groups } else { groups } + 2;
        // Products reach as far as a step behind what they weigh.
        let middle = CHANNELS * TILE_COLUMNS * middle_pitch + steps * STEP_WORDS;
        // A row starts anywhere in its first chunk.
        let row_pitch = (WORD_BYTES * words + CHUNK - 1).next_multiple_of(CHUNK);
        let source = groups * WORD * row_pitch + groups * WORD / 2 * CHUNK;
        let source = source + steps * STEP_WORDS * WORD_BYTES + CHUNK;
        let middle_bytes = (middle * size_of::<u32>()).next_multiple_of(CHUNK);
        let source_at = LOOKUP_BYTES + middle_bytes;
        plan.shared_bytes = source_at + source.max(PATCH_BYTES).next_multiple_of(CHUNK);
        plan.camera.tile_rows = tile as u32;
        plan.camera.steps = steps as u32;
        plan.camera.row_pitch = row_pitch as u32;
        plan.camera.middle_pitch = middle_pitch as u32;
        plan.camera.source_at = (source_at / CHUNK) as u32;
        plan
    }
}

fn check(geometry: &ImageGeometry) -> Result<(), String> {
    let ImageGeometry {
        raw, resized, crop, ..
    } = geometry;
    if raw.iter().any(|extent| !(1..=MAX_EDGE).contains(extent)) {
        return Err(format!(
            "raw images of {raw:?} px: extents must be 1 to {MAX_EDGE}"
        ));
    }
    if resized
        .iter()
        .any(|extent| !(1..=MAX_RESIZED).contains(extent))
    {
        return Err(format!(
            "a resize to {resized:?} px: extents must be 1 to {MAX_RESIZED}"
        ));
    }
    if crop.width == 0 || crop.height == 0 {
        return Err("the crop is empty".to_owned());
    }
    Ok(())
}
