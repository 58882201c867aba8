//! What opening a log does about what others left.

use crate::support::{Dir, eventually};
use logrotor::{Compression, FileLock, Maintenance, Wait};
use std::io::Write;
use std::time::Duration;

// Maintenance was woken by rotations alone, so what a crash had left half done (a plain backup beside its
// packed form, a temporary, a backup yet to be packed) stayed until somebody rotated: with a size that
// is never reached, for ever.
#[test]
fn regression_opening_a_log_finishes_what_a_crash_has_left() {
    for maintenance in [Maintenance::Inline, Maintenance::Thread] {
        let dir = Dir::new();
        for name in ["app.log.2026-11-20T23-57-01.123456Z", ".app.log.abcdefghijkl.tmp"] {
            std::fs::write(dir.file(name), "left\n").unwrap();
        }
        let builder = dir.writer().compression(Compression::Gzip).maintenance(maintenance);
        let log = builder.build().unwrap();
        let is_done = || dir.names() == ["app.log", "app.log.2026-11-20T23-57-01.123456Z.gz"];
        match maintenance {
            Maintenance::Inline => assert!(is_done(), "{:?}", dir.names()),
            Maintenance::Thread => eventually("what was left is finished", is_done),
        }
        drop(log);
    }
}

// While a rotation that had failed was waited with, a log that was removed and could not be made again went
// unnoticed, and records were acknowledged that went to a file without a name.
#[test]
fn regression_log_removed_while_rotation_fails_takes_no_record_that_would_be_lost() {
    let dir = Dir::new();
    let builder = dir.writer().max_size(10).check_interval(Duration::ZERO);
    let log =
        builder.lock_timeout(Duration::ZERO).maintenance(Maintenance::Inline).build().unwrap();
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
