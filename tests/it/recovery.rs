//! What opening a log does about what others left.

use crate::support::{Dir, eventually};
use logrotor::{Compression, Maintenance};

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
