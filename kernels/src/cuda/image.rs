//! Launcher of `image.cu`: camera images of any common encoding to the network's input.
//!
//! In: 8-bit images in memory that the device reads, of any size and row stride. Out, on the device:
//! fp16 bits `[camera][⌈H/4⌉][⌈W/4⌉][64]`, value dy·12 + dx·3 + channel of a 4×4 patch, zeros behind these 48,
//! pixels beyond H and W zero. Decoding, undistortion, resize, crop and normalisation are one launch for any number of cameras,
//! with the levels of [`reference::image`](crate::reference::image) to the bit. A camera that shrinks its
//! images by more than shared memory allows takes a launch of its own.

use std::sync::Arc;

use bytemuck::Zeroable;

use super::image_params::{CameraParams, Params, UploadParams, format_code};
use super::image_plan::{ImagePlan, TILE_COLUMNS, table_room};
use super::images;
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Event, Function, Launch, Module, PinnedSlice,
    Stream,
};
use crate::reference::image::{MAX_EDGE, PATCH, PixelFormat, levels};

pub use super::image_params::MAX_CAMERAS;
pub use super::image_plan::{ImageGeometry, Resampling};

/// Elements from one patch to the next, a whole number of what convolutions read at a time.
pub const PATCH_PITCH: usize = 64;
const THREADS: u32 = 256;
const TILE_THREADS: u32 = 128;
const UPLOAD_BLOCKS: u32 = 256;

/// What the network takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageConfig {
    /// Images of a frame, at most [`MAX_CAMERAS`].
    pub cameras: usize,
    /// H, W (px).
    pub image_size: [usize; 2],
    /// Subtracted from levels, by channel (R, G, B).
    pub mean: [f32; 3],
    /// Divides them then.
    pub std: [f32; 3],
    /// Largest width, height of raw images (px), at most [`MAX_EDGE`].
    pub raw_capacity: [usize; 2],
    /// Pixels of a raw image that a lens may bend into the crop; 0 when there are none to undistort.
    pub lens_capacity: usize,
}

/// An image of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// Which camera: its geometry and its place in the output.
    pub camera: usize,
    /// How pixels are stored.
    pub format: PixelFormat,
    /// First byte as the device sees it; any alignment.
    pub address: u64,
    /// Bytes from row to row.
    pub stride: usize,
    /// First byte of NV12's chroma; not looked at otherwise.
    pub chroma_address: u64,
    /// Bytes from row to row of it.
    pub chroma_stride: usize,
}

/// What became of a new geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum GeometryChange {
    /// It holds for what is enqueued on the stream from now on.
    Queued,
    /// The one before is still on its way to the device; nothing has changed: ask again later.
    Busy,
}

/// Memory and state of a camera.
#[derive(Debug)]
struct Slot {
    table: DeviceSlice<u32>,
    map: DeviceSlice<u32>,
    staging: PinnedSlice<u32>,
    staged: Event,
    plan: Option<ImagePlan>,
}

impl Slot {
    /// Brings the first words of the staged table and map to the device.
    fn upload(
        &self,
        kernel: &Function,
        stream: &Stream,
        [table, map]: [usize; 2],
    ) -> Result<(), DriverError> {
        let staging = self.staging.device_address();
        let parts = [
            (staging, &self.table, table),
            (staging + self.table.bytes() as u64, &self.map, map),
        ];
        for (from, to, words) in parts.into_iter().filter(|(_, _, words)| *words > 0) {
            let params = UploadParams {
                from,
                to: to.address(),
                words: words as u64,
            };
            let launch = Launch::row(UPLOAD_BLOCKS, THREADS);
            // SAFETY: the struct mirrors the kernel's; the plan keeps within both slices, and the staging
            // memory is written again only after the event behind this.
            unsafe { kernel.launch(stream, launch, &params) }?;
        }
        Ok(())
    }
}

/// Makes the network's input from the images of a frame.
#[derive(Debug)]
pub struct ImagePreprocess {
    tiles: Function,
    far: Function,
    upload: Function,
    config: ImageConfig,
    shared: usize,
    slots: Vec<Slot>,
    levels: DeviceSlice<u16>,
    output: DeviceSlice<u16>,
}

