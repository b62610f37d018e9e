//! What a result must say about where it was taken: processor, cores, load, memory.
//!
//! Read from `/proc`; on systems without it the fields are absent.

use std::fs;

use serde::Serialize;

/// The machine and its state when the run began.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Its vector extensions, as far as they matter to matrix products.
    pub vector_extensions: Vec<String>,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
    /// Runnable processes, mean of the last minute: other work on the machine makes times worse.
    pub load_1min: Option<f64>,
    /// Time of the run (s since 1970, UTC).
    pub unix_time: u64,
}

/// Flags of `/proc/cpuinfo` that are reported.
const EXTENSIONS: [&str; 5] = ["avx2", "fma", "avx512f", "avx512_vnni", "amx_tile"];

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = field(&info, "flags").unwrap_or_default();
        let has = |name: &&str| flags.split_whitespace().any(|flag| flag == *name);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            cpu: field(&info, "model name").unwrap_or_else(|| "unknown".into()),
            vector_extensions: EXTENSIONS
                .iter()
                .filter(|e| has(e))
                .map(|e| (*e).into())
                .collect(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            load_1min: load(),
            unix_time: since.map_or(0, |time| time.as_secs()),
        }
    }
}

/// Runnable processes, mean of the last minute.
#[must_use]
pub fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The most memory that this process ever had resident (bytes).
#[must_use]
pub fn peak_resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = field(&status, "VmHWM")?;
    let number: u64 = kilobytes.trim_end_matches("kB").trim().parse().ok()?;
    Some(number * 1024)
}

/// The text behind the first `key :`.
fn field(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(name, _)| name.trim() == key);
    found.next().map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: Some CPU @ 2 GHz: fast\nVmHWM:\t  1234 kB\n";
        assert_eq!(
            field(text, "model name").as_deref(),
            Some("Some CPU @ 2 GHz: fast")
        );
        assert_eq!(field(text, "VmHWM").as_deref(), Some("1234 kB"));
        assert_eq!(field(text, "name"), None);
    }
}
