//! Random numbers of the GPU cases: seeded, so that a failure can be repeated.

use crate::formula::splitmix;

/// A stream of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random {
    seed: u64,
    index: u64,
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, index: 0 }
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.index += 1;
        splitmix(self.seed, self.index)
    }

    /// Uniform in −1..1.
    pub(super) fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Uniform in 0..`end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 33) as usize % end.max(1)
    }

    /// `len` values in −`scale`..`scale`.
    pub(super) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.signed() * scale).collect()
    }
}
