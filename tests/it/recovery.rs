//! Recovery, when a log is opened, from the unfinished work of others.

use crate::support::{Dir, eventually};
use logrotor::inspect::{Inspection, LeftoverKind};
use logrotor::reader::LogReader;
use logrotor::{Compression, FileLock, MaintenanceMode, Naming, Wait};
use std::io::Write;
use std::time::Duration;

// Only rotations woke maintenance. So work that a crash had left half done stayed until the next
// rotation, and without one it stayed: an uncompressed backup beside its compressed form, a
// temporary file, a backup that waited for compression.
#[test]
fn regression_opening_a_log_finishes_the_work_of_a_crash() {
    for maintenance in [MaintenanceMode::Inline, MaintenanceMode::Thread] {
        let dir = Dir::new();
        for name in ["app.log.2026-11-20T23-57-01.123456Z", ".app.log.abcdefghijkl.tmp"] {
            std::fs::write(dir.file(name), "left\n").unwrap();
        }
        let builder = dir.writer().compression(Compression::Gzip).maintenance(maintenance);
        let log = builder.build().unwrap();
        let is_done = || dir.names() == ["app.log", "app.log.2026-11-20T23-57-01.123456Z.gz"];
        match maintenance {
            MaintenanceMode::Inline => assert!(is_done(), "{:?}", dir.names()),
            _ => eventually("what was left is finished", is_done),
        }
        drop(log);
    }
}

// After a failed rotation the log's path was not checked until the next attempt. If the log was
// removed meanwhile and could not be created, records were acknowledged that went to a file without
// a name.
#[test]
fn regression_log_removed_during_failures_rejects_records() {
    let dir = Dir::new();
    let builder = dir.writer().max_size(10).check_interval(Duration::ZERO);
    let log =
        builder.lock_timeout(Duration::ZERO).maintenance(MaintenanceMode::Inline).build().unwrap();
    let lock = FileLock::open(dir.file("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Never).unwrap();
    for _ in 0..3 {
        writeln!(&log, "no rotation").unwrap();
    }
    std::fs::remove_file(dir.log()).unwrap();
    writeln!(&log, "no file").unwrap_err();
    guard.unlock().unwrap();
    eventually("the log is made again", || writeln!(&log, "new file").is_ok());
    assert_eq!(dir.active_lines(), ["new file"]);
}

// A power loss undid the last changes of an uncompressed backup that was not synced, and with them
// its time. Its compressed form, which is synced before it has its name, existed. Because the times
// differed, that counted as another program's file: its records were not read, and both files
// stayed. Backups carry no birth tag on Windows.
#[cfg(unix)]
#[test]
fn regression_compressed_backup_counts_after_a_power_cut() {
    for (naming, codec) in codecs() {
        let dir = Dir::new();
        let mut log = dir.writer().naming(naming).build().unwrap();
        writeln!(log, "a record").unwrap();
        let plain = log.rotate().unwrap().unwrap();
        log.close().unwrap();
        if std::fs::metadata(&plain).unwrap().created().is_err() {
            eprintln!("skipped: the file system knows no births");
            return;
        }
        std::fs::hard_link(&plain, dir.file("kept")).unwrap();
        let builder = || dir.writer().naming(naming).compression(codec);
        builder().build().unwrap().close().unwrap();
        assert!(!plain.exists());
        std::fs::rename(dir.file("kept"), &plain).unwrap();
        let cut = std::fs::File::options().write(true).open(&plain).unwrap();
        cut.set_len(0).unwrap();
        let earlier = cut.metadata().unwrap().modified().unwrap() - Duration::from_secs(5);
        cut.set_modified(earlier).unwrap();
        drop(cut);
        let read = || {
            let mut log = LogReader::open(dir.log()).unwrap();
            log.records().map(|record| record.unwrap().into_bytes()).collect::<Vec<_>>()
        };
        assert_eq!(read(), [b"a record"]);
        let seen = Inspection::of(dir.log()).unwrap();
        assert!(seen.strays.is_empty(), "{:?}", seen.strays);
        assert_eq!(seen.leftovers[0].kind, LeftoverKind::Superseded);
        builder().build().unwrap().close().unwrap();
        assert!(!plain.exists() && dir.backups().len() == 1, "{:?}", dir.names());
        assert_eq!(read(), [b"a record"]);
    }
}

fn codecs() -> Vec<(Naming, Compression)> {
    #[cfg(feature = "zstd")]
    let codecs = [Compression::Gzip, Compression::Zstd];
    #[cfg(not(feature = "zstd"))]
    let codecs = [Compression::Gzip];
    let both = [Naming::Timestamp, Naming::Number];
    both.into_iter().flat_map(|naming| codecs.map(|codec| (naming, codec))).collect()
}
