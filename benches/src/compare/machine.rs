//! Where a comparison ran, and with which versions.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine under the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many threads it runs at once.
    pub cores: usize,
    /// Main memory, in bytes.
    pub memory_bytes: u64,
    /// The operating system's kernel.
    pub kernel: String,
    /// The file system of the data.
    pub file_system: String,
}

impl Machine {
    /// This machine, with data in `directory`. What cannot be found out is called unknown.
    #[must_use]
    pub fn this(directory: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or_default() * 1024,
            kernel: format!(
                "{} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim()
            ),
            file_system: directory
                .canonicalize()
                .ok()
                .and_then(|directory| file_system(&read("/proc/self/mounts"), &directory))
                .unwrap_or_else(unknown),
        }
    }
}

/// The version of `package` that is compiled in.
pub(super) fn locked_version(package: &str) -> String {
    let lock = toml::from_str::<toml::Table>(LOCK).unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let is_it = |entry: &&toml::Value| entry.get("name").and_then(|v| v.as_str()) == Some(package);
    let found = packages.into_iter().flatten().find(is_it);
    let version = found.and_then(|entry| entry.get("version")?.as_str());
    version.map_or_else(unknown, str::to_owned)
}

/// The value in a line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(key, _)| key.trim() == name);
    found.next().map(|(_, value)| value.trim().to_owned())
}

/// The type of the file system that is mounted closest above `directory`.
fn file_system(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

fn unknown() -> String {
    "unknown".into()
}

const LOCK: &str = include_str!("../../../Cargo.lock");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_knows_the_peers() {
        assert!(locked_version("sled").starts_with("0.34."));
        assert_eq!(locked_version("no-such-package"), "unknown");
    }

    #[test]
    fn the_closest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tm xfs rw 0 0\n";
        let kind = |path| file_system(mounts, Path::new(path));
        assert_eq!(kind("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/home").as_deref(), Some("ext4"));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model : 7\nmodel name\t: A Processor\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A Processor"));
        assert_eq!(field(text, "name"), None);
    }
}
