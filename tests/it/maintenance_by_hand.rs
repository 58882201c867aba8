//! Maintenance by a process that does not write to the log.

use crate::support::{Dir, eventually};
use logrotor::{Compression, Config, Maintenance, Naming};
use std::io::Write;

fn log_of_three(dir: &Dir, naming: Naming) -> logrotor::RotatingFileWriter {
    let mut log = dir.writer().naming(naming).build().unwrap();
    for number in 0..3 {
        writeln!(log, "record {number}").unwrap();
        log.rotate().unwrap();
    }
    writeln!(log, "record 3").unwrap();
    log
}

fn maintenance(dir: &Dir, config: &Config) -> Maintenance {
    Maintenance::new(dir.log(), config, |_| {}).unwrap()
}

#[test]
fn plan_touches_nothing_and_matches_the_run() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let _log = log_of_three(&dir, naming);
        let mut config = Config::default();
        (config.naming, config.compression) = (naming, Compression::Gzip);
        config.max_backups = Some(2);
        let (before, backups) = (dir.names(), dir.backups());
        let maintenance = maintenance(&dir, &config);
        let plan = maintenance.plan().unwrap();
        let names = |backups: &[std::path::PathBuf]| {
            let name =
                |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            backups.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&plan.prune), backups[..1]);
        assert_eq!(names(&plan.compress), backups[1..]);
        assert_eq!(dir.names(), before);

        let done = maintenance.run(&|| true).unwrap();
        assert_eq!((done.pruned, done.compressions, done.deferrals), (1, 2, 0));
        let packed: Vec<_> = backups[1..].iter().map(|name| format!("{name}.gz")).collect();
        assert_eq!(dir.backups(), packed);
        assert_eq!(dir.all_lines(), ["record 1", "record 2", "record 3"]);
    }
}

#[test]
fn backup_that_a_reader_has_open_is_deferred() {
    let dir = Dir::new();
    let _log = log_of_three(&dir, Naming::Timestamp);
    let mut reader = logrotor::reader::LogReader::open(dir.log()).unwrap();
    reader.records().next().unwrap().unwrap();
    let mut config = Config::default();
    config.max_backups = Some(0);
    let done = maintenance(&dir, &config).run(&|| true).unwrap();
    let held = usize::from(cfg!(unix));
    assert_eq!((done.pruned, done.deferrals), (3 - held as u64, held as u64));
    assert_eq!(dir.backups().len(), held);
}

#[test]
fn aborted_compression_leaves_the_uncompressed_backup() {
    let dir = Dir::new();
    let _log = log_of_three(&dir, Naming::Timestamp);
    let mut config = Config::default();
    config.compression = Compression::Gzip;
    let before = dir.names();
    let asked = std::cell::Cell::new(0);
    let stop_in_the_copy = || asked.replace(asked.get() + 1) < 1;
    let done = maintenance(&dir, &config).run(&stop_in_the_copy).unwrap();
    assert_eq!((done.compressions, dir.names()), (0, before));
}

#[test]
fn no_log_is_created_and_invalid_settings_are_rejected() {
    let dir = Dir::new();
    let mut config = Config::default();
    assert!(maintenance(&dir, &config).plan().unwrap().prune.is_empty());
    maintenance(&dir, &config).run(&|| true).unwrap();
    assert_eq!(dir.names(), Vec::<String>::new());
    config.max_size = 0;
    let error = Maintenance::new(dir.log(), &config, |_| {}).unwrap_err();
    assert_eq!(error.kind(), logrotor::ErrorKind::InvalidConfig);
}

#[test]
fn newest_backups_stay_uncompressed_in_plan_and_run() {
    for naming in [Naming::Timestamp, Naming::Number] {
        let dir = Dir::new();
        let _log = log_of_three(&dir, naming);
        let mut config = Config::default();
        (config.naming, config.compression) = (naming, Compression::Gzip);
        let backups = dir.backups();
        for (kept, compressed) in [(9, 0), (3, 0), (2, 1), (1, 2), (0, 3)] {
            config.keep_uncompressed = kept;
            let maintenance = maintenance(&dir, &config);
            let plan = maintenance.plan().unwrap();
            let before = backups.iter().filter(|name| !dir.file(name).exists()).count();
            assert_eq!(plan.compress.len(), compressed - before, "{kept}");
            all_of(&maintenance);
            let form = |(at, name): (usize, &String)| match at < compressed {
                true => format!("{name}.gz"),
                false => name.clone(),
            };
            let expected: Vec<_> = backups.iter().enumerate().map(form).collect();
            assert_eq!(dir.backups(), expected, "{kept}");
        }
        assert_eq!(dir.all_lines(), ["record 0", "record 1", "record 2", "record 3"]);
    }
}

#[test]
fn uncompressed_backups_count_with_their_size_toward_the_total() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    for _ in 0..4 {
        log.write_all(&[b'x'; 1000]).unwrap();
        log.rotate().unwrap();
    }
    let mut config = Config::default();
    (config.compression, config.keep_uncompressed) = (Compression::Gzip, 2);
    // Two uncompressed ones, a compressed one, and the active segment at its limit of one byte.
    (config.max_size, config.max_total_size) = (1, Some(2000 + 999 + 1));
    let by_hand = |config: &Config| maintenance(&dir, config);
    let limited = by_hand(&config);
    let plan = limited.plan().unwrap();
    assert_eq!((plan.prune.len(), plan.compress.len()), (2, 0), "four uncompressed ones exceed it");
    config.max_total_size = None;
    all_of(&by_hand(&config));
    let plan = limited.plan().unwrap();
    assert_eq!((plan.prune.len(), plan.compress.len()), (0, 0), "compressed, they do not");
    // An interval lets the active segment grow to four bytes.
    (config.min_interval, config.max_total_size) =
        (Some(std::time::Duration::from_secs(1)), Some(dir_size(&dir) + 3));
    assert_eq!(by_hand(&config).plan().unwrap().prune.len(), 1);
    config.max_total_size = Some(dir_size(&dir) + 4);
    assert_eq!(by_hand(&config).plan().unwrap().prune.len(), 0);
}

/// Completes the work, even if a process that another test is just starting has a copy of a lease.
fn all_of(maintenance: &Maintenance) {
    eventually("all are compressed", || {
        maintenance.run(&|| true).unwrap();
        maintenance.plan().unwrap().compress.is_empty()
    });
}

fn dir_size(dir: &Dir) -> u64 {
    let bytes = |name: &String| std::fs::metadata(dir.file(name)).unwrap().len();
    dir.backups().iter().map(bytes).sum()
}
