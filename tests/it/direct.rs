//! Direct delivery: one call is one record, whole and in order, wherever the segment ends.

use crate::support::{Dir, check, record};
use logrotor::__test::Clock;
use logrotor::{MaintenanceMode, RotatingFileWriter};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{IoSlice, Write};
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

/// A log that checks its path only when the test's clock says so.
fn quiet(dir: &Dir) -> logrotor::LogBuilder {
    dir.writer().check_interval(LONG).maintenance(MaintenanceMode::Inline)
}

#[test]
fn acknowledged_record_is_in_the_file_at_once() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    log.write_all(b"one\n").unwrap();
    assert_eq!(dir.active_lines(), ["one"]);
    log.flush().unwrap();
    log.sync().unwrap();
    assert_eq!(log.path().file_name().unwrap(), "app.log");
}

#[test]
fn existing_log_is_appended_to() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "before\n").unwrap();
    let mut log = dir.writer().build().unwrap();
    log.write_all(b"after\n").unwrap();
    assert_eq!(dir.active_lines(), ["before", "after"]);
}

#[test]
fn missing_directories_are_created() {
    let dir = Dir::new();
    let path = dir.path().join("a/b/app.log");
    let mut log = RotatingFileWriter::builder(&path).build().unwrap();
    log.write_all(b"one\n").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"one\n");
}

#[test]
fn empty_write_is_no_record_and_never_rotates() {
    let dir = Dir::new();
    let mut log = dir.writer().max_size(4).build().unwrap();
    log.write_all(b"full").unwrap();
    assert_eq!(log.write(b"").unwrap(), 0);
    log.write_all(b"").unwrap();
    write!(log, "").unwrap();
    assert_eq!(log.write_vectored(&[]).unwrap(), 0);
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes, stats.rotations), (1, 4, 0));
}

#[test]
fn vectored_write_is_one_record_in_one_segment() {
    let dir = Dir::new();
    let mut log = dir.writer().max_size(10).build().unwrap();
    log.write_all(b"1234567\n").unwrap();
    let slices = [b"ab".as_slice(), b"", b"cd", b"\n"].map(IoSlice::new);
    assert_eq!(log.write_vectored(&slices).unwrap(), 5);
    assert_eq!(dir.active_lines(), ["abcd"]);
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes, stats.rotations), (2, 13, 1));
}

#[test]
fn formatted_write_is_one_record_in_one_segment() {
    let dir = Dir::new();
    let mut log = dir.writer().max_size(10).build().unwrap();
    log.write_all(b"1234567\n").unwrap();
    writeln!(log, "{}-{}", 11, 22).unwrap();
    assert_eq!(dir.active_lines(), ["11-22"]);
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes, stats.rotations), (2, 14, 1));
}

/// A value that writes to the log while it is formatted for the log.
struct Logs<'a>(&'a RotatingFileWriter);

impl fmt::Display for Logs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut log = self.0;
        writeln!(log, "inner {}", 1).map_err(|_| fmt::Error)?;
        f.write_str("value")
    }
}

#[test]
fn value_that_logs_while_formatted_gets_its_own_record() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    writeln!(&log, "outer {} end", Logs(&log)).unwrap();
    assert_eq!(dir.active_lines(), ["inner 1", "outer value end"]);
}

/// Fails in the middle of its formatting.
struct Fails;

impl fmt::Display for Fails {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

// `std::io::Write::write_fmt` did the formatting. It panics if a value's own formatting fails while
// the stream does not. So a faulty `Display` crashed a thread that only wanted to log.
#[test]
fn regression_failed_formatting_is_an_error_and_no_record() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    writeln!(log, "half {Fails}").unwrap_err();
    writeln!(log, "whole {}", 1).unwrap();
    assert_eq!(dir.active_lines(), ["whole 1"]);
}

