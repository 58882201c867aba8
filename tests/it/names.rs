//! The names of backups: sorted, never backwards, never taken twice. Strays are left alone.

use crate::support::{Dir, eventually};
use logrotor::__test::Clock;
use logrotor::inspect::{Inspection, renamed_backups};
use logrotor::{Compression, MaintenanceMode, Naming, RotatingFileWriter};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_014_400)
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Writes and rotates one record per text.
fn rotate_each(log: &RotatingFileWriter, texts: &[&str]) {
    for text in texts {
        writeln!(&mut &*log, "{text}").unwrap();
        log.rotate().unwrap().unwrap();
    }
}

/// The records of the backups, oldest first.
fn history(dir: &Dir) -> Vec<String> {
    dir.backups().iter().flat_map(|name| dir.lines_of(name)).collect()
}

#[test]
fn backup_is_named_by_the_time_of_its_rotation_in_utc() {
    let dir = Dir::new();
    let log = dir.writer().clock(Clock::manual(noon() + DAY)).build().unwrap();
    rotate_each(&log, &["a"]);
    assert_eq!(dir.backups(), ["app.log.2027-01-16T12-00-00.000000Z"]);
}

#[test]
fn rotations_in_one_microsecond_get_names_that_differ_and_sort() {
    let dir = Dir::new();
    // The clock stands still. Two workers know each other's backups by the directory alone.
    let [a, b] = [0, 1].map(|_| dir.writer().clock(Clock::manual(noon())).build().unwrap());
    rotate_each(&a, &["1", "2"]);
    b.reopen().unwrap();
    rotate_each(&b, &["3"]);
    a.reopen().unwrap();
    rotate_each(&a, &["4"]);
    let names: Vec<_> = (0..4).map(|n| format!("app.log.2027-01-15T12-00-00.00000{n}Z")).collect();
    assert_eq!(dir.backups(), names);
    assert_eq!(history(&dir), ["1", "2", "3", "4"]);
}

#[test]
fn names_do_not_go_back_with_the_clock() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let log = dir.writer().clock(clock.clone()).build().unwrap();
    rotate_each(&log, &["1"]);
    clock.set(noon() - DAY);
    rotate_each(&log, &["2", "3"]);
    drop(log);
    let log = dir.writer().clock(clock.clone()).build().unwrap();
    rotate_each(&log, &["4"]);
    clock.set(noon() + DAY);
    rotate_each(&log, &["5"]);
    assert!(dir.backups().is_sorted());
    assert_eq!(history(&dir), ["1", "2", "3", "4", "5"]);
}

#[test]
fn clock_set_back_does_not_repeat_daily_rotation() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let builder = dir.writer().rotate_every(logrotor::Period::Daily).clock(clock.clone());
    let mut log = builder.maintenance(MaintenanceMode::Inline).build().unwrap();
    log.write_all(b"today\n").unwrap();
    clock.set(noon() - DAY);
    for _ in 0..10 {
        log.write_all(b"set back\n").unwrap();
    }
    assert!(log.stats().rotations <= 1);
    clock.set(noon() + DAY);
    log.write_all(b"tomorrow\n").unwrap();
    assert_eq!(dir.active_lines(), ["tomorrow"]);
}

#[test]
fn name_that_is_taken_is_not_taken_again() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let log = dir.writer().clock(clock).build().unwrap();
    // Created after the newest backup was looked for, so the log does not know of it.
    rotate_each(&log, &["1"]);
    let taken = "app.log.2027-01-15T12-00-00.000001Z";
    std::fs::write(dir.file(taken), "foreign\n").unwrap();
    rotate_each(&log, &["2"]);
    assert_eq!(dir.lines_of(taken), ["foreign"]);
    assert_eq!(history(&dir), ["1", "foreign", "2"]);
}

