//! What the figures were taken on, and what this process takes of it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// The machine, as far as it says what it is.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model of its processor.
    pub processor: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The operating system.
    pub system: String,
}

impl Machine {
    /// The one that this runs on.
    #[must_use]
    pub fn this() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes("/proc/meminfo", "MemTotal"),
            system: format!("{} {}", std::env::consts::OS, release.trim()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_bytes, system } = self;
        write!(f, "{processor}, {cores} cores, {} GB, {system}", memory_bytes / 1_000_000_000)
    }
}

/// Bytes of memory that could be had without swapping; 0 if the system does not say.
pub(super) fn available_bytes() -> u64 {
    kilobytes("/proc/meminfo", "MemAvailable")
}

/// Bytes of this process that are in memory; 0 if the system does not say.
pub(super) fn resident_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmRSS")
}

/// The processor time that all threads of this process took so far.
pub(super) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Bytes that a file in `directory` can still take.
pub(super) fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let space = rustix::fs::statvfs(directory)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn kilobytes(path: &str, name: &str) -> u64 {
    let value = field(path, name).and_then(|value| value.strip_suffix(" kB")?.parse().ok());
    value.unwrap_or(0_u64) * 1024
}

/// The first value of `name` in a file of lines `name: value`.
fn field(path: &str, name: &str) -> Option<String> {
    value_of(&fs::read_to_string(path).ok()?, name)
}

fn value_of(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let text = "VmHWM:\t  12 kB\nVmRSS:\t  2104 kB\nmodel name\t: A: B\n";
        assert_eq!(value_of(text, "VmRSS").as_deref(), Some("2104 kB"));
        assert_eq!(value_of(text, "model name").as_deref(), Some("A: B"));
        assert_eq!(value_of(text, "RSS"), None);
    }

    #[test]
    fn work_takes_processor_time() {
        let before = processor_time();
        let sum = (0..5_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(sum);
        assert!(processor_time() > before);
    }
}
