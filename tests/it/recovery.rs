//! What opening a log does about what others left.

use crate::support::{Dir, eventually};
use logrotor::inspect::{Inspection, LeftoverKind};
use logrotor::reader::LogReader;
use logrotor::{Compression, FileLock, MaintenanceMode, Naming, Wait};
use std::io::Write;
use std::time::Duration;

// Maintenance was woken by rotations alone, so what a crash had left half done (a plain backup beside its
// packed form, a temporary, a backup yet to be packed) stayed until somebody rotated: with a size that
// is never reached, for ever.
#[test]
fn regression_opening_a_log_finishes_what_a_crash_has_left() {
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

// While a rotation that had failed was waited with, a log that was removed and could not be made again went
// unnoticed, and records were acknowledged that went to a file without a name.
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

// A power cut took back the last changes of a plain backup that nobody had synced, its time with them, while its
// packed form, which is synced before it has its name, was there. For the time was another, that was taken for
// somebody else's: its records were not read, and the two stayed for ever. Backups carry no such note on Windows.
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
