//! Tensor maps: how the copy engine of Hopper and later cuts a tile out of a tensor.

use bytemuck::{Pod, Zeroable};
use cudarc::driver::sys;

use super::error::check;
use super::{DeviceSlice, DriverError};

/// A tiled tensor map as kernels take it: 128 bytes, aligned to 64.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct TensorMap {
    words: [u64; 16],
}

// SAFETY: sixteen words, no padding; any bytes are allowed.
unsafe impl Zeroable for TensorMap {}
// SAFETY: as above.
unsafe impl Pod for TensorMap {}

/// A tensor of fp16 values and the tile that is copied at once, innermost axis first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape<const RANK: usize> {
    /// Extents of the tensor.
    pub extents: [usize; RANK],
    /// Elements from one index of an axis to the next, from the second axis on (entry 0 is 1).
    pub strides: [usize; RANK],
    /// Extents of the tile, counted in tensor elements before `steps`.
    pub tile: [usize; RANK],
    /// Every how many elements of an axis one is taken.
    pub steps: [usize; RANK],
}

impl TensorMap {
    /// A map over fp16 values with 128-byte swizzle; what lies outside reads as zero.
    ///
    /// # Errors
    /// When the tensor is larger than `data`, or the driver refuses the shape.
    pub fn tiled<const RANK: usize>(
        data: &DeviceSlice<u16>,
        shape: &TileShape<RANK>,
    ) -> Result<Self, DriverError> {
        let last = (0..RANK).map(|axis| (shape.extents[axis].max(1) - 1) * shape.strides[axis]);
        let needed = last.sum::<usize>() + 1;
        if needed > data.len() {
            return Err(DriverError::Arguments {
                kernel: "tensor map",
                problem: format!("{needed} elements are addressed, there are {}", data.len()),
            });
        }
        let extents = shape.extents.map(|extent| extent as u64);
        let strides = shape.strides.map(|stride| (stride * 2) as u64);
        let tile = shape.tile.map(|extent| extent as u32);
        let steps = shape.steps.map(|step| step as u32);
        let mut map = Self { words: [0; 16] };
        // SAFETY: the arrays have `RANK` entries (strides from the second axis on), the map is 64-byte
        // aligned and as large as the driver's.
        let encoded = unsafe {
            sys::cuTensorMapEncodeTiled(
                std::ptr::from_mut(&mut map).cast(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                RANK as u32,
                data.address() as *mut std::ffi::c_void,
                extents.as_ptr(),
                strides[1..].as_ptr(),
                tile.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        check("cuTensorMapEncodeTiled", encoded)?;
        Ok(map)
    }
}
