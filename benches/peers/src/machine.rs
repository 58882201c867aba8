//! The machine that the figures are from.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The compiler that built this program.
pub const RUSTC: &str = env!("PEERS_RUSTC");

/// Facts about the machine, as (name, value) in the order of the report.
pub fn facts(memory: &Path, disk: &Path) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("Processor", cpu_model().unwrap_or_else(unknown)),
        ("Cores", cores.to_string()),
        ("Kernel", kernel().unwrap_or_else(unknown)),
        ("In memory", file_system(memory).unwrap_or_else(unknown)),
        ("On disk", file_system(disk).unwrap_or_else(unknown)),
        ("Compiler", RUSTC.to_owned()),
    ]
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(format!("{} {}", std::env::consts::OS, release.trim()))
}

/// The type of the file system that `path` is on.
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    type_in(&mounts, &path)
}

/// The type in the mount table's entry for the longest prefix of `path`; the last of equals counts.
fn type_in(mounts: &str, path: &Path) -> Option<String> {
    let entries = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let around = entries.filter(|(point, _)| path.starts_with(point));
    around.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// Versions of all packages in this harness's `Cargo.lock`.
pub fn versions() -> HashMap<&'static str, &'static str> {
    versions_in(include_str!("../Cargo.lock"))
}

fn versions_in(lock: &str) -> HashMap<&str, &str> {
    lock.split("[[package]]").filter_map(package).collect()
}

/// (name, version) of one package's entry.
fn package(entry: &str) -> Option<(&str, &str)> {
    let quoted = |key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
        line.strip_prefix(" = \"")?.strip_suffix('"')
    };
    Some((quoted("name")?, quoted("version")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_latest_mount_names_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\nx /dev/shm ramfs rw 0 0\n";
        assert_eq!(type_in(mounts, Path::new("/dev/shm/run")).as_deref(), Some("ramfs"));
        assert_eq!(type_in(mounts, Path::new("/dev/shmem")).as_deref(), Some("ext4"));
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock =
            "version = 4\n\n[[package]]\nname = \"a-b\"\nversion = \"0.1.2\"\nsource = \"x\"\n";
        assert_eq!(versions_in(lock)["a-b"], "0.1.2");
    }

    #[test]
    fn every_contestant_has_a_version() {
        let versions = versions();
        for package in crate::contestants::all().iter().filter_map(|entry| entry.package) {
            assert!(versions.contains_key(package), "{package}");
        }
    }
}
