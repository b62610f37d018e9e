//! Launcher of `depth_image.cu`: the sparse depth image of each camera.
//!
//! In: the points of a frame as the sweep leaves them, the matrices of the table set that the frame's header
//! names. Out, on the device: [`ViewFrame`], and a map `[N, H, W]` of 64-bit words whose low half is the
//! depth (m, float32 bits) of the winning point, 0 where there is none.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::frame::{FrameCounts, FrameHeader};
use super::images;
use super::sweep::Sweep;
use super::view_tables::{HeldTables, ViewTables};
use crate::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, Function, Launch, Module, PinnedSlice, Stream,
};
use crate::reference::depth_image::{BehindCamera, DepthWinner};

const THREADS: u32 = 256;
/// Blocks of the clearing kernel on a multiprocessor.
const CLEAR_BLOCKS: u32 = 8;

/// Points of a frame on the device.
#[derive(Clone, Debug)]
pub struct PointSource {
    /// `[capacity, columns]`, x, y, z first (m, augmented LiDAR frame).
    pub points: DeviceSlice<f32>,
    /// Values of a point.
    pub columns: usize,
    /// `[capacity]`: [`NO_POINT`](super::frame::NO_POINT) where a point was dropped.
    pub cell: DeviceSlice<u32>,
    /// One struct; `points` is how many there are.
    pub counts: DeviceSlice<FrameCounts>,
}

impl From<&Sweep> for PointSource {
    fn from(sweep: &Sweep) -> Self {
        let buffers = sweep.buffers();
        Self {
            points: buffers.points.clone(),
            columns: sweep.columns(),
            cell: buffers.cell.clone(),
            counts: buffers.counts.clone(),
        }
    }
}

/// Settings of a frame's view transform on the device, read from the header by
/// [`DepthImage::enqueue_begin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ViewFrame {
    /// Cameras with an image, one bit each.
    pub active_cameras: u32,
    /// Table set, 0 or 1.
    pub view_tables: u32,
    spare: [u32; 2],
}

/// What a depth image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthImageConfig {
    /// Points behind a camera.
    pub behind_camera: BehindCamera,
    /// Which point on a pixel stays.
    pub winner: DepthWinner,
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct BeginParams {
    header: u64,
    frame: u64,
    map: u64,
    words: u64,
}

/// Mirrors the kernel's parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ProjectParams {
    frame: u64,
    record: [u64; 2],
    counts: u64,
    points: u64,
    cell: u64,
    map: u64,
    columns: u32,
    cameras: u32,
    height: u32,
    width: u32,
    drop_behind: u32,
    nearest: u32,
}

/// The depth images of a frame.
#[derive(Debug)]
pub struct DepthImage {
    begin: (Function, Launch),
    project: (Function, Launch),
    begin_params: BeginParams,
    project_params: ProjectParams,
    frame: DeviceSlice<ViewFrame>,
    map: DeviceSlice<u64>,
    shape: [usize; 3],
    _held: (PointSource, HeldTables),
}

impl DepthImage {
    /// Takes memory and loads the kernels. Cameras, image size and matrices are those of `tables`.
    ///
    /// # Errors
    /// When `source` does not fit together or the driver refuses.
    pub fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        tables: &ViewTables,
        source: &PointSource,
        config: &DepthImageConfig,
    ) -> Result<Self, DriverError> {
        let capacity = source.cell.len();
        let cameras = tables.config().cameras;
        let [height, width] = tables.config().frustum.image_size;
        check(source, [height, width]).map_err(refuse)?;
        let frame = arena.take_zeroed("view frame", 1)?;
        let words = (cameras * height * width).next_multiple_of(2);
        let map: DeviceSlice<u64> = arena.take_zeroed("depth images", words)?;
        let module = Module::load(context, &images::DEPTH_IMAGE)?;
        let clear = Launch::row(context.info().multiprocessors * CLEAR_BLOCKS, THREADS);
        Ok(Self {
            begin: (module.function("depth_image_begin", 0)?, clear),
            project: (
                module.function("depth_image_project", 0)?,
                Launch::cover(capacity, THREADS),
            ),
            begin_params: BeginParams {
                header: 0,
                frame: frame.address(),
                map: map.address(),
                words: words as u64,
            },
            project_params: ProjectParams {
                frame: frame.address(),
                record: tables.set_params().map(|set| set.record),
                counts: source.counts.address(),
                points: source.points.address(),
                cell: source.cell.address(),
                map: map.address(),
                columns: source.columns as u32,
                cameras: cameras as u32,
                height: height as u32,
                width: width as u32,
                drop_behind: u32::from(config.behind_camera == BehindCamera::Drop),
                nearest: u32::from(config.winner == DepthWinner::Nearest),
            },
            frame,
            map,
            shape: [cameras, height, width],
            _held: (source.clone(), tables.held()),
        })
    }

    /// The frame's settings, valid from [`enqueue_begin`](Self::enqueue_begin) on.
    #[must_use]
    pub const fn frame(&self) -> &DeviceSlice<ViewFrame> {
        &self.frame
    }

    /// `[N, H, W]`, with one more word when that is odd.
    #[must_use]
    pub const fn map(&self) -> &DeviceSlice<u64> {
        &self.map
    }

    /// N, H, W.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// One launch, which needs nothing but the header: clears the map and takes the frame's settings over.
    /// It must come after everything that reads either in the frame before. `header` has one element; it is
    /// read when the work runs and must outlive that.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue_begin(
        &self,
        stream: &Stream,
        header: &PinnedSlice<FrameHeader>,
    ) -> Result<(), DriverError> {
        let params = BeginParams {
            header: header.device_address(),
            ..self.begin_params
        };
        let (kernel, launch) = &self.begin;
        // SAFETY: the struct mirrors the kernel's; its addresses are those of slices that `self` holds, of the
        // extents that it names, and of `header`.
        unsafe { kernel.launch(stream, *launch, &params) }
    }

    /// One launch, after [`enqueue_begin`](Self::enqueue_begin) and the sweep.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn enqueue(&self, stream: &Stream) -> Result<(), DriverError> {
        let (kernel, launch) = &self.project;
        // SAFETY: the struct mirrors the kernel's; its addresses are those of slices that `self` holds. A
        // thread reads one of the `cell.len()` points, and pixels are inside the map.
        unsafe { kernel.launch(stream, *launch, &self.project_params) }
    }
}

fn check(source: &PointSource, [height, width]: [usize; 2]) -> Result<(), String> {
    let PointSource {
        points,
        columns,
        cell,
        counts,
    } = source;
    if *columns < 3 || points.len() < cell.len() * columns || counts.is_empty() || cell.is_empty() {
        let (values, cells) = (points.len(), cell.len());
        return Err(format!(
            "{values} values of points of {columns} columns, {cells} cells"
        ));
    }
    if height == 0 || width == 0 || height.max(width) > 1 << 14 || cell.len() >= 1 << 31 {
        let points = cell.len();
        return Err(format!("an image of {height}×{width}, {points} points"));
    }
    Ok(())
}

fn refuse(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "depth image",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::{BeginParams, ProjectParams, ViewFrame};

    #[test]
    fn the_structs_have_the_sizes_that_the_kernels_assume() {
        assert_eq!(size_of::<ViewFrame>(), 16);
        assert_eq!(size_of::<BeginParams>(), 32);
        assert_eq!(size_of::<ProjectParams>(), 7 * 8 + 6 * 4);
    }
}