#[test]
fn name_of_a_compressed_backup_is_not_taken_again() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let builder = || dir.writer().clock(clock.clone()).compression(Compression::Gzip);
    let log = builder().build().unwrap();
    rotate_each(&log, &["1"]);
    log.close().unwrap();
    let log = builder().build().unwrap();
    rotate_each(&log, &["2"]);
    log.close().unwrap();
    let names = [0, 1].map(|n| format!("app.log.2027-01-15T12-00-00.00000{n}Z.gz"));
    // Once, unless a process that another test is just starting has a copy of a lease.
    eventually("both are compressed", || {
        builder().build().unwrap().close().unwrap();
        dir.backups() == names
    });
    assert_eq!(history(&dir), ["1", "2"]);
}

#[test]
fn number_1_is_the_newest_and_all_others_move_up() {
    let dir = Dir::new();
    let log = dir.writer().naming(Naming::Number).build().unwrap();
    let texts: Vec<_> = (1..=12).map(|n| n.to_string()).collect();
    rotate_each(&log, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    for number in 1..=12 {
        let name = format!("app.log.{number}");
        assert_eq!(dir.lines_of(&name), [(13 - number).to_string()], "{name}");
    }
}

#[test]
fn number_1_is_the_newest_when_some_are_compressed() {
    let dir = Dir::new();
    let builder = || dir.writer().naming(Naming::Number);
    let log = builder().compression(Compression::Gzip).build().unwrap();
    rotate_each(&log, &["1", "2"]);
    log.close().unwrap();
    let log = builder().build().unwrap();
    rotate_each(&log, &["3"]);
    assert_eq!(dir.backups(), ["app.log.3.gz", "app.log.2.gz", "app.log.1"]);
    assert_eq!(history(&dir), ["1", "2", "3"]);
}

#[test]
fn time_stands_before_the_extension_if_asked() {
    let dir = Dir::new();
    let builder = || dir.writer().naming(Naming::TimestampInfix).clock(Clock::manual(noon()));
    let log = builder().build().unwrap();
    rotate_each(&log, &["1", "2"]);
    log.close().unwrap();
    let gzip = || builder().compression(Compression::Gzip).keep_uncompressed(1).build().unwrap();
    let log = gzip();
    rotate_each(&log, &["3"]);
    log.close().unwrap();
    let name = |n: u32| format!("app.2027-01-15T12-00-00.00000{n}Z.log");
    let expected = [name(0) + ".gz", name(1) + ".gz", name(2)];
    eventually("two are compressed", || {
        gzip().close().unwrap();
        dir.backups() == expected
    });
    assert_eq!(history(&dir), ["1", "2", "3"]);
}

#[test]
fn both_forms_of_time_are_one_series_of_backups() {
    let dir = Dir::new();
    let clock = Clock::manual(noon());
    let builder = |naming| {
        let builder = dir.writer().naming(naming).clock(clock.clone()).max_backups(3);
        builder.compression(Compression::Gzip).keep_uncompressed(1)
    };
    // The clock stands still, so that only the names show the order.
    for (at, text) in ["1", "2", "3", "4", "5", "6"].into_iter().enumerate() {
        let naming = [Naming::Timestamp, Naming::TimestampInfix][at % 2];
        let log = builder(naming).build().unwrap();
        rotate_each(&log, &[text]);
        log.close().unwrap();
    }
    let name = |n: u32, infix: bool| match infix {
        true => format!("app.2027-01-15T12-00-00.00000{n}Z.log"),
        false => format!("app.log.2027-01-15T12-00-00.00000{n}Z"),
    };
    let expected = [name(3, true) + ".gz", name(4, false) + ".gz", name(5, true)];
    eventually("three are kept, two of them compressed", || {
        builder(Naming::Timestamp).build().unwrap().close().unwrap();
        dir.backups() == expected
    });
    assert_eq!(dir.names().len(), 4, "{:?}", dir.names());
    assert_eq!(history(&dir), ["4", "5", "6"]);
}

#[test]
fn logs_with_similar_names_touch_none_of_each_other_s_files() {
    const LOGS: [&str; 7] =
        ["app.log", "app.2026.log", "app", ".log", "app.log.log", "b.1", "b.gz"];
    let dir = Dir::new();
    for naming in [Naming::TimestampInfix, Naming::Timestamp] {
        for name in LOGS {
            let log = RotatingFileWriter::builder(dir.file(name)).naming(naming).build().unwrap();
            rotate_each(&log, &[name, name]);
            log.close().unwrap();
        }
    }
    let mut left = dir.names();
    assert_eq!(left.len(), 5 * LOGS.len());
    for name in LOGS {
        let log = RotatingFileWriter::builder(dir.file(name)).max_backups(0);
        let log = log.naming(Naming::TimestampInfix).build().unwrap();
        log.close().unwrap();
        // Once, unless a process that another test is just starting has a copy of a lease.
        eventually("the active one is left", || {
            let log = RotatingFileWriter::builder(dir.file(name)).max_backups(0);
            log.build().unwrap().close().unwrap();
            Inspection::of(dir.file(name)).unwrap().segments.len() == 1
        });
        let before = std::mem::replace(&mut left, dir.names());
        let gone: Vec<_> = before.iter().filter(|file| !left.contains(file)).collect();
        assert_eq!(gone.len(), 4, "{name}: {gone:?}");
    }
    left.sort();
    let mut logs = LOGS.map(str::to_owned);
    logs.sort();
    assert_eq!(left, logs);
}

#[test]
fn backups_of_a_neighbor_are_no_renamed_backups() {
    let dir = Dir::new();
    let open = |name: &str| {
        let log = RotatingFileWriter::builder(dir.file(name)).naming(Naming::TimestampInfix);
        log.build().unwrap()
    };
    for name in ["app", "app.log"] {
        rotate_each(&open(name), &[name]);
    }
    assert!(renamed_backups(dir.file("app")).unwrap().is_empty());
    // Without that log, another program has added to a name.
    std::fs::remove_file(dir.log()).unwrap();
    let [(now, before)] = &renamed_backups(dir.file("app")).unwrap()[..] else { panic!() };
    assert_eq!(now.to_str(), before.to_str().map(|name| format!("{name}.log")).as_deref());

    let backup = dir.backups().pop().unwrap();
    open("app.log");
    std::fs::rename(dir.file(&backup), dir.file(&format!("{backup}.1"))).unwrap();
    let [(_, before)] = &renamed_backups(dir.log()).unwrap()[..] else { panic!() };
    assert!(before.ends_with(&backup));
    let strays = Inspection::of(dir.log()).unwrap().strays;
    assert!(strays.iter().any(|stray| stray.ends_with(format!("{backup}.1"))), "{strays:?}");
}

/// Names near to those of a log's own files.
const STRANGERS: [&str; 19] = [
    "app.2026-11-20T23-57-01.123456Z",
    "app.2026-11-20T23-57-01.123456Z.txt",
    "app.2026-11-20T23-57-01.123456Z.log.old",
    "app.2026-02-30T00-00-00.000000Z.log",
    "app.1.log",
    "app.log.old",
    "app.log.bak.gz",
    "app.log.1.txt",
    "app.error.log.1",
    "app.log.0",
    "app.log.01",
    "app.log.1.gz.gz",
    "app.log.lock.old",
    "app.log.2026-11-20",
    "app.log.2026-02-30T00-00-00.000000Z",
    "xapp.log.1",
    ".app.log.tmp",
    ".other.log.abcdefghijkl.tmp",
    "app.log.zst",
];

/// Puts strays around a log that keeps no backups, and checks that they stay unchanged.
fn strays_stay(naming: Naming, of_the_other_naming: &str) {
    let dir = Dir::new();
    let mut before = BTreeMap::new();
    for name in STRANGERS.into_iter().chain([of_the_other_naming]) {
        std::fs::write(dir.file(name), name).unwrap();
        before.insert(name.to_owned(), name.as_bytes().to_vec());
    }
    let builder = dir.writer().naming(naming).compression(Compression::Gzip);
    let log = builder.max_backups(0).max_backup_age(Duration::from_millis(1)).build().unwrap();
    rotate_each(&log, &["1", "2", "3"]);
    log.close().unwrap();
    let mut after: BTreeMap<_, _> = dir
        .names()
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(dir.file(&name)).unwrap()))
        .collect();
    assert_eq!(after.remove("app.log"), Some(Vec::new()));
    assert_eq!(after, before);
}

