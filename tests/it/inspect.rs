//! A log inspected from outside.

use crate::support::{Dir, eventually};
use logrotor::inspect::{Inspection, LeftoverKind, Role, Usage};
use logrotor::{Compression, ErrorKind, Naming, reader::LogReader};
use std::fs;
use std::io::Write;

fn look(dir: &Dir) -> Inspection {
    Inspection::of(dir.log()).unwrap()
}

/// A log with two compressed backups, an uncompressed one that is open, and an active segment.
fn compressed(dir: &Dir, compression: Compression, naming: Naming) {
    let mut log = dir.writer().compression(compression).naming(naming).build().unwrap();
    for number in 0..2 {
        writeln!(log, "{}", format!("record {number} ").repeat(100)).unwrap();
        log.rotate().unwrap();
    }
    log.close().unwrap();
    assert!(dir.backups().iter().all(|name| name.contains("z")), "{:?}", dir.names());
    let mut log = dir.writer().naming(naming).build().unwrap();
    writeln!(log, "plain").unwrap();
    log.rotate().unwrap();
    writeln!(log, "active").unwrap();
}

#[test]
fn segments_are_listed_in_order_with_sizes_and_times() {
    #[cfg(feature = "zstd")]
    let codecs = [Compression::Gzip, Compression::Zstd];
    #[cfg(not(feature = "zstd"))]
    let codecs = [Compression::Gzip];
    for compression in codecs {
        for naming in [Naming::Timestamp, Naming::Number] {
            let dir = Dir::new();
            compressed(&dir, compression, naming);
            let seen = look(&dir);
            let names: Vec<_> = seen
                .segments
                .iter()
                .map(|segment| segment.path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect();
            assert_eq!(names[..3], dir.backups());
            assert_eq!(names[3], "app.log");
            let compressions: Vec<_> =
                seen.segments.iter().map(|segment| segment.compression).collect();
            assert_eq!(
                compressions,
                [compression, compression, Compression::None, Compression::None]
            );
            let uncompressed: Vec<_> =
                seen.segments.iter().map(|segment| segment.uncompressed_bytes).collect();
            assert_eq!(uncompressed, [Some(901), Some(901), Some(6), Some(7)]);
            assert_eq!(seen.naming(), Some(naming));
            assert!(seen.segments[..3].iter().all(|s| s.naming == Some(naming) && !s.is_active()));
            for segment in &seen.segments {
                let has_time = naming == Naming::Timestamp && !segment.is_active();
                assert_eq!(segment.rotated_at.is_some(), has_time);
                assert!(segment.created.is_none_or(|created| created <= segment.modified));
            }
            assert!(seen.leftovers.is_empty() && seen.strays.is_empty() && seen.rotating.is_none());
            assert_eq!(seen.network_file_system, None);
            assert_eq!(seen.bytes().unwrap(), seen.segments.iter().map(|s| s.bytes).sum::<u64>());
        }
    }
}

#[test]
fn segment_with_two_names_is_listed_once() {
    let dir = Dir::new();
    compressed(&dir, Compression::Gzip, Naming::Number);
    fs::remove_file(dir.log()).unwrap();
    fs::hard_link(dir.file("app.log.1"), dir.log()).unwrap();
    let paths: Vec<_> = look(&dir).segments.into_iter().map(|segment| segment.path).collect();
    let real = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(paths, ["app.log.3.gz", "app.log.2.gz", "app.log.1"].map(|name| real.join(name)));
}

#[test]
fn backups_of_both_namings_are_listed_in_reading_order() {
    use Naming::{Number, Timestamp, TimestampInfix};
    let both = [[Number, Timestamp], [Timestamp, Number]];
    let forms = [[Timestamp, TimestampInfix], [TimestampInfix, Timestamp]];
    for namings in both.into_iter().chain(forms).chain([[Number, TimestampInfix]]) {
        let dir = Dir::new();
        for naming in namings {
            let mut log = dir.writer().naming(naming).build().unwrap();
            for number in 0..2 {
                writeln!(log, "{naming:?} {number}").unwrap();
                log.rotate().unwrap();
            }
            log.close().unwrap();
        }
        writeln!(dir.writer().build().unwrap(), "active").unwrap();
        let seen = look(&dir);
        let paths: Vec<_> = seen.segments.iter().map(|segment| segment.path.clone()).collect();
        let mut reader = LogReader::open(dir.log()).unwrap();
        let read: Vec<_> =
            reader.records().map(|record| record.unwrap().segment().to_owned()).collect();
        assert_eq!(paths, read);
        assert_eq!(seen.naming(), Some(namings[1]));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn workers_and_readers_are_named_as_holders() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    let mut idle = dir.writer().maintenance(logrotor::MaintenanceMode::Inline).build().unwrap();
    writeln!(idle, "one").unwrap();
    log.rotate().unwrap();
    writeln!(log, "two").unwrap();
    let me = std::process::id();
    let roles = |lease: &Usage| lease.holders().iter().map(|h| (h.pid, h.role)).collect::<Vec<_>>();
    let seen = look(&dir);
    assert_eq!(roles(&seen.segments[0].usage), [(me, Role::Worker)], "the idle one");
    assert_eq!(roles(&seen.segments[1].usage), [(me, Role::Worker)]);
    let workers = seen.workers();
    assert_eq!(workers.len(), 1);
    assert!(workers[0].program.as_deref().is_some_and(|program| !program.is_empty()));
    drop((log, idle));
    eventually("no process has it open", || {
        look(&dir).segments.iter().all(|segment| segment.usage == Usage::Free)
    });
    let mut reader = LogReader::open(dir.log()).unwrap();
    reader.records().next().unwrap().unwrap();
    assert_eq!(roles(&look(&dir).segments[0].usage), [(me, Role::Reader)]);
}

#[test]
fn leftovers_and_strays_are_distinguished() {
    let dir = Dir::new();
    compressed(&dir, Compression::Gzip, Naming::Timestamp);
    let backups = dir.backups();
    let superseded = backups[0].strip_suffix(".gz").unwrap().to_owned();
    let temporary = ".app.log.abcdefghijkl.tmp";
    for name in [temporary, &superseded, "app.log.lock", "app.log.old", "app.log.1.bz2"] {
        fs::write(dir.file(name), "x").unwrap();
    }
    fs::write(dir.file("app.log.policy.toml"), "").unwrap();
    fs::write(dir.file("app.logs"), "").unwrap();
    fs::create_dir(dir.file("app.log.7")).unwrap();
    let modified = fs::metadata(dir.file(&backups[0])).unwrap().modified().unwrap();
    fs::File::options()
        .append(true)
        .open(dir.file(&superseded))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    // A temporary that a live process is writing.
    let live = logrotor::atomic::AtomicFile::builder().open(dir.file("app.log.9")).unwrap();

    let seen = look(&dir);
    let listed: Vec<_> = seen.leftovers.iter().map(|left| (left.path.clone(), left.kind)).collect();
    let dir_path = fs::canonicalize(dir.path()).unwrap();
    let expected = [
        (dir_path.join(&superseded), LeftoverKind::Superseded),
        (dir_path.join(temporary), LeftoverKind::Temporary),
        (dir_path.join("app.log.lock"), LeftoverKind::LockFile),
    ];
    assert_eq!(listed, expected);
    let strays = ["app.log.1.bz2", "app.log.7", "app.log.old"].map(|name| dir_path.join(name));
    assert_eq!(seen.strays, strays);
    assert_eq!(seen.temporaries.len(), 1);
    assert_eq!(seen.segments.len(), 4);
    drop(live);

    let lock = logrotor::FileLock::open(dir.file("app.log.lock")).unwrap();
    let _guard = lock.exclusive(logrotor::Wait::Never).unwrap();
    let seen = look(&dir);
    assert!(matches!(seen.rotating, Some(Usage::InUse(_))), "{:?}", seen.rotating);
    assert_eq!(seen.leftovers.len(), 2);
}

#[test]
fn missing_log_and_directory_are_errors() {
    let dir = Dir::new();
    let error = Inspection::of(dir.log()).unwrap_err();
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    fs::create_dir(dir.log()).unwrap();
    assert_eq!(Inspection::of(dir.log()).unwrap_err().kind(), ErrorKind::NotAFile);
    assert_eq!(dir.names(), ["app.log"]);
}

#[test]
fn no_segment_is_left_out_during_rotation_and_compression() {
    let dir = Dir::new();
    let mut log = dir.writer().compression(Compression::Gzip).build().unwrap();
    writeln!(log, "first").unwrap();
    let rotations = 100;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = log.clone();
            for number in 0..rotations {
                writeln!(log, "{number}").unwrap();
                log.rotate().unwrap();
            }
        });
        let mut last = 0;
        while last < rotations {
            let seen = look(&dir).segments;
            // Between two segments there may be no active one.
            let backups = seen.iter().filter(|segment| !segment.is_active()).count();
            assert!(backups >= last, "{last} {seen:?}");
            last = backups;
        }
    });
}
