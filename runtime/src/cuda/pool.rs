//! Memory of maps that live inside one network, shared by networks that never run at the same time.

use std::cell::RefCell;

use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError};

/// Pieces start at a multiple of so many elements.
const ALIGNMENT: usize = 512;

/// Memory that nobody needs at the moment, while networks are planned.
#[derive(Debug, Default)]
pub struct MapMemory {
    free: RefCell<Vec<DeviceSlice<u16>>>,
}

impl MapMemory {
    /// The smallest free piece with room for `len` elements, or new memory. What it holds is anything.
    pub(super) fn take(
        &self,
        arena: &DeviceArena,
        len: usize,
    ) -> Result<DeviceSlice<u16>, DriverError> {
        let mut free = self.free.borrow_mut();
        let fitting = (0..free.len()).filter(|at| free[*at].len() >= len);
        let Some(at) = fitting.min_by_key(|at| free[*at].len()) else {
            return arena.take_zeroed("dense map", len);
        };
        let memory = free.swap_remove(at);
        let kept = len.next_multiple_of(ALIGNMENT);
        if kept < memory.len() {
            free.push(memory.part(kept, memory.len() - kept));
        }
        Ok(memory.part(0, len))
    }

    /// Gives memory back, or lends memory that is needed only while none of the networks runs.
    pub(super) fn give(&self, memory: DeviceSlice<u16>) {
        self.free.borrow_mut().push(memory);
    }
}
