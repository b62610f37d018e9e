//! Hash table from packed cell keys to row numbers: open addressing, linear probing.
//!
//! Cleared and reused by every frame, so that it grows only when a frame is larger than any before.
//! Rows come out in the order in which the caller numbers them; nothing iterates over the table.

/// No cell packs to this: coordinates are non-negative.
const EMPTY: u64 = u64::MAX;

/// Keys to rows. At most half of the slots are used.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTable {
    slots: Vec<(u64, u32)>,
    mask: usize,
}

impl KeyTable {
    /// Forgets everything and makes room for `keys` different keys.
    pub(crate) fn reset(&mut self, keys: usize) {
        let wanted = (2 * keys.max(1)).next_power_of_two();
        self.slots.clear();
        self.slots.resize(wanted, (EMPTY, 0));
        self.mask = wanted - 1;
    }

    /// The row of `key`, set to `row()` when the key is new.
    pub(crate) fn row_or_insert(&mut self, key: u64, row: impl FnOnce() -> u32) -> u32 {
        let mut slot = hash(key) & self.mask;
        loop {
            match &mut self.slots[slot] {
                (found, known) if *found == key => return *known,
                (found, known) if *found == EMPTY => {
                    (*found, *known) = (key, row());
                    return *known;
                }
                _ => slot = (slot + 1) & self.mask,
            }
        }
    }
}

/// Fibonacci hashing; the high half mixes all bits of the key.
fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::KeyTable;
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn rows_are_those_of_an_ordered_map(keys in proptest::collection::vec(0_u64..500, 0..400)) {
            let mut table = KeyTable::default();
            for _ in 0..2 {
                table.reset(keys.len());
                let mut map = BTreeMap::new();
                for (row, key) in keys.iter().enumerate() {
                    let row = row as u32;
                    prop_assert_eq!(table.row_or_insert(*key, || row), *map.entry(*key).or_insert(row));
                }
            }
        }
    }
}