/// Makes each thread write its records through `write`, and checks that all are there, whole and in
/// order.
fn threads_write(write: impl Fn(&RotatingFileWriter, &str) + Sync) {
    const THREADS: usize = 8;
    const COUNT: usize = 1_000;
    const MAX: usize = 5 * 1024;
    let dir = Dir::new();
    let log = dir.writer().max_size(MAX as u64).build().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..THREADS {
            let (log, write) = (log.clone(), &write);
            scope.spawn(move || (0..COUNT).for_each(|seq| write(&log, &record(worker, seq))));
        }
    });
    let verdict = check(&dir.all_lines(), &(0..THREADS).map(|id| (id, COUNT)).collect());
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(log.stats().records, (THREADS * COUNT) as u64);
    // Room is reserved exactly: no segment is too large, and none ended with room for the record
    // that ended it.
    let segments: Vec<_> = dir.backups().iter().map(|name| dir.read(name)).collect();
    assert_eq!(log.stats().rotations, segments.len() as u64);
    let next = segments.iter().skip(1).cloned().chain([dir.read("app.log")]);
    for (segment, next) in segments.iter().zip(next) {
        let first = next.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert!(segment.len() <= MAX && segment.len() + first > MAX, "{}", segment.len());
    }
}

#[test]
fn records_of_threads_are_whole_and_in_order_by_write_all() {
    threads_write(|mut log, record| log.write_all(record.as_bytes()).unwrap());
}

#[test]
fn records_of_threads_are_whole_and_in_order_by_writeln() {
    threads_write(|mut log, record| {
        let (head, tail) = record.trim_end().split_at(9);
        writeln!(log, "{head}{tail}").unwrap();
    });
}

#[test]
fn records_of_threads_are_whole_and_in_order_by_write_vectored() {
    threads_write(|mut log, record| {
        let (head, tail) = record.split_at(9);
        let slices = [head, tail].map(|part| IoSlice::new(part.as_bytes()));
        assert_eq!(log.write_vectored(&slices).unwrap(), record.len());
    });
}

#[test]
fn records_of_threads_are_whole_and_in_order_by_pieces() {
    threads_write(|log, record| {
        let mut lines = log.lines();
        record.as_bytes().chunks(7).for_each(|piece| lines.write_all(piece).unwrap());
    });
}

#[test]
fn handle_can_be_cloned_and_sent_and_shared() {
    fn is_handle<T: Clone + Send + Sync + 'static>() {}
    fn writes<T: Write>() {}
    is_handle::<RotatingFileWriter>();
    writes::<RotatingFileWriter>();
    writes::<&RotatingFileWriter>();
    writes::<logrotor::LineWriter>();
}

#[test]
fn worker_learns_from_its_append_that_the_segment_is_full() {
    let dir = Dir::new();
    let [mut a, mut b] = [0, 1].map(|_| quiet(&dir).max_size(100).build().unwrap());
    a.write_all(&[b'a'; 60]).unwrap();
    b.write_all(&[b'b'; 30]).unwrap();
    // Only 60 of these 90 bytes are its own. It learned of the others from its own handle.
    b.write_all(&[b'b'; 30]).unwrap();
    assert_eq!(b.stats().rotations, 1);
    assert_eq!(dir.read("app.log"), [b'b'; 30]);
}

#[test]
fn late_worker_adopts_the_next_segment_of_another() {
    let dir = Dir::new();
    let [mut a, mut b] = [0, 1].map(|_| quiet(&dir).max_size(100).build().unwrap());
    a.write_all(&[b'a'; 60]).unwrap();
    b.write_all(&[b'b'; 40]).unwrap();
    a.write_all(&[b'a'; 60]).unwrap();
    b.write_all(&[b'b'; 40]).unwrap();
    let (a, b) = (a.stats(), b.stats());
    assert_eq!((a.rotations, a.skips, b.rotations, b.skips), (1, 0, 0, 1));
    assert_eq!(dir.read("app.log").len(), 100);
}

#[test]
fn path_is_checked_once_per_check_interval() {
    let dir = Dir::new();
    let start = SystemTime::now();
    let clock = Clock::manual(start);
    let mut a = quiet(&dir).build().unwrap();
    let mut b = quiet(&dir).clock(clock.clone()).build().unwrap();
    a.write_all(b"a\n").unwrap();
    let backup = a.rotate().unwrap().unwrap();
    clock.set(start + LONG - Duration::from_millis(1));
    b.write_all(b"b before\n").unwrap();
    clock.set(start + LONG);
    b.write_all(b"b after\n").unwrap();
    assert_eq!(std::fs::read(backup).unwrap(), b"a\nb before\n");
    assert_eq!(dir.active_lines(), ["b after"]);
    assert_eq!(b.stats().follows, 1);
}

