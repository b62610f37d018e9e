//! The active sites of a sparse tensor, in canonical order.
//!
//! A site is a grid coordinate x, y, z inside the tensor's shape. Rows are sorted by (x, y, z): the
//! voxels are sorted once at the entrance of the network, and every level after it is canonical by
//! construction. Features that belong to the sites are `[len, channels]` in the same order.

use rayon::slice::ParallelSliceMut;

/// Bits of one axis in a packed key.
const AXIS_BITS: u32 = 21;

/// Why coordinates cannot be sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// A coordinate is not in the tensor.
    #[error("site {coord:?} lies outside the sparse shape {shape:?}")]
    Outside {
        /// The coordinate.
        coord: [i32; 3],
        /// Extents of the tensor.
        shape: [usize; 3],
    },
    /// A coordinate comes twice.
    #[error("site {coord:?} is given twice; voxels must be distinct")]
    Repeated {
        /// The coordinate.
        coord: [i32; 3],
    },
    /// The tensor is too large for packed keys.
    #[error("sparse shape {shape:?} has an extent above {}", 1_u32 << AXIS_BITS)]
    ShapeTooLarge {
        /// Extents of the tensor.
        shape: [usize; 3],
    },
}

/// Sites of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    shape: [usize; 3],
    coords: Vec<[i32; 3]>,
    keys: Vec<u64>,
}

impl Sites {
    /// Extents x, y, z of the tensor.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Coordinates, sorted by (x, y, z).
    #[must_use]
    pub fn coords(&self) -> &[[i32; 3]] {
        &self.coords
    }

    /// Number of sites.
    #[must_use]
    pub fn len(&self) -> usize {
        self.coords.len()
    }

    /// Whether there is no site.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.coords.is_empty()
    }

    /// Packed coordinates, ascending.
    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// Takes over `coords` in any order. `order[row]` becomes the index in `coords` of each row.
    ///
    /// # Errors
    /// When a coordinate is outside `shape` or comes twice; the sites are then empty.
    pub fn assign(
        &mut self,
        shape: [usize; 3],
        coords: &[[i32; 3]],
        order: &mut Vec<u32>,
    ) -> Result<(), SiteError> {
        self.clear(shape);
        order.clear();
        check_shape(shape)?;
        if let Some(&coord) = coords.iter().find(|coord| !contains(shape, **coord)) {
            return Err(SiteError::Outside { coord, shape });
        }
        order.extend(0..coords.len() as u32);
        order.par_sort_unstable_by_key(|&row| pack(coords[row as usize]));
        let sorted = order.iter().map(|&row| coords[row as usize]);
        if let Some(coord) = repeated(sorted.clone()) {
            return Err(SiteError::Repeated { coord });
        }
        self.coords.extend(sorted);
        self.keys.extend(self.coords.iter().map(|c| pack(*c)));
        Ok(())
    }

    /// Empties the sites for a tensor of this shape; the memory stays.
    pub(crate) fn clear(&mut self, shape: [usize; 3]) {
        self.shape = shape;
        self.coords.clear();
        self.keys.clear();
    }

    /// Adds a coordinate inside the shape, in any order and maybe again; [`Self::settle`] follows.
    pub(crate) fn propose(&mut self, coord: [i32; 3]) {
        self.keys.push(pack(coord));
    }

    /// Sorts what was proposed and removes repetitions.
    pub(crate) fn settle(&mut self) {
        self.keys.par_sort_unstable();
        self.keys.dedup();
        self.coords.extend(self.keys.iter().map(|key| unpack(*key)));
    }
}

fn check_shape(shape: [usize; 3]) -> Result<(), SiteError> {
    if shape.iter().any(|extent| *extent > 1 << AXIS_BITS) {
        return Err(SiteError::ShapeTooLarge { shape });
    }
    Ok(())
}

fn contains(shape: [usize; 3], coord: [i32; 3]) -> bool {
    let inside = |(value, extent): (i32, usize)| usize::try_from(value).is_ok_and(|v| v < extent);
    coord.into_iter().zip(shape).all(inside)
}

fn repeated(sorted: impl Iterator<Item = [i32; 3]> + Clone) -> Option<[i32; 3]> {
    let next = sorted.clone().skip(1);
    sorted.zip(next).find(|(a, b)| a == b).map(|(a, _)| a)
}

/// Keys compare as coordinates do. Coordinates are not negative.
pub(crate) fn pack([x, y, z]: [i32; 3]) -> u64 {
    (x as u64) << (2 * AXIS_BITS) | (y as u64) << AXIS_BITS | z as u64
}

fn unpack(key: u64) -> [i32; 3] {
    let axis = |shift: u32| (key >> shift) as i32 & ((1 << AXIS_BITS) - 1);
    [axis(2 * AXIS_BITS), axis(AXIS_BITS), axis(0)]
}

#[cfg(test)]
mod tests {
    use super::{SiteError, Sites};

    #[test]
    fn sites_are_sorted_and_the_order_says_where_they_were() {
        let (mut sites, mut order) = (Sites::default(), Vec::new());
        let coords = [[5, 0, 2], [0, 9, 1], [5, 0, 1]];
        sites
            .assign([6, 10, 3], &coords, &mut order)
            .expect("inside");
        assert_eq!(sites.coords(), [[0, 9, 1], [5, 0, 1], [5, 0, 2]]);
        assert_eq!(order, [1, 2, 0]);
    }

    #[test]
    fn foreign_and_repeated_coordinates_are_refused() {
        let (mut sites, mut order) = (Sites::default(), Vec::new());
        let shape = [2, 2, 2];
        for coord in [[0, 2, 0], [0, 0, -1]] {
            let outcome = sites.assign(shape, &[coord], &mut order);
            assert_eq!(outcome, Err(SiteError::Outside { coord, shape }));
        }
        let coord = [1, 0, 1];
        let outcome = sites.assign(shape, &[coord, [0; 3], coord], &mut order);
        assert_eq!(outcome, Err(SiteError::Repeated { coord }));
        assert!(sites.is_empty());
        let shape = [1, 1, 1 << 22];
        let outcome = sites.assign(shape, &[], &mut order);
        assert_eq!(outcome, Err(SiteError::ShapeTooLarge { shape }));
    }
}
