//! Driver calls counted by kind: what a frame costs is asserted, not hoped for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of driver calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Call {
    /// Device memory taken.
    DeviceAlloc,
    /// Device memory given back.
    DeviceFree,
    /// Pinned host memory taken.
    PinnedAlloc,
    /// Pinned host memory given back.
    PinnedFree,
    /// A kernel launched by itself, not as part of a graph.
    KernelLaunch,
    /// A graph launched.
    GraphLaunch,
    /// An asynchronous copy or fill.
    AsyncCopy,
    /// A call in which the host waits for the device.
    BlockingSync,
    /// An event recorded, or made to be waited for by a stream.
    EventOrder,
    /// An event asked whether it has happened.
    EventQuery,
}

impl Call {
    /// Number of kinds.
    pub const COUNT: usize = 10;

    /// Every kind.
    pub const ALL: [Self; Self::COUNT] = [
        Self::DeviceAlloc,
        Self::DeviceFree,
        Self::PinnedAlloc,
        Self::PinnedFree,
        Self::KernelLaunch,
        Self::GraphLaunch,
        Self::AsyncCopy,
        Self::BlockingSync,
        Self::EventOrder,
        Self::EventQuery,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceAlloc => "device_alloc",
            Self::DeviceFree => "device_free",
            Self::PinnedAlloc => "pinned_alloc",
            Self::PinnedFree => "pinned_free",
            Self::KernelLaunch => "kernel_launch",
            Self::GraphLaunch => "graph_launch",
            Self::AsyncCopy => "async_copy",
            Self::BlockingSync => "blocking_sync",
            Self::EventOrder => "event_order",
            Self::EventQuery => "event_query",
        }
    }
}

/// A reading of the counters of a context, in the order of [`Call::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    counts: [u64; Call::COUNT],
}

impl Counters {
    /// Calls of one kind.
    #[must_use]
    pub const fn of(&self, call: Call) -> u64 {
        self.counts[call as usize]
    }

    /// Calls made since an `earlier` reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|i| self.counts[i].wrapping_sub(earlier.counts[i])),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    counts: [AtomicU64; Call::COUNT],
}

impl LiveCounters {
    pub(crate) fn add(&self, call: Call) {
        self.counts[call as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            counts: std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, LiveCounters};

    #[test]
    fn readings_subtract_by_kind() {
        let live = LiveCounters::default();
        live.add(Call::GraphLaunch);
        let earlier = live.read();
        live.add(Call::GraphLaunch);
        live.add(Call::EventQuery);
        let since = live.read().since(&earlier);
        let counts = Call::ALL.map(|call| since.of(call));
        assert_eq!(counts.iter().sum::<u64>(), 2);
        assert_eq!(since.of(Call::GraphLaunch), 1);
        assert_eq!(since.of(Call::EventQuery), 1);
    }
}