impl ImagePreprocess {
    /// Takes memory and loads the kernels. Until a camera is seen its output is zero.
    ///
    /// # Errors
    /// When the configuration is beyond the kernels or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        config: &ImageConfig,
    ) -> Result<Self, DriverError> {
        check_config(config)?;
        let [height, width] = config.image_size;
        let patches = height.div_ceil(PATCH) * width.div_ceil(PATCH);
        let shared = context.info().shared_bytes_per_block;
        let module = Module::load(context, &images::IMAGE)?;
        let tables =
            table_room(config.raw_capacity[0], width) + table_room(config.raw_capacity[1], height);
        let slot = |_| {
            Ok(Slot {
                table: arena.take("image tables", tables)?,
                map: arena.take("lens map", 2 * config.lens_capacity)?,
                staging: PinnedSlice::new(context, tables + 2 * config.lens_capacity)?,
                staged: Event::ordering(context)?,
                plan: None,
            })
        };
        let values = levels(config.mean, config.std);
        Ok(Self {
            tiles: module.function("image_tiles", shared)?,
            far: module.function("image_far", 0)?,
            upload: module.function("image_upload", 0)?,
            config: *config,
            shared,
            slots: (0..config.cameras)
                .map(slot)
                .collect::<Result<_, DriverError>>()?,
            levels: arena.take_with("normalised levels", values.as_flattened())?,
            output: arena.take_zeroed("image patches", config.cameras * patches * PATCH_PITCH)?,
        })
    }

    /// Gives a camera another geometry, for what is enqueued on `stream` after this; frames that are on
    /// their way there keep theirs. Needs host time (the lens map above all), no device memory, and never
    /// waits.
    ///
    /// # Errors
    /// When there is no such camera, or the geometry is beyond the capacities or has no meaning: the camera
    /// keeps what it had. When the driver refuses: it has none until the next one.
    pub fn set_geometry(
        &mut self,
        stream: &Stream,
        camera: usize,
        geometry: &ImageGeometry,
    ) -> Result<GeometryChange, DriverError> {
        let [height, width] = self.config.image_size;
        if [geometry.crop.width, geometry.crop.height] != [width, height] {
            let (found, rows) = (geometry.crop.width, geometry.crop.height);
            return fail(format!(
                "the crop is {found}x{rows} px, the network takes {width}x{height}"
            ));
        }
        let cameras = self.slots.len();
        let Some(slot) = self.slots.get_mut(camera) else {
            return fail(format!("camera {camera} of {cameras}"));
        };
        if !slot.staged.has_happened()? {
            return Ok(GeometryChange::Busy);
        }
        let tables = slot.table.len();
        let (table, map) = slot.staging.as_mut_slice().split_at_mut(tables);
        let plan = match ImagePlan::new(geometry, self.shared, table, map) {
            Ok(plan) => plan,
            Err(problem) => return fail(format!("camera {camera}: {problem}")),
        };
        slot.plan = None;
        let uploaded = slot.upload(&self.upload, stream, [plan.table_words, plan.map_words]);
        // Also behind a part of the work, so that the staging memory is left alone until it is done.
        slot.staged.record(stream)?;
        uploaded?;
        slot.plan = Some(plan);
        Ok(GeometryChange::Queued)
    }

    /// One launch for these images, and another one if some shrink too much for it. Their memory must stay
    /// readable for the device until the stream has run it. Cameras that are not named keep their output.
    ///
    /// # Errors
    /// When a camera is unknown, twice there or without a geometry, an image does not fit its camera's
    /// geometry, or the driver refuses.
    pub fn enqueue(&self, stream: &Stream, sources: &[ImageSource]) -> Result<(), DriverError> {
        let [height, width] = self.config.image_size;
        let empty = Params {
            out: self.output.address(),
            levels: self.levels.address(),
            width: width as u32,
            height: height as u32,
            patch_columns: width.div_ceil(PATCH) as u32,
            patch_rows: height.div_ceil(PATCH) as u32,
            ..Params::zeroed()
        };
        let (mut near, mut far) = (empty, empty);
        let (mut near_count, mut far_count) = (0, 0);
        let (mut tile_rows, mut shared) = (u32::MAX, 0);
        for (index, source) in sources.iter().enumerate() {
            let twice = sources[..index]
                .iter()
                .any(|other| other.camera == source.camera);
            let (plan, camera) = self.image(source, twice)?;
            if plan.far {
                far.cameras[far_count] = camera;
                far_count += 1;
            } else {
                near.cameras[near_count] = camera;
                near_count += 1;
                tile_rows = tile_rows.min(camera.tile_rows);
                shared = shared.max(plan.shared_bytes);
            }
        }
        if near_count > 0 {
            let rows = empty.patch_rows * PATCH as u32;
            let launch = Launch {
                grid: [
                    empty.width.div_ceil(TILE_COLUMNS as u32),
                    rows.div_ceil(tile_rows),
                    near_count as u32,
                ],
                threads: TILE_THREADS,
                shared_bytes: shared as u32,
            };
            // SAFETY: the struct mirrors the kernel's; tables, map and output belong to `self`, tiles fit
            // the shared memory by their plan, and images are readable by the caller's promise.
            unsafe { self.tiles.launch(stream, launch, &near) }?;
        }
        if far_count > 0 {
            let launch = Launch {
                grid: [empty.patch_columns, empty.patch_rows, far_count as u32],
                threads: THREADS,
                shared_bytes: 0,
            };
            // SAFETY: as above.
            unsafe { self.far.launch(stream, launch, &far) }?;
        }
        Ok(())
    }

    /// `[camera][⌈H/4⌉][⌈W/4⌉]` patches of [`PATCH_PITCH`] fp16 bits.
    #[must_use]
    pub const fn output(&self) -> &DeviceSlice<u16> {
        &self.output
    }

    /// Whether the images of a camera shrink so much that they take the slower kernel; `None` before its
    /// first geometry.
    #[must_use]
    pub fn is_far(&self, camera: usize) -> Option<bool> {
        Some(self.slots.get(camera)?.plan.as_ref()?.far)
    }

    fn image(
        &self,
        source: &ImageSource,
        twice: bool,
    ) -> Result<(&ImagePlan, CameraParams), DriverError> {
        let camera = source.camera;
        if twice {
            return fail(format!("camera {camera} is named twice"));
        }
        let Some(slot) = self.slots.get(camera) else {
            let cameras = self.slots.len();
            return fail(format!("camera {camera} of {cameras}"));
        };
        let Some(plan) = &slot.plan else {
            return fail(format!("camera {camera} has no geometry yet"));
        };
        let addresses = [slot.table.address(), slot.map.address()];
        match plan.image(source, addresses) {
            Ok(params) => Ok((plan, params)),
            Err(problem) => fail(format!("camera {camera}: {problem}")),
        }
    }
}

