//! Disks that are really full, files that may not grow, and directories that may not be changed.

use crate::support::{Dir, Job, Worker, eventually, is_long, record, seed, unpack};
use logrotor::{Compression, LogBuilder, MaintenanceMode, Naming, RotatingFileWriter};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small file system of its own, in memory, with a log `app.log` on it.
struct Disk(Dir);

impl Disk {
    /// `None`, with a printed note, where mounting is refused.
    fn new(kib: usize) -> Option<Self> {
        let dir = Dir::new();
        let size = format!("size={kib}k");
        let mount = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(dir.path()).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: this user may not mount a file system");
            return None;
        }
        Some(Self(dir))
    }

    fn remount(&self, option: &str) {
        let remount = format!("remount,{option}");
        let done = Command::new("mount").args(["-o", &remount]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }

    fn stuffing(&self) -> PathBuf {
        self.0.file("stuffing")
    }

    /// Another program fills it to the last block.
    fn fill(&self) {
        let mut file =
            std::fs::File::options().create(true).append(true).open(self.stuffing()).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn free(&self) {
        std::fs::remove_file(self.stuffing()).unwrap();
    }

    fn backups(&self) -> Vec<String> {
        self.0.backups()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Acts within log calls alone, and checks the path before each.
fn quick(disk: &Disk) -> LogBuilder {
    disk.0.writer().maintenance(MaintenanceMode::Inline).check_interval(Duration::ZERO)
}

// A removed backup that a program has open holds its space, so more and more were removed.
#[test]
fn regression_space_that_will_be_free_removes_no_more_backups() {
    let Some(disk) = Disk::new(1024) else { return };
    let log = quick(&disk).build().unwrap();
    for _ in 0..4 {
        log.write_record(&[b'x'; 100 * 1024]).unwrap();
        log.rotate().unwrap();
    }
    // A program of which the log knows nothing.
    let oldest = std::fs::File::open(disk.0.file(&disk.backups()[0])).unwrap();
    drop(log);
    let log = quick(&disk).min_free_space(700 * 1024).build().unwrap();
    (0..3).for_each(|_| log.finish().unwrap());
    assert_eq!(disk.backups().len(), 3);
    drop((oldest, log));
}

fn put(mut log: &RotatingFileWriter, text: &str) -> std::io::Result<()> {
    writeln!(log, "{text}")
}

fn assert_full(result: std::io::Result<()>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn log_opens_on_a_full_disk_and_recovers_with_space() {
    let Some(disk) = Disk::new(64) else { return };
    disk.fill();
    let log = quick(&disk).build().unwrap();
    assert_full(put(&log, "no space"));
    disk.free();
    put(&log, "space").unwrap();
    assert_eq!(disk.0.active_lines(), ["space"]);
    assert_eq!(log.stats().torn, 0);
}

#[test]
fn full_disk_makes_no_chain_of_empty_backups_and_cuts_nothing() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let Some(disk) = Disk::new(64) else { return };
        let log = quick(&disk).max_size(5000).naming(naming).build().unwrap();
        let line = "x".repeat(99);
        for _ in 0..50 {
            put(&log, &line).unwrap();
        }
        disk.fill();
        for _ in 0..100 {
            assert_full(put(&log, &line));
        }
        // Without space the full segment was rotated or not, but no segment without a record was.
        assert!(disk.backups().len() <= 1, "{:?}", disk.0.names());
        assert_eq!(disk.0.all_lines().len(), 50);
        disk.free();
        put(&log, &line).unwrap();
        let lines = disk.0.all_lines();
        assert!(lines.len() == 51 && lines.iter().all(|found| *found == line), "{lines:?}");
        assert!(disk.backups().iter().all(|name| !disk.0.read(name).is_empty()));
    }
}

#[test]
fn record_after_a_torn_one_starts_on_a_new_line() {
    let Some(disk) = Disk::new(64) else { return };
    let log = quick(&disk).max_size(10_000).build().unwrap();
    put(&log, &"a".repeat(3000)).unwrap();
    disk.fill();
    // The last block of the file has room for a part of it.
    assert_full(put(&log, &"b".repeat(3000)));
    assert_eq!(log.stats().torn, 1);
    assert_full(put(&log, "c"));
    disk.free();
    put(&log, "d").unwrap();
    let lines = disk.0.active_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].bytes().all(|byte| byte == b'b') && lines[1].len() < 3000);
    assert_eq!(lines[2], "d");
}

// The room for a record was computed without the line break that precedes it after a torn one.
#[test]
fn regression_line_break_after_a_torn_record_counts() {
    let Some(disk) = Disk::new(64) else { return };
    let log = quick(&disk).max_size(6000).build().unwrap();
    put(&log, &"a".repeat(3000)).unwrap();
    disk.fill();
    assert_full(put(&log, &"b".repeat(2000)));
    disk.free();
    assert_eq!(disk.0.read("app.log").len(), 4096);
    put(&log, &"c".repeat(6000 - 4096 - 1)).unwrap();
    let backups = disk.backups();
    assert_eq!(backups.len(), 1);
    assert_eq!(disk.0.read(&backups[0]).len(), 4096);
}

