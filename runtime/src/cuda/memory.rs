//! What the device memory of a pipeline is for.

use std::collections::BTreeMap;

use bevfusion_kernels::driver::ArenaEntry;

/// Entries of one name together, most first.
pub(super) fn by_purpose(entries: Vec<ArenaEntry>) -> Vec<ArenaEntry> {
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        *sums.entry(entry.name).or_default() += entry.bytes;
    }
    let sums = sums.into_iter();
    let mut sums: Vec<ArenaEntry> = sums
        .map(|(name, bytes)| ArenaEntry { name, bytes })
        .collect();
    sums.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
    sums
}

#[cfg(test)]
mod tests {
    use bevfusion_kernels::driver::ArenaEntry;

    use super::by_purpose;

    #[test]
    fn memory_is_summed_by_purpose_most_first() {
        let entry = |name: &str, bytes| ArenaEntry {
            name: name.to_owned(),
            bytes,
        };
        let entries = vec![
            entry("weights", 10),
            entry("maps", 30),
            entry("weights", 25),
        ];
        assert_eq!(
            by_purpose(entries),
            [entry("weights", 35), entry("maps", 30)]
        );
    }
}
