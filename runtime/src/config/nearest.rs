//! The known word closest to a mistyped one.

/// The best of `known` if `word` could be a slip of it: at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= (candidate.chars().count() / 3).clamp(1, 4))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements from `from` to `to`, ignoring case.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, b) in row.iter_mut().skip(1).zip(&to) {
            let up = *slot;
            let cost = usize::from(a != *b);
            left = (diagonal + cost).min(up + 1).min(left + 1);
            diagonal = up;
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_the_textbook_example() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
    }

    #[test]
    fn a_slip_finds_its_word_and_noise_finds_none() {
        let known = ["voxel_size", "max_voxels", "point_cloud_range"];
        let of = |word| nearest(word, known.into_iter());
        assert_eq!(of("voxel_sizes"), Some("voxel_size"));
        assert_eq!(of("Max_Voxels"), Some("max_voxels"));
        assert_eq!(of("banana"), None);
    }
}
