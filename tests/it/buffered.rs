//! Buffered delivery: the promises if a log call does not wait for the kernel.

use crate::support::{Dir, check, record};
use logrotor::{Buffering, Delivery, Event, Overflow, RotatingFileWriter};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn delivery(capacity: usize, overflow: Overflow) -> Delivery {
    Delivery::Buffered(
        Buffering::new()
            .capacity(capacity)
            .flush_interval(Duration::from_millis(20))
            .overflow(overflow),
    )
}

/// A flush interval that no test waits for.
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn threads_lose_no_record_and_segments_keep_their_limit() {
    let dir = Dir::new();
    let log =
        dir.writer().max_size(5000).delivery(delivery(4096, Overflow::Block)).build().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let mut log = log.clone();
            scope.spawn(move || {
                for seq in 0..5000 {
                    log.write_all(record(worker, seq).as_bytes()).unwrap();
                }
            });
        }
    });
    log.close().unwrap();
    let verdict = check(&dir.all_lines(), &(0..4).map(|worker| (worker, 5000)).collect());
    assert!(verdict.is_clean(), "{verdict}");
    for name in dir.backups() {
        assert!(dir.read(&name).len() <= 5000, "{name}");
    }
}

#[test]
fn flush_returns_when_everything_before_it_is_in_the_kernel() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(Buffering::new().capacity(1 << 20).flush_interval(NEVER));
    let mut log = dir.writer().delivery(delivery).build().unwrap();
    log.write_all(b"held back\n").unwrap();
    assert_eq!(dir.active_lines(), [""; 0]);
    log.flush().unwrap();
    assert_eq!(dir.active_lines(), ["held back"]);
}

#[test]
fn dropping_the_last_handle_writes_the_buffer() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(Buffering::new().capacity(1 << 20).flush_interval(NEVER));
    let mut log = dir.writer().delivery(delivery).build().unwrap();
    let other = log.clone();
    log.write_all(b"held back\n").unwrap();
    drop(log);
    assert_eq!(dir.active_lines(), [""; 0]);
    drop(other);
    assert_eq!(dir.active_lines(), ["held back"]);
}

#[test]
fn flush_guard_writes_the_buffer_when_it_is_dropped() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(Buffering::new().flush_interval(NEVER));
    let log = dir.writer().delivery(delivery).build().unwrap();
    let guard = log.flush_guard();
    log.write_record(b"held back\n").unwrap();
    assert_eq!(dir.active_lines(), [""; 0]);
    drop(guard);
    assert_eq!(dir.active_lines(), ["held back"]);
    drop(log);
}

#[test]
fn record_is_written_after_the_flush_interval() {
    let dir = Dir::new();
    let mut log = dir.writer().delivery(delivery(1 << 20, Overflow::Block)).build().unwrap();
    for text in ["first", "after a pause"] {
        writeln!(log, "{text}").unwrap();
        crate::support::eventually(text, || {
            dir.active_lines().last().is_some_and(|last| last == text)
        });
    }
}

#[test]
fn record_larger_than_the_buffer_is_accepted_whole() {
    let dir = Dir::new();
    let mut log = dir.writer().delivery(delivery(100, Overflow::Block)).build().unwrap();
    log.write_all(b"small\n").unwrap();
    let large = [[b'x'; 1000].as_slice(), b"\n"].concat();
    log.write_all(&large).unwrap();
    log.write_all(b"small\n").unwrap();
    log.flush().unwrap();
    assert_eq!(dir.active_lines(), ["small", &"x".repeat(1000), "small"]);
}

#[test]
fn dropped_records_are_counted_and_reported_in_their_place() {
    for (overflow, told) in [(Overflow::DropNewest, true), (Overflow::DropNewestSilently, false)] {
        let dir = Dir::new();
        let log = dir.writer().delivery(delivery(2000, overflow)).build().unwrap();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let mut log = log.clone();
                scope.spawn(move || {
                    for seq in 0..20_000 {
                        log.write_all(record(worker, seq).as_bytes()).unwrap();
                    }
                });
            }
        });
        log.flush().unwrap();
        let (lines, stats) = (dir.all_lines(), log.stats());
        let expected: BTreeMap<_, _> = (0..4).map(|worker| (worker, 20_000)).collect();
        let is_notice = |line: &String| line.starts_with("[logrotor]");
        let missing: usize = lines
            .iter()
            .filter(|line| is_notice(line))
            .map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
            .sum();
        let records: Vec<_> = lines.into_iter().filter(|line| !is_notice(line)).collect();
        let verdict = check(&records, &expected);
        assert!(stats.dropped > 0, "nothing overflowed");
        assert_eq!(verdict.lost as u64, stats.dropped);
        assert_eq!((verdict.doubled, verdict.torn, verdict.disordered), (0, 0, 0));
        assert_eq!(missing as u64, if told { stats.dropped } else { 0 });
    }
}

#[test]
fn rotation_by_hand_comes_after_the_records_before_it() {
    let dir = Dir::new();
    let mut log = dir.writer().delivery(delivery(1 << 20, Overflow::Block)).build().unwrap();
    writeln!(log, "before").unwrap();
    let backup = log.rotate().unwrap().unwrap();
    writeln!(log, "after").unwrap();
    log.close().unwrap();
    assert_eq!(std::fs::read_to_string(backup).unwrap(), "before\n");
    assert_eq!(dir.active_lines(), ["after"]);
}

// An observer may write to the log. With buffered delivery, the thread that empties the buffer
// called the observer. If the buffer was full, the thread waited for itself, and the log hung, as
// did `flush` and `rotate`.
#[test]
fn regression_observer_that_logs_does_not_block_the_flusher() {
    let dir = Dir::new();
    let handle = Arc::new(Mutex::new(None::<RotatingFileWriter>));
    let (inner, once) = (Arc::clone(&handle), AtomicBool::new(false));
    let (done, result) = channel();
    let log = dir
        .writer()
        .max_size(200)
        .delivery(Delivery::Buffered(Buffering::new().capacity(100).flush_interval(NEVER)))
        .observer(move |event| {
            let log = inner.lock().unwrap().clone();
            if let (Event::Rotated { .. }, Some(mut log), false) =
                (event, log, once.swap(true, Ordering::SeqCst))
            {
                for _ in 0..4 {
                    log.write_all(&[[b'o'; 60].as_slice(), b"\n"].concat()).unwrap();
                }
                let (flushed, rotated) = (log.flush(), log.rotate());
                done.send((flushed.is_ok(), rotated.is_ok())).unwrap();
            }
        })
        .build()
        .unwrap();
    *handle.lock().unwrap() = Some(log.clone());
    for _ in 0..10 {
        (&log).write_all(&[[b'x'; 60].as_slice(), b"\n"].concat()).unwrap();
    }
    assert_eq!(result.recv_timeout(Duration::from_secs(60)), Ok((true, true)));
    log.flush().unwrap();
    handle.lock().unwrap().take();
    let lines = dir.all_lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with('x')).count(), 10);
    assert_eq!(lines.iter().filter(|line| line.starts_with('o')).count(), 4);
}