#[test]
fn strays_are_left_alone_beside_backups_named_by_time() {
    strays_stay(Naming::Timestamp, "app.log.1");
    strays_stay(Naming::TimestampInfix, "app.log.1.gz");
}

#[test]
fn strays_are_left_alone_beside_numbered_backups() {
    strays_stay(Naming::Number, "app.log.2026-11-20T23-57-01.123456Z.gz");
    strays_stay(Naming::Number, "app.2026-11-20T23-57-01.123456Z.log");
}

#[cfg(unix)]
#[test]
fn directories_and_links_with_names_of_backups_are_left_alone() {
    let dir = Dir::new();
    let (directory, link) =
        ("app.log.2020-01-01T00-00-00.000000Z", "app.log.2020-01-01T00-00-00.000001Z");
    std::fs::create_dir(dir.file(directory)).unwrap();
    std::fs::write(dir.file("elsewhere"), "kept\n").unwrap();
    std::os::unix::fs::symlink(dir.file("elsewhere"), dir.file(link)).unwrap();
    let log = dir.writer().max_backups(0).compression(Compression::Gzip).build().unwrap();
    rotate_each(&log, &["1"]);
    log.close().unwrap();
    assert_eq!(dir.names(), ["app.log", directory, link, "elsewhere"]);
    assert_eq!(dir.lines_of("elsewhere"), ["kept"]);
}

