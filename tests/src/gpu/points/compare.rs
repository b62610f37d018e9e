//! Runs a case on the device and compares everything that it leaves with the twins.

use std::sync::Arc;

use bevfusion_kernels::cuda::packed_rulebook::PackedShape;
use bevfusion_kernels::driver::{Context, DriverError};
use half::f16;

use super::cases::Case;
use super::expected::{Expected, expected};
use super::rig::{Outcome, Rig, Setup};
use crate::report::{Report, Tolerance};

/// Runs the frames of `case` one after the other on the same launchers, the last one twice more.
pub(super) fn case(
    context: &Arc<Context>,
    case: &Case,
    report: &mut Report,
) -> Result<(), DriverError> {
    let mut rig = Rig::new(context, &case.setup)?;
    let graph = rig.graph()?;
    for (number, clouds) in case.frames.iter().enumerate() {
        let name = format!("{} f{number}", case.setup.name);
        let loaded = rig.load(clouds)?;
        rig.poison(0xEE)?;
        graph.launch(&rig.stream)?;
        let outcome = rig.outcome()?;
        match expected(&case.setup, clouds) {
            Ok(wanted) => frame(&name, (&case.setup, &rig), (&outcome, &wanted), report),
            Err(error) => report.failure(&name, error.to_string()),
        }
        let mut same = true;
        for byte in [0x00, 0x55] {
            rig.poison(byte)?;
            graph.launch(&rig.stream)?;
            same &= rig.outcome()? == outcome;
        }
        report.integers(format!("{name} repeats"), &[i64::from(same)], &[1]);
        drop(loaded);
    }
    Ok(())
}

fn frame(
    name: &str,
    (setup, rig): (&Setup, &Rig),
    (got, want): (&Outcome, &Expected),
    report: &mut Report,
) {
    counts(name, got, want, report);
    report.integers(
        format!("{name} points"),
        &wide(&got.points),
        &bits(&want.points),
    );
    report.integers(
        format!("{name} means"),
        &wide(&got.means),
        &bits(&want.means),
    );
    features(name, setup, (got, want), report);
    let shapes = rig.rulebooks.levels().iter().map(|level| level.shape);
    for (level, ((sites, coords), shape)) in
        got.sites.iter().zip(&want.levels).zip(shapes).enumerate()
    {
        let wanted: Vec<i64> = coords.iter().map(|c| site(*c, shape)).collect();
        report.integers(format!("{name} level {level}"), &wide(sites), &wanted);
    }
    for ((entries, table), map) in got.maps.iter().zip(&want.tables).zip(rig.maps()) {
        let rows = want.levels[map.output_level].len();
        let shape = PackedShape::new(map.geometry.kernel, rows);
        let stage = format!("{name} map {}-{}", map.input_level, map.output_level);
        if entries.len() != shape.entries() {
            let problem = format!("{} entries, expected {}", entries.len(), shape.entries());
            report.failure(stage, problem);
            continue;
        }
        let got = shape.unpack(entries, rows);
        report.integers(&stage, &signed(&got), &signed(table));
        let padding = entries
            .chunks_exact(shape.row_stride.max(1))
            .flat_map(|tap| &tap[rows..]);
        let nonzero = padding.filter(|entry| **entry != 0).count();
        report.integers(format!("{stage} padding"), &[nonzero as i64], &[0]);
    }
    let maps = [got.maps.len(), got.sites.len()].map(|n| n as i64);
    let wanted = [want.tables.len(), want.levels.len()].map(|n| n as i64);
    report.integers(format!("{name} extents"), &maps, &wanted);
}

fn counts(name: &str, got: &Outcome, want: &Expected, report: &mut Report) {
    let of = got.counts;
    let counted = [
        of.input,
        of.points,
        of.clipped,
        of.close,
        of.non_finite,
        of.out_of_range,
        of.outside,
        of.dropped_cells,
        of.no_voxel,
        of.voxel_full(),
    ];
    let wanted = [
        want.input,
        want.counts.input,
        want.input - want.counts.input,
        want.counts.close,
        want.counts.non_finite,
        want.counts.out_of_range,
        want.dropped.outside,
        want.dropped.cells,
        want.dropped.no_voxel,
        want.dropped.voxel_full,
    ];
    report.integers(
        format!("{name} counts"),
        &wide(&counted),
        &wanted.map(|n| n as i64),
    );
    let levels = want.levels.len();
    let rows = want
        .levels
        .iter()
        .map(Vec::len)
        .chain(want.uncut.iter().copied());
    let wanted: Vec<i64> = rows.map(|n| n as i64).collect();
    let counted = [&of.rows[..levels], &of.sites[..levels]].concat();
    report.integers(format!("{name} rows"), &wide(&counted), &wanted);
}

fn features(name: &str, setup: &Setup, (got, want): (&Outcome, &Expected), report: &mut Report) {
    let voxels = want.levels[0].len();
    let width = want.features.len() / voxels.max(1);
    let mut wanted = vec![0.0_f32; voxels * setup.channels];
    let rows = wanted.chunks_exact_mut(setup.channels);
    for (row, values) in rows.zip(want.features.chunks_exact(width.max(1))) {
        row[..width].copy_from_slice(values);
    }
    let stage = format!("{name} features");
    if setup.fourier.is_some() {
        // Sines of host and device differ in the last bits of float32; half a unit of fp16 below 1.
        let got: Vec<f32> = got
            .features
            .iter()
            .map(|b| f16::from_bits(*b).to_f32())
            .collect();
        report.floats(stage, &got, &wanted, Tolerance::Absolute(2.5e-4));
        return;
    }
    let wanted: Vec<i64> = wanted
        .iter()
        .map(|v| i64::from(f16::from_f32(*v).to_bits()))
        .collect();
    let got: Vec<i64> = got.features.iter().map(|v| i64::from(*v)).collect();
    report.integers(stage, &got, &wanted);
}

fn site([x, y, z]: [i32; 3], shape: [usize; 3]) -> i64 {
    (i64::from(x) * shape[1] as i64 + i64::from(y)) * 64 + i64::from(z)
}

fn wide(values: &[u32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(*v)).collect()
}

fn signed(values: &[i32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(*v)).collect()
}

fn bits(values: &[f32]) -> Vec<i64> {
    values.iter().map(|v| i64::from(v.to_bits())).collect()
}
