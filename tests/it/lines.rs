//! Runs of lines written with one call.

use crate::support::{Dir, Job, Worker, check, record};
use logrotor::{Buffering, Delivery, Durability, FileLock, Overflow, RotatingFileWriter, Wait};
use std::time::Duration;

/// Writes all of these lines, in as many calls as it takes.
pub fn write_all(log: &RotatingFileWriter, mut lines: &[u8]) {
    while !lines.is_empty() {
        let taken = log.write_lines(lines).unwrap();
        assert!(taken > 0 && (lines[taken - 1] == b'\n' || taken == lines.len()));
        lines = &lines[taken..];
    }
}

/// The records 0 to `count` of one worker.
fn records(worker: usize, count: usize) -> String {
    (0..count).map(|seq| record(worker, seq)).collect()
}

#[test]
fn run_of_lines_fills_segments_with_whole_lines() {
    let dir = Dir::new();
    let log = dir.writer().max_size(1000).build().unwrap();
    // Lines of 100 bytes: ten to a segment, exactly.
    let line = format!("{}\n", "x".repeat(99));
    assert_eq!(log.write_lines(line.repeat(35).as_bytes()).unwrap(), 1000);
    assert_eq!(log.stats().records, 10);
    write_all(&log, line.repeat(25).as_bytes());
    let sizes: Vec<_> = dir.backups().iter().map(|name| dir.read(name).len()).collect();
    assert_eq!((sizes, dir.read("app.log").len()), (vec![1000; 3], 500));
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes, stats.rotations), (35, 3500, 3));
}

#[test]
fn line_that_does_not_fit_goes_to_next_segment_whole() {
    let dir = Dir::new();
    let log = dir.writer().max_size(1000).build().unwrap();
    write_all(&log, format!("{}\n{}\n", "a".repeat(600), "b".repeat(600)).as_bytes());
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["a".repeat(600)]);
    assert_eq!(dir.active_lines(), ["b".repeat(600)]);
}

#[test]
fn line_larger_than_segment_has_one_of_its_own() {
    let dir = Dir::new();
    let log = dir.writer().max_size(1000).build().unwrap();
    let long = "l".repeat(5000);
    write_all(&log, format!("before\n{long}\nafter\n").as_bytes());
    let backups: Vec<_> = dir.backups().iter().map(|name| dir.lines_of(name)).collect();
    assert_eq!(backups, [["before".to_owned()], [long]]);
    assert_eq!(dir.active_lines(), ["after"]);
}

#[test]
fn rest_without_line_break_is_a_line() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    assert_eq!(log.write_lines(b"").unwrap(), 0);
    assert_eq!(log.write_lines(b"one\n\nrest").unwrap(), 9);
    assert_eq!(dir.read("app.log"), b"one\n\nrest");
    assert_eq!(log.stats().records, 3);
}

#[test]
fn buffered_lines_are_records_too_and_segments_keep_their_limit() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(
        Buffering::new().capacity(4096).flush_interval(Duration::from_millis(20)),
    );
    let log = dir.writer().max_size(5000).delivery(delivery).build().unwrap();
    let lines = records(0, 5000);
    write_all(&log, lines.as_bytes());
    log.flush().unwrap();
    let stats = log.stats();
    assert_eq!((stats.records, stats.bytes, stats.dropped), (5000, lines.len() as u64, 0));
    assert!(check(&dir.all_lines(), &[(0, 5000)].into()).is_clean());
    for name in dir.backups() {
        assert!(dir.read(&name).len() <= 5000, "{name}");
    }
}

#[test]
fn lines_without_room_in_buffer_are_dropped_and_counted() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(
        Buffering::new()
            .capacity(100)
            .flush_interval(Duration::from_secs(3600))
            .overflow(Overflow::DropNewestSilently),
    );
    let builder = dir.writer().max_size(100).lock_timeout(Duration::from_secs(3600));
    let log = builder.delivery(delivery).build().unwrap();
    let line = |letter: &str, len: usize| format!("{}\n", letter.repeat(len - 1));
    let lock = FileLock::open(dir.path().join("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    let lines = [line("a", 60), line("b", 60), line("c", 41), line("d", 90), line("e", 60)];
    write_all(&log, lines[0].as_bytes());
    log.flush().unwrap();
    // `b` fills a chunk, and waits for the rotation that it needs.
    write_all(&log, lines[1..].concat().as_bytes());
    drop(guard);
    log.flush().unwrap();
    assert_eq!(log.stats().dropped, 2);
    assert_eq!(dir.all_lines().concat(), lines[..3].concat().replace('\n', ""));
}

#[test]
fn lines_of_one_call_share_a_sync() {
    let dir = Dir::new();
    let log = dir.writer().durability(Durability::EveryRecord).max_size(5000).build().unwrap();
    write_all(&log, records(0, 500).as_bytes());
    assert!(check(&dir.all_lines(), &[(0, 500)].into()).is_clean());
}

#[test]
fn lines_of_several_processes_are_whole_and_in_order() {
    let dir = Dir::new();
    let job = Job::new("write", &dir.log()).with("max_size", 20_000).with("lines", 1);
    let job = job.with("count", 20_000);
    let mut all: Vec<_> = (0..3).map(|id| job.clone().with("worker", id).spawn()).collect();
    all.iter_mut().for_each(|worker| worker.expect("ready"));
    all.iter_mut().for_each(|worker| worker.tell("go"));
    all.into_iter().for_each(Worker::finish);
    let verdict = check(&dir.all_lines(), &(0..3).map(|id| (id, 20_000)).collect());
    assert!(verdict.is_clean(), "{verdict}");
}

#[cfg(unix)]
mod refused {
    use super::*;

    /// A worker whose `append` calls fail as `plan` says.
    fn worker(dir: &Dir, plan: &str) -> Worker {
        let job = Job::new("obey", &dir.log()).env("LOGROTOR_FAULT", plan);
        let mut worker = job.spawn();
        worker.expect("ready");
        worker
    }

    #[test]
    fn short_write_is_completed() {
        let dir = Dir::new();
        let mut worker = worker(&dir, "1/append:short");
        assert_eq!(worker.ask("lines one|two|three|"), "ok");
        assert_eq!(worker.count("records"), 3);
        assert_eq!(dir.active_lines(), ["one", "two", "three"]);
        worker.finish();
    }

    #[test]
    fn torn_line_is_counted_and_next_line_starts_fresh() {
        // The kernel takes the first line and a part of the second.
        let dir = Dir::new();
        let mut worker = worker(&dir, "1/append:short;2/append:errno=28");
        assert_eq!(worker.ask("lines one|two|three|"), "ok");
        assert_eq!((worker.count("records"), worker.count("torn")), (1, 1));
        assert_eq!(worker.ask("lines next|"), "ok");
        assert_eq!(dir.active_lines(), ["one", "two", "next"]);
        worker.finish();
    }

    #[test]
    fn refused_lines_are_not_taken() {
        let dir = Dir::new();
        let mut worker = worker(&dir, "1/append:errno=28");
        assert!(worker.ask("lines one|two|").starts_with("error"));
        assert_eq!(worker.count("records"), 0);
        assert_eq!(worker.ask("lines one|two|"), "ok");
        assert_eq!(dir.active_lines(), ["one", "two"]);
        worker.finish();
    }
}
