//! Device times of the launchers on the recorded cloud: medians over replays of a captured graph, with the
//! caches as the replay before leaves them.

use std::sync::Arc;

use bevfusion_kernels::driver::{Context, DriverError, Event, Graph};

use super::cases::full;
use super::rig::{Rig, Setup};
use super::scene::{COLUMNS, Cloud};
use crate::report::{Report, Row};

const REPLAYS: usize = 240;
/// Runs in one graph, so that the start of a graph is shared.
const RUNS: usize = 10;

/// Puts one run of something on the stream.
type Enqueue<'a> = &'a dyn Fn() -> Result<(), DriverError>;

pub(super) fn run(
    context: &Arc<Context>,
    rows: &[f32],
    report: &mut Report,
) -> Result<(), DriverError> {
    let setup = Setup {
        time_column: 9,
        means: false,
        ..full("time")
    };
    let mut longer = rows.to_vec();
    let more = 270_000_usize.saturating_sub(rows.len() / COLUMNS) * COLUMNS;
    // Shifted by a little, so that they open new voxels or fill old ones as another sweep would.
    longer.extend(
        rows.iter()
            .take(more)
            .enumerate()
            .map(|(i, v)| match i % COLUMNS {
                0 | 1 => v + 0.03,
                _ => *v,
            }),
    );
    let mut rig = Rig::new(context, &setup)?;
    for (name, rows) in [("recorded", rows.to_vec()), ("270k", longer)] {
        for pinned in [false, true] {
            let cloud = Cloud {
                pinned,
                ..Cloud::key(rows.clone())
            };
            let points = cloud.points();
            let loaded = rig.load(&[cloud])?;
            let place = if pinned { "pinned" } else { "device" };
            measure(
                &rig,
                &format!("time {name} {points} points, {place}"),
                report,
            )?;
            drop(loaded);
        }
    }
    Ok(())
}

fn measure(rig: &Rig, name: &str, report: &mut Report) -> Result<(), DriverError> {
    let stream = &rig.stream;
    let voxelized = || {
        rig.sweep.enqueue(stream, &rig.header)?;
        rig.voxelize.enqueue(stream)
    };
    let stages: [(&str, Enqueue<'_>); 5] = [
        ("all", &|| rig.enqueue()),
        ("sweep", &|| rig.sweep.enqueue(stream, &rig.header)),
        ("sweep + voxelise", &voxelized),
        ("voxelise", &|| rig.voxelize.enqueue(stream)),
        ("rulebooks", &|| rig.rulebooks.enqueue(stream)),
    ];
    for (stage, enqueue) in stages {
        let once = microseconds(rig, 1, enqueue)?;
        let chained = microseconds(rig, RUNS, enqueue)?;
        note(
            report,
            format!("{name}: {stage}"),
            format!("{chained:.1} us; alone in a graph {once:.1} us"),
        );
    }
    let rows = rig.rulebooks.rows().download()?;
    note(report, format!("{name}: rows"), format!("{rows:?}"));
    Ok(())
}

/// Median time of one of `runs` in a graph.
fn microseconds(rig: &Rig, runs: usize, enqueue: Enqueue<'_>) -> Result<f32, DriverError> {
    let graph = Graph::capture(&rig.stream, || (0..runs).try_for_each(|_| enqueue()))?;
    let context = rig.stream.context();
    let (start, end) = (Event::timing(context)?, Event::timing(context)?);
    let mut times = Vec::with_capacity(REPLAYS);
    for _ in 0..REPLAYS {
        start.record(&rig.stream)?;
        graph.launch(&rig.stream)?;
        end.record(&rig.stream)?;
        end.synchronize()?;
        times.push(end.milliseconds_since(&start)? * 1000.0);
    }
    times.sort_by(f32::total_cmp);
    Ok(times[REPLAYS / 2] / runs as f32)
}

fn note(report: &mut Report, stage: String, note: String) {
    report.rows.push(Row {
        stage,
        error: 0.0,
        limit: 0.0,
        note,
    });
}
