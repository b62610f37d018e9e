//! What the host and the point kernels exchange: the header of a frame and its counts.
//!
//! In: where each cloud of a frame lies, how its rows are laid out and how it gets into the key frame. Out:
//! [`FrameHeader`], which the kernels read from pinned memory, so that a captured graph stays the same from
//! frame to frame; and [`FrameCounts`], which they leave on the device. Mirrors `include/frame.cuh`.

use bytemuck::{Pod, Zeroable};

use crate::driver::DriverError;
use crate::reference::sweep::CloudPlacement;

/// Clouds of a frame: the key cloud and its sweeps.
pub const MAX_CLOUDS: usize = 16;
/// Values of a point.
pub const MAX_COLUMNS: usize = 8;
/// Levels of the sparse encoder.
pub const MAX_LEVELS: usize = 8;
/// `cell` of a point that the sweep filter dropped.
pub const NO_POINT: u32 = u32::MAX;
/// `cell` of a point that stayed but lies in no cell of the grid.
pub const NO_CELL: u32 = u32::MAX - 1;

/// How a value is stored in a row; on the device it is a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// float32, little endian.
    F32,
    /// Unsigned byte.
    U8,
    /// Unsigned 16-bit number, little endian.
    U16,
}

impl ValueType {
    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U8 => 1,
            Self::U16 => 2,
        }
    }
}

/// Where a column is in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnPlace {
    /// From the start of the row (bytes).
    pub offset: usize,
    /// How it is stored.
    pub kind: ValueType,
}

impl ColumnPlace {
    /// A float32 column.
    #[must_use]
    pub const fn f32(offset: usize) -> Self {
        Self {
            offset,
            kind: ValueType::F32,
        }
    }
}

/// Rows of a cloud. Any alignment will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// From one row to the next (bytes).
    pub stride: usize,
    /// Columns as the model counts them, x, y, z (m, float32) first.
    pub columns: Vec<ColumnPlace>,
}

impl RowLayout {
    /// Rows of `columns` float32 values without gaps.
    #[must_use]
    pub fn floats(columns: usize) -> Self {
        Self {
            stride: 4 * columns,
            columns: (0..columns).map(|c| ColumnPlace::f32(4 * c)).collect(),
        }
    }
}

/// A cloud in memory that the device can read: pinned or its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudData {
    /// Where the device sees the first row.
    pub address: u64,
    /// Rows.
    pub points: usize,
}

/// One cloud as the kernels read it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct CloudHeader {
    address: u64,
    points: u32,
    stride: u32,
    xyz: [u32; 3],
    has_transform: u32,
    column: [u32; MAX_COLUMNS],
    key_from_sweep: [f32; 12],
    time_lag: f32,
    remove_close: f32,
    spare: [u32; 2],
}

impl CloudHeader {
    /// A cloud of `layout`; `used` are the columns that go on, without the ones that are computed (x, y, z
    /// and the time lag, for which `None` is given).
    pub(super) fn new(
        data: CloudData,
        layout: &RowLayout,
        used: &[Option<usize>],
        placement: &CloudPlacement,
    ) -> Result<Self, DriverError> {
        let matrix = placement.key_from_sweep.unwrap_or_default();
        let mut header = Self {
            address: data.address,
            points: u32::try_from(data.points).unwrap_or(u32::MAX),
            stride: u32::try_from(layout.stride).unwrap_or(u32::MAX),
            xyz: [0; 3],
            has_transform: u32::from(placement.key_from_sweep.is_some()),
            column: [0; MAX_COLUMNS],
            key_from_sweep: std::array::from_fn(|i| matrix[i / 4][i % 4]),
            time_lag: placement.time_lag,
            remove_close: placement.remove_close,
            spare: [0; 2],
        };
        for (axis, place) in header.xyz.iter_mut().enumerate() {
            *place = encoded(layout, axis)?;
        }
        if header.xyz.iter().any(|place| *place >> 16 != 0) {
            return Err(misfit("x, y and z must be float32".to_owned()));
        }
        for (place, column) in header.column.iter_mut().zip(used) {
            *place = column.map_or(Ok(0), |column| encoded(layout, column))?;
        }
        Ok(header)
    }
}

/// Byte offset and type of a column in one word.
fn encoded(layout: &RowLayout, column: usize) -> Result<u32, DriverError> {
    let Some(place) = layout.columns.get(column) else {
        let there = layout.columns.len();
        return Err(misfit(format!(
            "column {column} is used, rows have {there}"
        )));
    };
    let end = place.offset.saturating_add(place.kind.bytes());
    let offset = u16::try_from(place.offset).ok();
    let Some(offset) = offset.filter(|_| end <= layout.stride) else {
        return Err(misfit(format!(
            "column {column} ends at byte {end} of rows of {} bytes (at most 65536)",
            layout.stride
        )));
    };
    let kind = match place.kind {
        ValueType::F32 => 0,
        ValueType::U8 => 1,
        ValueType::U16 => 2,
    };
    Ok(u32::from(offset) | kind << 16)
}

