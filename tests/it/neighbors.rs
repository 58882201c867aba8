//! Programs that take no lease: copies that are still being written, programs that keep a rotated
//! file open, file systems that do not say how much room they have.

use crate::support::{Dir, eventually};
use logrotor::{
    Compression, Config, DeferralReason, Event, LogBuilder, Maintenance, MaintenanceMode,
    RotatingFileWriter,
};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

/// A log that does its work within the calls of a test.
fn inline(dir: &Dir) -> LogBuilder {
    dir.writer().check_interval(LONG).maintenance(MaintenanceMode::Inline)
}

fn rotate(mut log: &RotatingFileWriter, text: &str) {
    writeln!(log, "{text}").unwrap();
    log.rotate().unwrap().expect("a record was written just now");
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    writeln!(file, "{text}").unwrap();
}

/// Sets the time of the last change to a minute ago.
fn age(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// Compresses the backups of a log by hand. Returns the reasons for those that were left.
fn compress(dir: &Dir, go_on: &dyn Fn() -> bool) -> Vec<DeferralReason> {
    let mut config = Config::default();
    config.compression = Compression::Gzip;
    let left = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&left);
    let note = move |event: &Event| {
        if let Event::Deferred { reason, .. } = event {
            noted.lock().unwrap().push(*reason);
        }
    };
    Maintenance::new(dir.log(), &config, note).unwrap().run(go_on).unwrap();
    let left = left.lock().unwrap();
    left.clone()
}

const RESTORED: &str = "app.log.2020-01-01T00-00-00.000000Z";

// A worker compressed the part of a backup that an operator's `cp` had written so far, and removed
// the file under it. Of 40 000 lines 8 226 were left.
#[test]
fn regression_backup_that_is_copied_back_slowly_loses_nothing() {
    let dir = Dir::new();
    let log = inline(&dir).compression(Compression::Gzip).build().unwrap();
    for part in ["one", "two", "three"] {
        append(&dir.file(RESTORED), part);
        rotate(&log, "a record");
        assert!(dir.file(RESTORED).exists(), "after part {part}");
    }
    age(&dir.file(RESTORED));
    log.close().unwrap();
    eventually("it is compressed", || {
        inline(&dir).compression(Compression::Gzip).build().unwrap().close().unwrap();
        !dir.file(RESTORED).exists()
    });
    assert_eq!(dir.lines_of(&format!("{RESTORED}.gz")), ["one", "two", "three"]);
}

#[cfg(any(target_os = "linux", windows))]
#[test]
fn rotated_log_that_a_foreign_program_writes_stays() {
    let dir = Dir::new();
    let log = inline(&dir).compression(Compression::Gzip).max_backups(1).build().unwrap();
    let mut foreign = File::options().append(true).open(dir.log()).unwrap();
    rotate(&log, "a record");
    writeln!(foreign, "written after the rotation").unwrap();
    rotate(&log, "another record");
    let backups = dir.backups();
    assert_eq!(dir.lines_of(&backups[0]), ["a record", "written after the rotation"]);
    assert!(backups[0].ends_with('Z'), "{backups:?}");
    drop(foreign);
    eventually("it is removed", || {
        inline(&dir).max_backups(1).build().unwrap().close().unwrap();
        dir.backups().len() == 1
    });
}

// On Windows no program can open a file for writing while it is compressed.
#[cfg(unix)]
#[test]
fn backup_that_changes_while_it_is_compressed_stays() {
    let dir = Dir::new();
    inline(&dir).build().unwrap().write_record(b"active\n").unwrap();
    append(&dir.file(RESTORED), "before");
    age(&dir.file(RESTORED));
    let restored = dir.file(RESTORED);
    let is_compressing = || dir.names().iter().any(|name| name.ends_with(".tmp"));
    let is_appended = Cell::new(false);
    let left = compress(&dir, &|| {
        if is_compressing() && !is_appended.replace(true) {
            append(&restored, "meanwhile");
        }
        true
    });
    assert_eq!(left, [DeferralReason::BeingWritten]);
    assert_eq!(dir.lines_of(RESTORED), ["before", "meanwhile"]);
    assert_eq!(dir.backups(), [RESTORED]);
}

#[cfg(unix)]
#[test]
fn reasons_for_leaving_a_backup_are_distinct() {
    let dir = Dir::new();
    let log = inline(&dir).build().unwrap();
    rotate(&log, "a record");
    let backup = dir.file(&dir.backups()[0]);
    let mut reader = logrotor::reader::LogReader::open(dir.log()).unwrap();
    reader.records().next().unwrap().unwrap();
    assert_eq!(compress(&dir, &|| true), [DeferralReason::InUse]);
    drop(reader);
    if cfg!(target_os = "linux") {
        let _writer = File::options().append(true).open(&backup).unwrap();
        assert_eq!(compress(&dir, &|| true), [DeferralReason::BeingWritten]);
    }
    let gzip = dir.file(&format!("{}.gz", dir.backups()[0]));
    std::fs::write(&gzip, "partial").unwrap();
    assert_eq!(compress(&dir, &|| true), [DeferralReason::BeingCompressed]);
    std::fs::remove_file(&gzip).unwrap();
    eventually("it is compressed", || compress(&dir, &|| true).is_empty());
    assert!(gzip.exists());
}

#[cfg(unix)]
mod room {
    use super::*;
    use crate::support::Job;
    use std::process::Command;

    /// The operations that ask for room fail as on a FUSE server without `statfs`.
    #[test]
    fn unknown_free_space_keeps_and_compresses_backups() {
        let dir = Dir::new();
        const ENOSYS: i32 = 38;
        let job = Job::new("obey", &dir.log()).with("gzip", 1).with("inline", 1);
        let job = job.with("min_free", u64::MAX / 2);
        let fault = format!("1+/ask the free space of:errno={ENOSYS}");
        let mut worker = job.env("LOGROTOR_FAULT", fault).spawn();
        worker.expect("ready");
        for _ in 0..3 {
            assert_eq!(worker.ask("write a record"), "ok");
            assert_eq!(worker.ask("rotate"), "ok");
        }
        worker.ask("close");
        eventually("each is compressed", || {
            worker.ask("close");
            dir.backups().iter().all(|name| name.ends_with(".gz"))
        });
        assert_eq!(dir.backups().len(), 3);
        worker.finish();
    }

    #[test]
    fn backups_on_a_ramfs_are_kept_and_compressed() {
        let dir = Dir::new();
        let mounted = Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: this user may not mount a file system");
            return;
        }
        let log = inline(&dir).compression(Compression::Gzip).min_free_space(1 << 40);
        let log = log.build().unwrap();
        (0..3).for_each(|_| rotate(&log, "a record"));
        eventually("each is compressed", || {
            log.finish().unwrap();
            dir.backups().iter().all(|name| name.ends_with(".gz"))
        });
        let (backups, pruned) = (dir.backups().len(), log.stats().pruned);
        let free = logrotor::inspect::Inspection::of(dir.log()).unwrap().free_bytes;
        drop(log);
        let unmounted = Command::new("umount").arg("-l").arg(dir.path()).status();
        assert_eq!((backups, pruned, free), (3, 0, None));
        assert!(unmounted.unwrap().success());
    }
}
