//! Where a measurement was taken: the device that ran the networks and the machine around it.
//!
//! Read from `/proc` and `/sys`; what a system does not tell is absent.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use bevfusion_kernels::driver::{ArenaEntry, DeviceInfo};

use crate::exec::Pipeline;

/// Purposes of memory that are printed one by one.
const LISTED: usize = 12;

/// The device that an engine runs on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DeviceFacts {
    /// Product name.
    pub(super) name: String,
    /// Cores, or multiprocessors.
    pub(super) units: usize,
    /// Threads that were asked for; absent: all cores.
    pub(super) threads: Option<usize>,
    /// Clocks by name (MHz).
    pub(super) clocks_mhz: BTreeMap<&'static str, f64>,
    /// Version of its driver, if it has one.
    pub(super) driver: Option<String>,
    /// Device memory that the pipeline took (bytes), if it has a device of its own.
    pub(super) memory_bytes: Option<usize>,
    /// The same by purpose, most first.
    pub(super) memory: Vec<MemoryUse>,
}

/// Device memory of one purpose.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MemoryUse {
    /// What it is for.
    pub(super) purpose: String,
    pub(super) bytes: usize,
}

impl DeviceFacts {
    /// The device that runs the pipeline.
    pub(super) fn of(pipeline: &mut Pipeline, threads: Option<usize>) -> Self {
        match pipeline.as_cuda() {
            Some(gpu) => {
                let entry = |entry: &ArenaEntry| MemoryUse {
                    purpose: entry.name.clone(),
                    bytes: entry.bytes,
                };
                let memory = gpu.memory().iter().map(entry).collect();
                Self::gpu(gpu.context().info(), memory)
            }
            None => Self::cpu(threads),
        }
    }

    fn gpu(info: &DeviceInfo, memory: Vec<MemoryUse>) -> Self {
        let (major, minor) = info.compute_capability;
        Self {
            name: format!("{} (compute capability {major}.{minor})", info.name),
            units: info.multiprocessors as usize,
            threads: None,
            clocks_mhz: [
                ("core_limit", info.clock_mhz),
                ("memory_limit", info.memory_clock_mhz),
            ]
            .into_iter()
            .collect(),
            memory_bytes: Some(memory.iter().map(|entry| entry.bytes).sum()),
            memory,
            driver: Some(format!(
                "CUDA {}.{}",
                info.driver_version / 1000,
                info.driver_version % 1000 / 10
            )),
        }
    }

    fn cpu(threads: Option<usize>) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let board = || fs::read_to_string("/proc/device-tree/model").ok();
        let name = first(&info, "model name").or_else(board);
        let limit = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
        let limit = limit.ok().and_then(|text| text.trim().parse::<f64>().ok());
        let clocks = [
            ("core", mean(&info, "cpu MHz")),
            ("core_limit", limit.map(|kilohertz| 1e-3 * kilohertz)),
        ];
        Self {
            name: name.map_or_else(
                || format!("unknown {} processor", std::env::consts::ARCH),
                |name| name.trim_end_matches('\0').to_owned(),
            ),
            units: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            clocks_mhz: clocks
                .into_iter()
                .filter_map(|(name, clock)| Some((name, clock?)))
                .collect(),
            driver: None,
            memory_bytes: None,
            memory: Vec::new(),
        }
    }

    /// One line.
    pub(super) fn in_words(&self) -> String {
        let mut text = format!("{}, cores: {}", self.name, self.units);
        if let Some(threads) = self.threads {
            text.push_str(&format!(", threads: {threads}"));
        }
        for (name, clock) in &self.clocks_mhz {
            text.push_str(&format!(", {}: {clock:.0} MHz", name.replace('_', " ")));
        }
        if let Some(driver) = &self.driver {
            text.push_str(&format!(", driver {driver}"));
        }
        if let Some(bytes) = self.memory_bytes {
            text.push_str(&format!(", device memory: {} MiB", bytes >> 20));
        }
        text
    }
}

/// Device memory by purpose, as it is printed; small ones together.
pub(super) fn memory_table(memory: &[MemoryUse]) -> String {
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let (listed, others) = memory.split_at(memory.len().min(LISTED));
    let mut lines = vec![format!("{:<46}{:>10}", "device memory", "MiB")];
    let line = |purpose: &str, bytes| format!("{purpose:<46}{:>10.1}", mebibytes(bytes));
    lines.extend(listed.iter().map(|one| line(&one.purpose, one.bytes)));
    if !others.is_empty() {
        let purpose = format!("{} more", others.len());
        lines.push(line(&purpose, others.iter().map(|one| one.bytes).sum()));
    }
    lines.join("\n")
}

/// The machine when the run began.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Host {
    /// Operating system and architecture.
    pub(super) system: String,
    /// Runnable processes, mean of the last minute: other work makes times worse.
    pub(super) load_1min: Option<f64>,
    /// s since 1970, UTC.
    pub(super) unix_time: u64,
}

impl Host {
    pub(super) fn here() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            load_1min: load.split_whitespace().next().and_then(|n| n.parse().ok()),
            unix_time: since.map_or(0, |time| time.as_secs()),
        }
    }
}

fn fields<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .filter(move |(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

fn first(text: &str, key: &str) -> Option<String> {
    fields(text, key).next().map(str::to_owned)
}

fn mean(text: &str, key: &str) -> Option<f64> {
    let values: Vec<f64> = fields(text, key).filter_map(|v| v.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{LISTED, MemoryUse, first, mean, memory_table};

    #[test]
    fn small_memory_is_summed_in_the_last_line() {
        let memory: Vec<MemoryUse> = (0..LISTED + 2)
            .map(|index| MemoryUse {
                purpose: format!("purpose {index}"),
                bytes: 1 << 20,
            })
            .collect();
        let table = memory_table(&memory);
        assert_eq!(table.lines().count(), LISTED + 2);
        let last = table.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("2 more") && last.ends_with(" 2.0"),
            "{last}"
        );
        assert!(!memory_table(&memory[..3]).contains("more"));
    }

    #[test]
    fn fields_of_all_cores_are_averaged_and_missing_ones_are_absent() {
        let text = "model name\t: Some CPU\ncpu MHz\t\t: 2000.0\n\nmodel name\t: Some CPU\ncpu MHz\t\t: 3000.5\n";
        assert_eq!(first(text, "model name").as_deref(), Some("Some CPU"));
        assert!(mean(text, "cpu MHz").is_some_and(|clock| (clock - 2500.25).abs() < 1e-9));
        assert_eq!(mean(text, "MHz"), None);
    }
}
