//! Clouds for the cases: float32 rows as the twin reads them, and the same rows in a device layout.

use std::path::Path;

use bevfusion_kernels::cuda::frame::{ColumnPlace, RowLayout, ValueType};
use bevfusion_kernels::reference::sweep::CloudPlacement;

/// Columns of every cloud here.
pub(super) const COLUMNS: usize = 5;

/// A cloud of a frame.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    /// `[n, COLUMNS]`.
    pub(super) rows: Vec<f32>,
    /// How the device gets them.
    pub(super) layout: RowLayout,
    /// Bytes before the first row.
    pub(super) lead: usize,
    /// Whether they stay in pinned host memory.
    pub(super) pinned: bool,
    /// Into the key frame.
    pub(super) placement: CloudPlacement,
}

impl Cloud {
    /// Float rows in device memory.
    pub(super) fn key(rows: Vec<f32>) -> Self {
        Self {
            rows,
            layout: RowLayout::floats(COLUMNS),
            lead: 0,
            pinned: false,
            placement: CloudPlacement::KEY,
        }
    }

    pub(super) fn points(&self) -> usize {
        self.rows.len() / COLUMNS
    }

    /// Its bytes; gaps hold 0xA5.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = vec![0xA5; self.lead + self.points() * self.layout.stride];
        let rows = bytes[self.lead..].chunks_exact_mut(self.layout.stride.max(1));
        for (to, row) in rows.zip(self.rows.chunks_exact(COLUMNS)) {
            for (place, value) in self.layout.columns.iter().zip(row) {
                let to = &mut to[place.offset..];
                match place.kind {
                    ValueType::F32 => to[..4].copy_from_slice(&value.to_le_bytes()),
                    ValueType::U8 => to[0] = *value as u8,
                    ValueType::U16 => to[..2].copy_from_slice(&(*value as u16).to_le_bytes()),
                }
            }
        }
        bytes
    }
}

/// x, y, z float32, intensity and return type bytes, channel u16: 16 bytes. Column 4 is the channel.
pub(super) fn xyzirc() -> RowLayout {
    layout(16, [0, 4, 8], (12, ValueType::U8), (14, ValueType::U16))
}

/// Rows of 19 bytes, nothing aligned.
pub(super) fn unaligned() -> RowLayout {
    layout(19, [13, 1, 5], (0, ValueType::U8), (10, ValueType::U16))
}

/// Rows too long for shared memory.
pub(super) fn wide() -> RowLayout {
    layout(83, [40, 3, 70], (79, ValueType::F32), (20, ValueType::F32))
}

fn layout(
    stride: usize,
    xyz: [usize; 3],
    intensity: (usize, ValueType),
    channel: (usize, ValueType),
) -> RowLayout {
    let mut columns: Vec<ColumnPlace> = xyz.map(ColumnPlace::f32).to_vec();
    columns.extend([intensity, channel].map(|(offset, kind)| ColumnPlace { offset, kind }));
    RowLayout { stride, columns }
}

/// A small generator; the same numbers on every machine.
#[derive(Clone, Debug)]
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(super) fn between(&mut self, lower: f32, upper: f32) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1_u64 << 24) as f32;
        lower + unit * (upper - lower)
    }
}

/// Points around `range`, half of them in clusters, a few far, broken or on the border of a cell.
pub(super) fn random_rows(
    noise: &mut Noise,
    points: usize,
    range: &[f32; 6],
    size: f32,
) -> Vec<f32> {
    let mut rows = Vec::with_capacity(points * COLUMNS);
    for _ in 0..points {
        let mut xyz: [f32; 3] = std::array::from_fn(|axis| {
            let (lower, upper) = (range[axis], range[axis + 3]);
            let margin = 0.02 * (upper - lower);
            noise.between(lower - margin, upper + margin)
        });
        if noise.below(2) == 0 {
            xyz = std::array::from_fn(|axis| {
                let quarter = (range[axis + 3] - range[axis]) / 4.0;
                let centre = range[axis] + (noise.below(4) as f32 + 0.5) * quarter;
                centre + noise.between(-4.0, 4.0) * size
            });
        }
        let axis = noise.below(3);
        match noise.below(40) {
            0 => xyz[axis] = f32::NAN,
            1 => xyz[axis] = f32::INFINITY,
            2 => xyz[axis] = -1e30,
            3..10 => xyz[axis] = range[axis] + noise.below(200) as f32 * size,
            10 => xyz[axis] = range[axis + 3],
            11 => xyz[axis] = -0.0,
            _ => {}
        }
        rows.extend(xyz);
        rows.extend([noise.below(256) as f32, noise.below(65536) as f32]);
    }
    rows
}

/// Turned by `angle` (rad) about z and shifted.
pub(super) fn moved(
    angle: f32,
    shift: [f32; 3],
    time_lag: f32,
    remove_close: f32,
) -> CloudPlacement {
    let (sine, cosine) = angle.sin_cos();
    CloudPlacement {
        key_from_sweep: Some([
            [cosine, -sine, 0.01, shift[0]],
            [sine, cosine, -0.02, shift[1]],
            [-0.01, 0.02, 1.0, shift[2]],
        ]),
        time_lag,
        remove_close,
    }
}

/// Rows of [`COLUMNS`] little-endian floats.
pub(super) fn read_rows(path: &Path) -> std::io::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    let floats = bytes.chunks_exact(4);
    Ok(floats
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}