impl ImagePlan {
    /// What the kernels are told of an image; `table` and `map` are addresses on the device.
    pub(super) fn image(
        &self,
        source: &ImageSource,
        [table, map]: [u64; 2],
    ) -> Result<CameraParams, String> {
        let size = [self.camera.width, self.camera.height].map(|extent| extent as usize);
        let strides = [source.stride, source.chroma_stride];
        let format = source.format;
        format
            .check(size, strides)
            .map_err(|error| error.to_string())?;
        let planar = format == PixelFormat::Nv12;
        if source.address == 0 || (planar && source.chroma_address == 0) {
            return Err("an address is 0".to_owned());
        }
        let [stride, chroma_stride] = strides.map(u32::try_from);
        let stride = stride.map_err(|error| format!("stride {}: {error}", strides[0]))?;
        let chroma_stride = match chroma_stride {
            Ok(stride) => stride,
            Err(error) if planar => return Err(format!("stride {}: {error}", strides[1])),
            Err(_) => 0,
        };
        let interleaved = matches!(format, PixelFormat::Rgb8 | PixelFormat::Bgr8);
        Ok(CameraParams {
            pixels: source.address,
            chroma: source.chroma_address,
            table,
            map,
            stride,
            chroma_stride,
            format: format_code(format),
            camera: source.camera as u32,
            staged: u32::from(self.stages(interleaved)),
            ..self.camera
        })
    }
}

fn check_config(config: &ImageConfig) -> Result<(), DriverError> {
    let ImageConfig {
        cameras,
        image_size,
        raw_capacity,
        lens_capacity,
        ..
    } = *config;
    if !(1..=MAX_CAMERAS).contains(&cameras) {
        return fail(format!(
            "{cameras} cameras; 1 to {MAX_CAMERAS} are supported"
        ));
    }
    let edges = 1..=MAX_EDGE;
    if !image_size
        .iter()
        .chain(&raw_capacity)
        .all(|extent| edges.contains(extent))
    {
        return fail(format!(
            "images of {image_size:?} px from up to {raw_capacity:?} px: extents must be 1 to {MAX_EDGE}"
        ));
    }
    if lens_capacity > MAX_EDGE * MAX_EDGE {
        return fail(format!(
            "a lens capacity of {lens_capacity} px is more than an image has"
        ));
    }
    if config.std.contains(&0.0) {
        return fail("a standard deviation is 0".to_owned());
    }
    Ok(())
}

fn fail<T>(problem: String) -> Result<T, DriverError> {
    Err(DriverError::Arguments {
        kernel: "image",
        problem,
    })
}
