//! What the image kernels are told; mirrors `include/image_params.cuh` field by field.

use bytemuck::{Pod, Zeroable};

use crate::reference::image::{BayerPattern, PixelFormat};

/// Images of one launch.
pub const MAX_CAMERAS: usize = 12;

/// `map_kind` without a lens, with offsets of 16 bits and with positions of 32 bits.
pub(super) const NO_MAP: u32 = 0;
pub(super) const NARROW_MAP: u32 = 1;
pub(super) const WIDE_MAP: u32 = 2;

/// One image of a launch. A word is four columns of the source, a group four rows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct CameraParams {
    pub(super) pixels: u64,
    pub(super) chroma: u64,
    pub(super) table: u64,
    pub(super) map: u64,
    pub(super) stride: u32,
    pub(super) chroma_stride: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
    pub(super) format: u32,
    pub(super) camera: u32,
    pub(super) linear: u32,
    pub(super) tile_rows: u32,
    pub(super) first_column: u32,
    pub(super) columns: u32,
    pub(super) first_row: u32,
    pub(super) rows: u32,
    pub(super) column_words: u32,
    pub(super) row_groups: u32,
    pub(super) rows_at: u32,
    pub(super) row_size: u32,
    pub(super) steps: u32,
    pub(super) staged: u32,
    pub(super) row_pitch: u32,
    pub(super) middle_pitch: u32,
    pub(super) source_at: u32,
    pub(super) map_kind: u32,
    pub(super) map_left: u32,
    pub(super) map_top: u32,
    pub(super) map_width: u32,
    pub(super) spare: u32,
}

/// The kernels' parameter.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) out: u64,
    pub(super) levels: u64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) patch_columns: u32,
    pub(super) patch_rows: u32,
    pub(super) cameras: [CameraParams; MAX_CAMERAS],
}

/// The parameter of the kernel that brings tables to the device.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct UploadParams {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) words: u64,
}

/// The kernels' number of a format.
pub(super) const fn format_code(format: PixelFormat) -> u32 {
    match format {
        PixelFormat::Rgb8 => 0,
        PixelFormat::Bgr8 => 1,
        PixelFormat::Rgba8 => 2,
        PixelFormat::Bgra8 => 3,
        PixelFormat::Mono8 => 4,
        PixelFormat::Uyvy => 5,
        PixelFormat::Yuy2 => 6,
        PixelFormat::Nv12 => 7,
        PixelFormat::Bayer(pattern) => 8 + red_code(pattern),
    }
}

/// Column of red + 2 · its row.
const fn red_code(pattern: BayerPattern) -> u32 {
    let [x, y] = pattern.red();
    (x + 2 * y) as u32
}