fn misfit(problem: String) -> DriverError {
    DriverError::Arguments {
        kernel: "sweep",
        problem,
    }
}

/// The clouds of a frame, key cloud first, and what its cameras use.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FrameHeader {
    clouds: u32,
    active_cameras: u32,
    view_tables: u32,
    spare: u32,
    cloud: [CloudHeader; MAX_CLOUDS],
}

impl FrameHeader {
    /// Overwrites it.
    ///
    /// # Errors
    /// When there are more than [`MAX_CLOUDS`].
    pub fn set(&mut self, clouds: &[CloudHeader]) -> Result<(), DriverError> {
        let Some(places) = self.cloud.get_mut(..clouds.len()) else {
            return Err(misfit(format!(
                "{} clouds in a frame, at most {MAX_CLOUDS}",
                clouds.len()
            )));
        };
        places.copy_from_slice(clouds);
        self.clouds = clouds.len() as u32;
        Ok(())
    }

    /// Which cameras have an image, one bit each from the lowest on, and which table set (0 or 1) the frame
    /// uses.
    pub const fn set_view(&mut self, active_cameras: u32, view_tables: u32) {
        self.active_cameras = active_cameras;
        self.view_tables = view_tables;
    }
}

/// The header on the device with the place of each cloud in the frame.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct FramePlan {
    header: FrameHeader,
    first_point: [u32; MAX_CLOUDS + 1],
    first_block: [u32; MAX_CLOUDS + 1],
    spare: [u32; 2],
}

/// Where the points, cells and sites of a frame went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FrameCounts {
    /// Points of all clouds; `u32::MAX` for that many or more.
    pub input: u32,
    /// Points that were looked at: at most the point capacity.
    pub points: u32,
    /// Points beyond the capacity.
    pub clipped: u32,
    /// Dropped: too close to a sweep's sensor.
    pub close: u32,
    /// Dropped: NaN or infinite.
    pub non_finite: u32,
    /// Dropped: not strictly inside the range.
    pub out_of_range: u32,
    /// Kept, but in no cell of the grid.
    pub outside: u32,
    /// Cells that found `max_voxels` voxels.
    pub dropped_cells: u32,
    /// Points of those cells.
    pub no_voxel: u32,
    /// Points that are in a voxel.
    pub kept_points: u32,
    spare: [u32; 2],
    /// Sites of each level before it is cut.
    pub sites: [u32; MAX_LEVELS],
    /// Rows of each level: its sites, at most its capacity.
    pub rows: [u32; MAX_LEVELS],
    more_spare: [u32; 4],
}

impl FrameCounts {
    /// Index of `rows` among the struct's words.
    pub(super) const ROWS_WORD: usize = std::mem::offset_of!(Self, rows) / size_of::<u32>();

    /// Points that the sweep filter let through.
    #[must_use]
    pub const fn gathered(&self) -> u32 {
        let dropped = self.close + self.non_finite + self.out_of_range;
        self.points.saturating_sub(dropped)
    }

    /// Points of a voxel that was full.
    #[must_use]
    pub const fn voxel_full(&self) -> u32 {
        let accounted = self.outside + self.no_voxel + self.kept_points;
        self.gathered().saturating_sub(accounted)
    }

    /// Sites of a level that found no row.
    #[must_use]
    pub fn lost_sites(&self, level: usize) -> u32 {
        let at = |counts: &[u32]| counts.get(level).copied().unwrap_or(0);
        at(&self.sites).saturating_sub(at(&self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CloudData, CloudHeader, ColumnPlace, FrameCounts, FrameHeader, FramePlan, RowLayout,
        ValueType,
    };
    use crate::reference::sweep::CloudPlacement;

    #[test]
    fn the_structs_have_the_sizes_that_the_kernels_assume() {
        assert_eq!(size_of::<CloudHeader>(), 128);
        assert_eq!(size_of::<FrameHeader>(), 2064);
        assert_eq!(size_of::<FramePlan>(), 2064 + 36 * 4);
        assert_eq!(size_of::<FrameCounts>(), 32 * 4);
    }

    #[test]
    fn columns_outside_their_row_are_refused() {
        let data = CloudData {
            address: 0,
            points: 1,
        };
        let mut layout = RowLayout::floats(4);
        let made = |layout: &RowLayout, used: &[Option<usize>]| {
            CloudHeader::new(data, layout, used, &CloudPlacement::KEY).is_ok()
        };
        assert!(made(&layout, &[None, Some(3)]));
        assert!(!made(&layout, &[Some(4)]));
        layout.stride = 15;
        assert!(!made(&layout, &[Some(3)]));
        layout.columns[3].kind = ValueType::U16;
        assert!(made(&layout, &[Some(3)]));
        layout.columns[2] = ColumnPlace {
            offset: 8,
            kind: ValueType::U16,
        };
        assert!(!made(&layout, &[]));
    }
}
