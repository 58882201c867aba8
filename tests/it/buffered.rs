//! Buffered delivery: the promises if a log call does not wait for the kernel.

use crate::support::{Dir, Job, check, eventually, record};
use logrotor::{Buffering, Delivery, Event, FileLock, Overflow, RotatingFileWriter, Wait};
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
        eventually(text, || dir.active_lines().last().is_some_and(|last| last == text));
    }
}

// A log call leaves its chunk to the flusher if another thread happens to have the log.
#[test]
fn log_call_that_fills_a_chunk_writes_it() {
    // While the kernel is slow, as on a busy machine, log calls leave the chunks to the flusher.
    eventually("log calls write most of the chunks", || chunks_written_at_once() > 16);
}

/// Fills 32 chunks. Returns how many of them were in the file when the log call returned.
fn chunks_written_at_once() -> usize {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(Buffering::new().flush_interval(NEVER));
    let log = dir.writer().delivery(delivery).build().unwrap();
    let kib = [[b'x'; 1023].as_slice(), b"\n"].concat();
    let mut at_once = 0;
    for written in 1..=1024 {
        log.write_record(&kib).unwrap();
        at_once += usize::from(written % 32 == 0 && dir.read("app.log").len() == written * 1024);
    }
    at_once
}

#[test]
fn log_call_does_not_wait_for_the_rotation_lock() {
    let dir = Dir::new();
    let delivery = Delivery::Buffered(Buffering::new().flush_interval(NEVER));
    let builder = dir.writer().max_size(40_000).lock_timeout(NEVER).delivery(delivery);
    let log = builder.build().unwrap();
    let lock = FileLock::open(dir.path().join("app.log.lock")).unwrap();
    let guard = lock.exclusive(Wait::Forever).unwrap();
    // Several segments, and not half of the buffer.
    let count = 10_000;
    (0..count).for_each(|seq| log.write_record(record(0, seq).as_bytes()).unwrap());
    assert_eq!(log.stats().rotations, 0);
    drop(guard);
    log.close().unwrap();
    assert!(check(&dir.all_lines(), &[(0, count)].into()).is_clean());
    assert!(dir.backups().len() > 1);
}

#[test]
fn write_that_hangs_holds_up_only_its_own_log_call() {
    let (dir, gates) = (Dir::new(), Dir::new());
    let gate = gates.path().join("gate");
    let job = Job::new("commit", &dir.log()).with("buffered", 1);
    let plan = format!("1/append:pause={}", gate.display());
    let mut worker = job.env("LOGROTOR_FAULT", plan).spawn();
    worker.expect("ready");
    // More than a log call leaves in this buffer.
    let large = "x".repeat(600);
    worker.tell(&large);
    eventually("the write hangs", || gates.path().join("gate.reached").exists());
    // The large one may have been left to the flusher.
    for text in ["one", "two"] {
        worker.tell(text);
        while worker.hear().unwrap() != format!("{text} ok") {}
    }
    assert_eq!(dir.active_lines(), [""; 0]);
    std::fs::write(gate, "").unwrap();
    worker.finish();
    assert_eq!(dir.active_lines(), [&large, "one", "two"]);
}

#[test]
fn refused_chunk_is_written_later_and_fails_no_call() {
    let dir = Dir::new();
    let job = Job::new("obey", &dir.log()).with("buffered", 1);
    let mut worker = job.env("LOGROTOR_FAULT", "1/append:errno=28").spawn();
    worker.expect("ready");
    let large = "x".repeat(600);
    worker.write(&large);
    eventually("the flusher tries again", || dir.active_lines() == [large.as_str()]);
    worker.write("small");
    assert_eq!(worker.ask("sync"), "ok");
    assert_eq!((worker.count("failures"), worker.count("records")), (1, 2));
    assert!(worker.ask("last").starts_with("failed to write to"));
    worker.finish();
    assert_eq!(dir.active_lines(), [large.as_str(), "small"]);
}

// It runs while the log is locked, also by the thread that rotates. A log call within it that fills
// a chunk would wait for its own thread.
#[test]
fn header_function_may_write_to_a_buffered_log() {
    let dir = Dir::new();
    let handle = Arc::new(Mutex::new(None::<RotatingFileWriter>));
    let inner = Arc::clone(&handle);
    let delivery = Delivery::Buffered(Buffering::new().flush_interval(NEVER));
    let builder = dir.writer().delivery(delivery).header_with(move || {
        if let Some(log) = &*inner.lock().unwrap() {
            (0..2000).for_each(|seq| log.write_record(record(0, seq).as_bytes()).unwrap());
        }
        Vec::new()
    });
    let log = builder.build().unwrap();
    log.write_record(b"first\n").unwrap();
    *handle.lock().unwrap() = Some(log.clone());
    let (done, result) = channel();
    let rotating = log.clone();
    std::thread::spawn(move || done.send(rotating.rotate().is_ok()));
    assert_eq!(result.recv_timeout(Duration::from_secs(60)), Ok(true));
    handle.lock().unwrap().take();
    log.close().unwrap();
    assert!(check(&dir.active_lines(), &[(0, 2000)].into()).is_clean());
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