// Only the worker whose record was torn knew of it. So on a full disk its record and the next one
// of another worker shared a line.
#[test]
fn regression_record_torn_by_another_worker_ends_its_line() {
    let Some(disk) = Disk::new(64) else { return };
    let logs = [0, 1].map(|_| quick(&disk).build().unwrap());
    for log in &logs {
        put(log, &"a".repeat(1500)).unwrap();
    }
    disk.fill();
    assert_full(put(&logs[0], &"b".repeat(3000)));
    assert_full(put(&logs[1], "refused"));
    disk.free();
    put(&logs[1], "whole").unwrap();
    put(&logs[0], "whole as well").unwrap();
    let lines = disk.0.active_lines();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[3..], ["whole", "whole as well"]);
}

#[test]
fn worker_that_is_refused_breaks_no_line_that_is_whole() {
    let Some(disk) = Disk::new(64) else { return };
    let logs = [0, 1].map(|_| quick(&disk).build().unwrap());
    // Records that are no lines: 4096 bytes, so that the next one needs a block.
    let mut record = vec![0; 4096];
    record[4095] = b'.';
    (&logs[0]).write_all(&record).unwrap();
    disk.fill();
    for log in &logs {
        assert_full(put(log, "refused"));
    }
    disk.free();
    put(&logs[0], "next").unwrap();
    assert_eq!(disk.0.read("app.log"), [record.as_slice(), b"next\n"].concat());
}

#[test]
fn disk_full_during_compression_leaves_no_temporary() {
    let Some(disk) = Disk::new(256) else { return };
    let mut random = fastrand::Rng::with_seed(seed());
    let text: String = (0..9000).map(|_| format!("{:016x}\n", random.u64(..))).collect();
    let name = "app.log.2026-11-20T23-57-01.123456Z";
    std::fs::write(disk.0.file(name), &text).unwrap();
    let log = quick(&disk).compression(Compression::Gzip).build().unwrap();
    // The content has 153 KiB and needs about 75 compressed; the disk has less.
    assert_eq!(disk.backups(), [name], "{:?}", disk.0.names());
    disk.fill();
    log.finish().ok();
    assert_eq!(disk.0.names(), ["app.log", name, "stuffing"]);
    assert_eq!(disk.0.read(name), text.as_bytes());
    disk.free();
    disk.remount("size=1m");
    eventually("there is space, and it is compressed", || {
        log.finish().unwrap();
        disk.backups() == [format!("{name}.gz")]
    });
    assert_eq!(disk.0.read(&format!("{name}.gz")), text.as_bytes());
}

#[test]
fn free_space_is_kept_free_when_another_program_fills_the_disk() {
    let Some(disk) = Disk::new(256) else { return };
    let names: Vec<_> = (1..=5).map(|at| format!("app.log.{at}")).collect();
    for name in &names {
        std::fs::write(disk.0.file(name), [b'x'; 20 * 1024]).unwrap();
    }
    let builder = quick(&disk).naming(Naming::Number).min_free_space(100 * 1024);
    let log = builder.build().unwrap();
    put(&log, "one").unwrap();
    assert_eq!(disk.backups().len(), 5);
    // 151 KiB are free; the program leaves 71, so that two backups must be removed.
    std::fs::write(disk.stuffing(), [0; 80 * 1024]).unwrap();
    log.rotate().unwrap();
    assert_eq!(disk.backups(), ["app.log.4", "app.log.3", "app.log.2", "app.log.1"]);
    disk.fill();
    // It is refused or fits into the last block; in either case the disk is checked then.
    let _ = put(&log, "y");
    assert_eq!(disk.backups(), [""; 0]);
    put(&log, "z").unwrap();
}

/// Checks the records on a repeatedly full disk. Each acknowledged one exists once, on a line of
/// its own, but for the start of a refused one. There are no more of these than are counted.
fn check_torn(disk: &Disk, acknowledged: &[(usize, usize)], torn: u64) {
    let mut expected: BTreeSet<_> = acknowledged
        .iter()
        .map(|(worker, seq)| record(*worker, *seq).trim_end().to_owned())
        .collect();
    let mut beginnings = 0;
    for line in disk.0.all_lines() {
        let starts = line.match_indices('w').map(|(at, _)| at);
        match starts.map(|at| &line[at..]).find(|rest| expected.remove(*rest)) {
            Some(rest) => beginnings += u64::from(rest.len() < line.len()),
            None => beginnings += u64::from(!line.is_empty()),
        }
    }
    assert!(expected.is_empty(), "lost {expected:#?}");
    assert!(beginnings <= torn, "{beginnings} beginnings of {torn} torn records");
}

