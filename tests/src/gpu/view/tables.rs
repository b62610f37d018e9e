//! Table sets against the twins: the same points in every cell, runs and cells in order, the same bits again.

use bevfusion_kernels::cuda::view_tables::{TableContents, ViewTables};
use bevfusion_kernels::driver::{DeviceArena, DriverError, Stream};
use bevfusion_kernels::reference::pool_table::{PoolGrid, PoolTable};

use super::super::random::Random;
use super::cases::{Case, all};
use crate::report::Report;

/// Runs beyond which a cell is in the front part of the list.
const LONG_RUNS: u32 = 3;

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    for case in all(quick) {
        computed(stream, &case, report)?;
    }
    for case in all(true) {
        given(stream, &case, report)?;
    }
    Ok(())
}

/// Both sets from two calibrations, the first one twice.
fn computed(stream: &Stream, case: &Case, report: &mut Report) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let tables = ViewTables::new(context, &arena, &case.config)?;
    let rigs = [case.rig(), case.other_rig()];
    let mut first = None;
    for (turn, set) in [(0, 0), (1, 1), (0, 0)] {
        let rig: &super::rig::Rig = &rigs[turn];
        let record = rig.pinned(context)?;
        tables.build(stream, set, &record)?;
        stream.synchronize()?;
        let got = tables.download(set)?;
        let name = format!("gpu view tables {} {set}", case.name);
        compare(&name, case, &case.cells(rig), &got, report);
        if set == 1 {
            continue;
        }
        let Some(before) = first.replace(got.clone()) else {
            continue;
        };
        let same =
            before.starts == got.starts && before.runs == got.runs && before.list == got.list;
        let newer = before.counts.generation < got.counts.generation;
        let outcome = [same, newer].map(i64::from);
        report.integers(format!("{name} repeats"), &outcome, &[1, 1]);
    }
    Ok(())
}

/// Random cells in place of the computed ones.
fn given(stream: &Stream, case: &Case, report: &mut Report) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let tables = ViewTables::new(context, &arena, &case.config)?;
    let grid = &case.config.grid;
    let mut random = Random::new(5);
    let cells: Vec<[i32; 3]> = (0..case.config.shape().points())
        .map(|_| {
            let cell = grid.count.map(|count| random.below(count) as i32);
            if random.below(4) == 0 { [-1; 3] } else { cell }
        })
        .collect();
    let ranks: Vec<i32> = cells
        .iter()
        .map(|cell| grid.rank(*cell).map_or(-1, |rank| rank as i32))
        .collect();
    let ranks = arena.take_with("ranks", &ranks)?;
    let record = case.rig().pinned(context)?;
    tables.build_from_ranks(stream, 1, &record, &ranks)?;
    stream.synchronize()?;
    let name = format!("gpu view given cells {}", case.name);
    compare(&name, case, &cells, &tables.download(1)?, report);
    Ok(())
}

fn compare(name: &str, case: &Case, cells: &[[i32; 3]], got: &TableContents, report: &mut Report) {
    let grid: &PoolGrid = &case.config.grid;
    let mut table = PoolTable::default();
    table.build(cells, grid);
    let spans: Vec<_> = got
        .starts
        .windows(2)
        .map(|w| w[0] as usize..w[1] as usize)
        .collect();
    let mut points = Vec::new();
    let mut unordered = 0_i64;
    let mut wanted = Vec::new();
    for (rank, span) in spans.iter().enumerate() {
        let runs = got.runs.get(span.clone()).unwrap_or(&[]);
        unordered += runs.windows(2).filter(|pair| pair[0] >= pair[1]).count() as i64;
        let mut own: Vec<i64> = runs.iter().flat_map(|run| points_of(case, run)).collect();
        own.sort_unstable();
        points.push(own.len() as i64);
        points.extend(own);
        wanted.push(table.points_of(rank).len() as i64);
        wanted.extend(table.points_of(rank).iter().map(|point| i64::from(*point)));
    }
    report.integers(format!("{name} points"), &points, &wanted);
    report.integers(format!("{name} runs out of order"), &[unordered], &[0]);
    order(name, got, report);
}

/// Flat indices over `[N, D, h, w]`.
fn points_of<'a>(
    case: &'a Case,
    run: &'a bevfusion_kernels::cuda::view_shape::Run,
) -> impl Iterator<Item = i64> + 'a {
    let shape = case.config.shape();
    let [height, width] = shape.feature_size;
    let (camera, u) = (run.column / width, run.column % width);
    let line = (camera * shape.depths + run.depth) * height;
    (run.row..run.row + run.rows).map(move |v| ((line + v) * width + u) as i64)
}

/// The list: cells with many runs first, each part by first run.
fn order(name: &str, got: &TableContents, report: &mut Report) {
    let mut wanted: Vec<_> = got
        .starts
        .windows(2)
        .enumerate()
        .filter(|(_, w)| w[1] > w[0])
        .map(|(rank, w)| {
            let (start, runs) = (w[0], w[1] - w[0]);
            let first = got.runs.get(start as usize).copied();
            (runs <= LONG_RUNS, first, rank as u32, start, runs)
        })
        .collect();
    wanted.sort_unstable();
    let long = wanted.iter().filter(|cell| !cell.0).count();
    let counts = [got.counts.runs, got.counts.cells, got.counts.long_cells].map(i64::from);
    let numbers = [got.runs.len(), wanted.len(), long].map(|n| n as i64);
    report.integers(format!("{name} counts"), &counts, &numbers);
    let flat = wanted
        .iter()
        .flat_map(|(_, _, rank, start, runs)| [*rank, *start, *runs]);
    let wanted: Vec<i64> = flat.map(i64::from).collect();
    let flat = got
        .list
        .iter()
        .flat_map(|entry| [entry[0], entry[1], entry[2]]);
    let listed: Vec<i64> = flat.map(i64::from).collect();
    report.integers(format!("{name} order of cells"), &listed, &wanted);
}