// A backup counted as superseded by its names alone, and was removed when a directory had the name
// of its compressed form.
#[test]
fn regression_directory_named_like_a_backup_costs_no_record() {
    for naming in [Naming::Number, Naming::Timestamp] {
        let dir = Dir::new();
        let builder = || dir.writer().naming(naming).clock(Clock::manual(noon()));
        let log = builder().build().unwrap();
        rotate_each(&log, &["1", "2"]);
        for name in dir.backups() {
            std::fs::create_dir(dir.file(&format!("{name}.gz"))).unwrap();
        }
        rotate_each(&log, &["3"]);
        drop(log);
        // This backup is superseded, so that all are looked at.
        let newest = dir.backups().pop().unwrap();
        compress(&dir, &newest);
        builder().build().unwrap().close().unwrap();
        assert!(!dir.file(&newest).exists(), "{naming:?}");
        let found: Vec<_> = dir.backups().iter().flat_map(|name| dir.lines_of(name)).collect();
        assert_eq!(found, ["1", "2", "3"], "{naming:?}");
    }
}

/// Creates the compressed form of a backup, as a worker does that is then killed.
fn compress(dir: &Dir, name: &str) {
    let file = std::fs::File::create(dir.file(&format!("{name}.gz"))).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(&dir.read(name)).unwrap();
    let modified = std::fs::metadata(dir.file(name)).unwrap().modified().unwrap();
    encoder.finish().unwrap().set_modified(modified).unwrap();
}

#[test]
fn foreign_log_with_a_longer_name_is_left_alone() {
    let dir = Dir::new();
    let other = RotatingFileWriter::builder(dir.file("app.log.1.log")).build().unwrap();
    rotate_each(&other, &["other"]);
    let others = dir.names();
    let log = dir.writer().naming(Naming::Number).max_backups(0).build().unwrap();
    rotate_each(&log, &["1", "2"]);
    log.close().unwrap();
    for name in others {
        assert!(dir.file(&name).exists(), "{name}");
    }
}
