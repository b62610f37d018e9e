//! Scatters sparse features into a dense BEV map.
//!
//! In: sites and features `[n, C]`. Out: `[C·Z, X, Y]` with channel c·Z + z; x is the row axis. Cells
//! without a site are exactly 0. Planes are written in parallel, every cell by one thread.

use rayon::prelude::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::sites::Sites;

/// Feature channels that one task scatters: a cache line of a feature row.
const CHANNELS_PER_TASK: usize = 16;

/// Overwrites `out` with the map of `features`, `[sites, channels]`.
///
/// # Panics
/// When the features are not `channels` values for every site.
pub fn sparse_to_dense(sites: &Sites, features: &[f32], channels: usize, out: &mut Vec<f32>) {
    assert_eq!(features.len(), sites.len() * channels);
    let [size_x, size_y, size_z] = sites.shape();
    let volume = size_x * size_y * size_z;
    out.resize(channels * volume, 0.0);
    if volume == 0 {
        return;
    }
    out.par_chunks_mut(CHANNELS_PER_TASK * volume)
        .enumerate()
        .for_each(|(task, block)| {
            block.fill(0.0);
            let first = task * CHANNELS_PER_TASK;
            for (coord, row) in sites.coords().iter().zip(features.chunks_exact(channels)) {
                let [x, y, z] = coord.map(|c| c as usize);
                let cell = (z * size_x + x) * size_y + y;
                let planes = block.chunks_exact_mut(volume).zip(&row[first..]);
                planes.for_each(|(plane, value)| plane[cell] = *value);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::sparse_to_dense;
    use crate::reference::sites::Sites;

    #[test]
    fn the_map_holds_every_feature_once_and_forgets_the_last_frame() {
        let shape = [3, 4, 2];
        let coords = [[0, 3, 1], [1, 0, 0], [2, 2, 1]];
        let mut sites = Sites::default();
        sites
            .assign(shape, &coords, &mut Vec::new())
            .expect("inside");
        let channels = 20;
        let features: Vec<f32> = (1..=60).map(|v| v as f32).collect();
        let mut map = vec![9.0; 7];
        sparse_to_dense(&sites, &features, channels, &mut map);
        let mut want = vec![0.0; channels * 24];
        for (row, [x, y, z]) in coords.iter().map(|c| c.map(|v| v as usize)).enumerate() {
            for c in 0..channels {
                want[((c * 2 + z) * 3 + x) * 4 + y] = features[row * channels + c];
            }
        }
        assert_eq!(map, want);
    }
}
