//! Times of device work: a graph replayed many times between two events.

use bevfusion_kernels::driver::{DriverError, Event, Graph, Stream};

/// Replays per measurement and measurements.
const REPLAYS: usize = 20;
const ROUNDS: usize = 15;

/// Median time (µs) of what `enqueue` puts on the stream, captured once and replayed back to back.
///
/// # Errors
/// When the driver refuses.
pub fn microseconds(
    stream: &Stream,
    enqueue: impl FnOnce() -> Result<(), DriverError>,
) -> Result<f64, DriverError> {
    let graph = Graph::capture(stream, enqueue)?;
    let [start, end] = [
        Event::timing(stream.context())?,
        Event::timing(stream.context())?,
    ];
    for _ in 0..REPLAYS {
        graph.launch(stream)?;
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        start.record(stream)?;
        for _ in 0..REPLAYS {
            graph.launch(stream)?;
        }
        end.record(stream)?;
        end.synchronize()?;
        times.push(f64::from(end.milliseconds_since(&start)?) * 1e3 / REPLAYS as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}
