//! Ill-conditioned proposals of the full-size models.
//!
//! The formula weights give attention scores beyond 1000, so that float32 noise in the BEV features
//! (4e-7 of their size) moves single proposals a thousand times further, in the original as in any
//! other float32 implementation. The suite measures this: it runs the head again on features with
//! noise of the size that the goldens have against float64, and lets a proposal be off by a few times
//! what that moved it. All other proposals are held to the golden set's tolerance as it stands.

use crate::formula::unit;

/// Seeds of the noise.
pub(super) const SEEDS: [u64; 3] = [1, 2, 3];

/// Half width of the noise over the largest feature: its root mean square is then 1e-8 of it, what
/// `NAME.f32_vs_f64.json` states for `neck.out`.
const AMPLITUDE: f32 = 1.7e-8;

/// Allowance over the largest movement seen: ours and the golden's are two draws of the same noise.
const FACTOR: f32 = 4.0;

/// `features` with noise.
pub(super) fn perturb(features: &[f32], seed: u64) -> Vec<f32> {
    let largest = features.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let noise = |index: usize| (2.0 * unit(seed, index as u64) - 1.0) as f32;
    // Zeros stay: they come from a ReLU or from where nothing was seen.
    let moved = |(index, value): (usize, &f32)| {
        if *value == 0.0 {
            0.0
        } else {
            value + AMPLITUDE * largest * noise(index)
        }
    };
    features.iter().enumerate().map(moved).collect()
}

/// How far noise moves each proposal.
pub(super) struct Spread {
    /// Values without noise.
    pub(super) base: Vec<f32>,
    moved: Vec<f32>,
    proposal_of: fn(usize, usize, usize) -> usize,
}

impl Spread {
    /// Of values `[width, proposals]`.
    pub(super) fn columns(base: Vec<f32>, proposals: usize) -> Self {
        let proposal_of = |index, proposals, _width| index % proposals;
        Self {
            base,
            moved: vec![0.0; proposals],
            proposal_of,
        }
    }

    /// Of values `[proposals, width]`.
    pub(super) fn rows(base: Vec<f32>, proposals: usize) -> Self {
        let proposal_of = |index, _proposals, width| index / width;
        Self {
            base,
            moved: vec![0.0; proposals],
            proposal_of,
        }
    }

    /// Takes values of a run with noise.
    pub(super) fn add(&mut self, values: &[f32]) {
        for (index, (value, base)) in values.iter().zip(&self.base).enumerate() {
            let proposal = self.proposal(index);
            self.moved[proposal] = self.moved[proposal].max((value - base).abs());
        }
    }

    /// What each value may be off by.
    pub(super) fn allowance(&self) -> Vec<f32> {
        (0..self.base.len())
            .map(|index| FACTOR * self.moved[self.proposal(index)])
            .collect()
    }

    fn proposal(&self, index: usize) -> usize {
        let proposals = self.moved.len().max(1);
        let width = (self.base.len() / proposals).max(1);
        (self.proposal_of)(index, proposals, width)
    }
}