#[test]
fn repeatedly_full_disk_costs_only_refused_records() {
    let Some(disk) = Disk::new(512) else { return };
    let mut random = fastrand::Rng::with_seed(seed());
    let rounds = if is_long() { 400 } else { 40 };
    let builder = quick(&disk).max_size(9000).compression(Compression::Gzip);
    let logs: Vec<_> = (0..3).map(|_| builder.clone().build().unwrap()).collect();
    let (mut acknowledged, mut next) = (Vec::new(), [0; 3]);
    for _ in 0..rounds {
        for is_full in [false, true] {
            if is_full {
                disk.fill();
            }
            for _ in 0..random.usize(..150) {
                let worker = random.usize(..3);
                let seq = next[worker];
                next[worker] += 1;
                if (&logs[worker]).write_all(record(worker, seq).as_bytes()).is_ok() {
                    acknowledged.push((worker, seq));
                }
            }
        }
        disk.free();
        // So that backups alone do not fill the disk: their content is checked now.
        let torn = logs.iter().map(|log| log.stats().torn).sum();
        check_torn(&disk, &acknowledged, torn);
        for name in disk.backups() {
            assert!(!unpack(&disk.0.file(&name)).is_empty(), "{name} is empty");
        }
    }
    println!("{} of {} acknowledged", acknowledged.len(), next.iter().sum::<usize>());
    assert!(acknowledged.len() < next.iter().sum::<usize>());
}

#[test]
fn file_at_its_size_limit_ends_its_segment() {
    let dir = Dir::new();
    // 4 KiB: the limit of the process.
    let mut worker = Job::new("obey", &dir.log()).with("file_blocks", 8).spawn();
    worker.expect("ready");
    worker.write(&"x".repeat(3000));
    worker.write(&"y".repeat(3000));
    assert_eq!(dir.active_lines(), ["y".repeat(3000)]);
    let refused = worker.ask(&format!("write {}", "z".repeat(5000)));
    assert!(refused.contains("File too large"), "{refused}");
    worker.write("next");
    assert_eq!(dir.active_lines(), ["next"]);
    worker.finish();
}

fn limit_handles(worker: &Worker, count: u64) -> Rlimit {
    let pid = Pid::from_raw(worker.pid().try_into().unwrap());
    let old = rustix::process::getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(count), maximum: old.maximum }).unwrap()
}

#[test]
fn worker_without_free_handles_keeps_its_segment() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("max_size", 100).with("inline", 1);
    let mut worker = job.spawn();
    worker.expect("ready");
    let line = "x".repeat(60);
    worker.write(&line);
    let before = limit_handles(&worker, 0);
    for _ in 0..20 {
        worker.write(&line);
    }
    assert_eq!(worker.count("rotations"), 0);
    assert!((1..20).contains(&worker.count("failures")));
    limit_handles(&worker, before.current.unwrap());
    eventually("it rotates", || {
        worker.write(&line);
        worker.count("rotations") > 0
    });
    worker.finish();
    let lines = dir.all_lines();
    assert!(lines.len() > 21 && lines.iter().all(|found| *found == line));
}

#[test]
fn log_on_a_read_only_file_system_opens_once_writable() {
    let Some(disk) = Disk::new(64) else { return };
    let log = quick(&disk).build().unwrap();
    put(&log, "one").unwrap();
    drop(log);
    disk.remount("ro");
    let error = quick(&disk).build().unwrap_err();
    assert_eq!(error.kind(), logrotor::ErrorKind::Io, "{error}");
    disk.remount("rw");
    let log = quick(&disk).build().unwrap();
    put(&log, "two").unwrap();
    assert_eq!(disk.0.active_lines(), ["one", "two"]);
}

#[test]
fn unwritable_directory_stops_rotation_only() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    let dir = Dir::new();
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let allow =
        |mode| std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
    allow(0o755);
    let job =
        Job::new("obey", &dir.log()).with("max_size", 100).with("uid", NOBODY).with("gzip", 1);
    let mut worker = job.spawn();
    worker.expect("ready");
    let line = "x".repeat(60);
    allow(0o555);
    for _ in 0..20 {
        worker.write(&line);
    }
    assert_eq!(worker.count("rotations"), 0);
    assert!((1..20).contains(&worker.count("failures")));
    let last = worker.ask("last");
    assert!(last.contains("Permission denied"), "{last}");
    allow(0o755);
    eventually("it rotates", || {
        worker.write(&line);
        worker.count("rotations") > 0
    });
    assert_eq!(worker.ask("close"), "ok");
    worker.finish();
    assert!(dir.all_lines().len() > 20);
    assert_eq!(dir.names().len(), dir.backups().len() + 1);
}

/// Whether the path is on a file system of its own.
#[test]
fn disks_of_tests_are_gone_when_they_end() {
    let Some(disk) = Disk::new(64) else { return };
    let path: PathBuf = disk.0.path().to_owned();
    let is_mounted = |path: &Path| {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
    };
    assert!(is_mounted(&path));
    drop(disk);
    assert!(!is_mounted(&path));
}
