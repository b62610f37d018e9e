//! The known word closest to a mistyped one.

/// Letters of a word that is compared; the time that it takes grows with their square.
const LONGEST_WORD: usize = 80;

/// The best of `known` if `word` could be a slip of it: at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > LONGEST_WORD {
        return None;
    }
    known
        .filter_map(|candidate| {
            let letters = candidate.chars().count();
            let allowed = (letters / 3).clamp(1, 4);
            // Each letter that one has more than the other is an edit.
            let possible = length.abs_diff(letters) <= allowed;
            let edits = possible.then(|| edits(word, candidate))?;
            (edits <= allowed).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours from `from` to `to`, ignoring case.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().map(|c| c.to_ascii_lowercase()).collect();
    let to: Vec<char> = to.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    let mut row = before.clone();
    for (i, a) in from.iter().enumerate() {
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(a != b);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row[j + 1] = least;
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_the_textbook_example() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("fusre", "Fuser"), 1);
    }

    #[test]
    fn a_long_word_is_a_slip_of_nothing_and_costs_nothing() {
        let long = "n".repeat(1 << 24);
        assert_eq!(nearest(&long, ["nnn", long.as_str()].into_iter()), None);
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
