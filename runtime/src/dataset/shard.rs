//! A share of a list, for several processes that work through one dataset.

use std::ops::Range;
use std::str::FromStr;

use super::error::DatasetError;

/// Part `index` of `count` contiguous parts whose lengths differ by at most one. Written `I/N`.
///
/// Contiguous, so that the neighbouring frames of a part share their sweeps in the file cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// The whole list.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Part `index` (from 0) of `count`.
    ///
    /// # Errors
    /// When `index` is not below `count`.
    pub fn new(index: usize, count: usize) -> Result<Self, DatasetError> {
        if index >= count {
            return Err(DatasetError::Shard {
                text: format!("{index}/{count}"),
            });
        }
        Ok(Self { index, count })
    }

    /// The positions of this part in a list of `len`.
    #[must_use]
    pub fn range(self, len: usize) -> Range<usize> {
        let (short, longer) = (len / self.count, len % self.count);
        let start = |index: usize| index * short + index.min(longer);
        start(self.index)..start(self.index + 1)
    }
}

impl FromStr for Shard {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self, DatasetError> {
        let refused = || DatasetError::Shard { text: text.into() };
        let (index, count) = text.split_once('/').ok_or_else(refused)?;
        let parse = |word: &str| word.trim().parse().ok();
        let (index, count) = parse(index).zip(parse(count)).ok_or_else(refused)?;
        Self::new(index, count)
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn the_parts_are_even_and_cover_the_list_in_order(len in 0_usize..1000, count in 1_usize..40) {
            let ranges: Vec<_> = (0..count)
                .map(|index| Shard::new(index, count).expect("a part").range(len))
                .collect();
            let all: Vec<usize> = ranges.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
            let lengths: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
            prop_assert!(lengths.iter().max().expect("one") - lengths.iter().min().expect("one") <= 1);
        }
    }

    #[test]
    fn text_that_is_no_part_is_refused() {
        assert_eq!(
            "1/4".parse::<Shard>().expect("a part"),
            Shard::new(1, 4).expect("a part")
        );
        for text in ["4/4", "0/0", "1", "-1/4", "a/b", ""] {
            let message = text.parse::<Shard>().expect_err("refused").to_string();
            assert!(message.contains("I/N"), "{message}");
        }
    }
}