#[test]
fn reopen_opens_the_file_at_the_path_at_once() {
    let dir = Dir::new();
    let mut log = quiet(&dir).build().unwrap();
    log.write_all(b"one\n").unwrap();
    std::fs::rename(dir.log(), dir.file("moved")).unwrap();
    log.reopen().unwrap();
    log.write_all(b"two\n").unwrap();
    assert_eq!(dir.active_lines(), ["two"]);
    assert_eq!(dir.lines_of("moved"), ["one"]);
}

#[test]
fn one_overflow_is_one_rotation_for_ten_threads() {
    for _ in 0..20 {
        let dir = Dir::new();
        // No rotation is postponed because the lock is late.
        let builder = quiet(&dir).max_size(4096).lock_timeout(LONG);
        let workers: [_; 10] = std::array::from_fn(|_| builder.clone().build().unwrap());
        (&workers[0]).write_all(&[b'x'; 4090]).unwrap();
        // Each has detected that the segment is full, and its record does not fit.
        let barrier = Barrier::new(workers.len());
        std::thread::scope(|scope| {
            for mut worker in &workers {
                let barrier = &barrier;
                scope.spawn(move || {
                    worker.reopen().unwrap();
                    barrier.wait();
                    worker.write_all(b"no room\n").unwrap();
                });
            }
        });
        let stats = workers.each_ref().map(RotatingFileWriter::stats);
        assert_eq!(stats.iter().map(|stats| stats.rotations).sum::<u64>(), 1);
        assert_eq!(stats.iter().map(|stats| stats.skips).sum::<u64>(), 9);
        assert_eq!(dir.active_lines(), ["no room"; 10]);
        assert_eq!(dir.backups().len(), 1);
    }
}

#[test]
fn one_overflow_is_one_rotation_for_ten_threads_on_one_handle() {
    let dir = Dir::new();
    let log = quiet(&dir).max_size(4096).build().unwrap();
    (&log).write_all(&[b'x'; 4090]).unwrap();
    let barrier = Barrier::new(10);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                barrier.wait();
                (&log).write_all(b"no room\n").unwrap();
            });
        }
    });
    assert_eq!(log.stats().rotations, 1);
    assert_eq!(dir.active_lines(), ["no room"; 10]);
}

#[test]
fn rotate_returns_the_backup_or_none_for_an_empty_segment() {
    let dir = Dir::new();
    let mut log = dir.writer().build().unwrap();
    assert_eq!(log.rotate().unwrap(), None);
    log.write_all(b"one\n").unwrap();
    let backup = log.rotate().unwrap().unwrap();
    assert_eq!(std::fs::read(&backup).unwrap(), b"one\n");
    assert_eq!(log.rotate().unwrap(), None);
    let segments: Vec<PathBuf> = log.segments().unwrap().into_iter().map(|s| s.path).collect();
    assert_eq!(segments, [backup, log.path()]);
}

#[test]
fn relative_path_stays_where_it_was_opened() {
    let dir = Dir::new();
    // The path is resolved when the log is opened, so the reported path is absolute.
    let given = dir.path().join("sub/../app.log");
    std::fs::create_dir(dir.file("sub")).unwrap();
    let log = RotatingFileWriter::builder(given).build().unwrap();
    assert_eq!(log.path(), dir.path().canonicalize().unwrap().join("app.log"));
}

#[test]
fn two_handles_on_one_path_in_one_process_are_two_workers() {
    let dir = Dir::new();
    let workers: [_; 3] = std::array::from_fn(|_| dir.writer().max_size(500).build().unwrap());
    std::thread::scope(|scope| {
        for (worker, mut log) in workers.iter().enumerate() {
            scope.spawn(move || {
                for seq in 0..500 {
                    log.write_all(record(worker, seq).as_bytes()).unwrap();
                }
            });
        }
    });
    let expected: BTreeMap<_, _> = (0..workers.len()).map(|id| (id, 500)).collect();
    let verdict = check(&dir.all_lines(), &expected);
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn log_works_after_a_panic_of_a_value_is_caught() {
    struct Panics;
    impl std::fmt::Display for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            std::panic::resume_unwind(Box::new("on purpose"))
        }
    }
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    // Compiles because the handle is unwind-safe.
    assert!(std::panic::catch_unwind(|| writeln!(&log, "never {Panics}")).is_err());
    writeln!(&log, "afterwards").unwrap();
    assert_eq!(dir.active_lines(), ["afterwards"]);
}
