//! Records that are written in pieces: `lines()` and `record()`.

use crate::support::Dir;
use logrotor::{
    Buffering, Delivery, ErrorKind, Event, LineWriter, LogBuilder, RecordWriter, RotatingFileWriter,
};
use std::fmt;
use std::io::{IoSlice, Write};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A value whose formatting fails after a part of it was written.
struct Failing;

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part")?;
        Err(fmt::Error)
    }
}

/// A log that checks its path at every record.
fn watchful(dir: &Dir) -> RotatingFileWriter {
    dir.writer().check_interval(Duration::ZERO).build().unwrap()
}

#[test]
fn writers_have_the_traits_that_loggers_ask_for() {
    fn is_handle<T: Clone + Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug + 'static>() {}
    fn is_sent<T: Write + Send + Sync + UnwindSafe + fmt::Debug>() {}
    is_handle::<RotatingFileWriter>();
    is_handle::<LineWriter>();
    is_sent::<RotatingFileWriter>();
    is_sent::<LineWriter>();
    is_sent::<RecordWriter<'_>>();
}

#[test]
fn line_writer_ends_record_where_call_ends_with_line_break() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut lines = log.lines();
    lines.write_all(b"one\n").unwrap();
    lines.write_all(b"two\nthr").unwrap();
    lines.flush().unwrap();
    assert_eq!(dir.read("app.log"), b"one\n");
    lines.write_all(b"ee\n").unwrap();
    assert_eq!(dir.active_lines(), ["one", "two", "three"]);
    assert_eq!(log.stats().records, 2);
}

#[test]
fn line_writer_keeps_message_of_several_lines_in_one_segment() {
    let dir = Dir::new();
    let log = dir.writer().max_size(100).build().unwrap();
    let mut lines = log.lines();
    for number in 0..50 {
        write!(lines, "{number} ").unwrap();
        write!(lines, "first\n  second\n  third of {number}").unwrap();
        lines.write_all(b"\n").unwrap();
    }
    assert_eq!(log.stats().records, 50);
    for name in dir.backups() {
        let content = dir.lines_of(&name);
        assert!(content[0].ends_with("first") && content.len() % 3 == 0, "{name}: {content:?}");
    }
}

#[test]
fn line_writer_takes_formatted_and_vectored_calls_as_one_piece() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut lines = log.lines();
    let (one, two) = ("one", "two");
    writeln!(lines, "{one}\n{two}").unwrap();
    assert_eq!(log.stats().records, 1);
    let slices = [b"three\n".as_slice(), b"four", b"\n"].map(IoSlice::new);
    assert_eq!(lines.write_vectored(&slices).unwrap(), 11);
    assert_eq!(log.stats().records, 2);
    assert_eq!(dir.active_lines(), ["one", "two", "three", "four"]);
}

#[test]
fn line_writer_discards_piece_whose_formatting_fails() {
    let dir = Dir::new();
    let mut lines = dir.writer().build().unwrap().lines();
    lines.write_all(b"head ").unwrap();
    assert!(writeln!(lines, "lost {Failing}").is_err());
    lines.write_all(b"tail\n").unwrap();
    assert_eq!(dir.active_lines(), ["head tail"]);
}

#[test]
fn line_writer_that_fails_has_taken_nothing() {
    let dir = Dir::new();
    let mut lines = watchful(&dir).lines();
    lines.write_all(b"head ").unwrap();
    refuse_records(&dir);
    assert!(lines.write_all(b"tail\n").is_err());
    accept_records(&dir);
    lines.write_all(b"tail\n").unwrap();
    assert_eq!(dir.active_lines(), ["head tail"]);
}

#[test]
fn line_writer_ends_line_of_rest_when_dropped() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut lines = log.lines();
    lines.write_all(b"rest").unwrap();
    assert_eq!(dir.read("app.log"), b"");
    drop(lines);
    assert_eq!(dir.read("app.log"), b"rest\n");
    drop(log.lines());
    let panics = AssertUnwindSafe(|| {
        let mut lines = log.lines();
        lines.write_all(b"half of an event").unwrap();
        panic!("before the rest of it");
    });
    catch_unwind(panics).unwrap_err();
    log.write_record(b"next\n").unwrap();
    assert_eq!(dir.active_lines(), ["rest", "half of an event", "next"]);
}

#[test]
fn line_writer_clone_holds_no_pieces() {
    let dir = Dir::new();
    let mut lines = dir.writer().build().unwrap().lines();
    lines.write_all(b"mine ").unwrap();
    let mut other = lines.clone();
    other.write_all(b"other\n").unwrap();
    lines.write_all(b"rest\n").unwrap();
    assert_eq!(dir.active_lines(), ["other", "mine rest"]);
}

#[test]
fn line_writer_passes_on_megabytes_in_pieces() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut lines = log.lines();
    for _ in 0..40 {
        lines.write_all(&[b'x'; 100_000]).unwrap();
    }
    lines.write_all(b"\n").unwrap();
    assert_eq!(dir.read("app.log").len(), 4_000_001);
    assert_eq!(log.stats().records, 4);
    // A block of lines ends after a whole line.
    let block = format!("{}\nhalf a", "y".repeat(99)).repeat(11_000);
    lines.write_all(block.as_bytes()).unwrap();
    assert!(dir.read("app.log").ends_with(b"y\n"));
    lines.write_all(b" line\n").unwrap();
    assert!(dir.read("app.log").ends_with(b"y\nhalf a line\n"));
}

#[test]
fn line_writer_can_ignore_flush() {
    let dir = Dir::new();
    let buffering = Buffering::new().flush_interval(Duration::from_secs(3600));
    let log = dir.writer().delivery(Delivery::Buffered(buffering)).build().unwrap();
    let mut lines = log.lines().ignore_flush();
    for _ in 0..100 {
        writeln!(lines, "an event").unwrap();
        lines.flush().unwrap();
    }
    assert_eq!(dir.read("app.log"), b"");
    log.flush().unwrap();
    assert_eq!(dir.active_lines().len(), 100);
    let mut lines = log.lines();
    writeln!(lines, "an event").unwrap();
    lines.flush().unwrap();
    assert_eq!(dir.active_lines().len(), 101);
}

#[test]
fn record_is_written_by_commit_alone() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut record = log.record();
    record.write_all(b"[\n").unwrap();
    write!(record, "  {},\n  {}\n", 1, 2).unwrap();
    record.write_all(b"]\n").unwrap();
    record.flush().unwrap();
    assert_eq!((dir.read("app.log"), log.stats().records), (Vec::new(), 0));
    record.commit().unwrap();
    assert_eq!((&*dir.read("app.log"), log.stats().records), (&b"[\n  1,\n  2\n]\n"[..], 1));
    record.write_all(b"next\n").unwrap();
    record.commit().unwrap();
    record.commit().unwrap();
    assert_eq!((dir.active_lines().len(), log.stats().records), (5, 2));
}

#[test]
fn record_that_is_not_committed_is_discarded() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut record = log.record();
    record.write_all(b"half").unwrap();
    record.discard();
    let mut record = log.record();
    record.write_all(b"half").unwrap();
    drop(record);
    let mut record = log.record();
    assert_eq!(record.as_bytes(), b"");
    record.write_all(b"whole\n").unwrap();
    record.commit().unwrap();
    assert_eq!(dir.read("app.log"), b"whole\n");
}

#[test]
fn record_discards_piece_whose_formatting_fails() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut record = log.record();
    write!(record, "head ").unwrap();
    assert!(write!(record, "{Failing}").is_err());
    assert_eq!(record.as_bytes(), b"head ");
    let mut log = log.clone();
    assert!(writeln!(log, "{Failing}").is_err());
    assert_eq!(log.stats().records, 0);
}

#[test]
fn record_within_record_has_pieces_of_its_own() {
    let dir = Dir::new();
    let log = watchful(&dir);
    let mut outer = log.record();
    outer.write_all(b"outer\n").unwrap();
    let mut inner = log.record();
    inner.write_all(b"inner\n").unwrap();
    let mut plain = log.clone();
    let text = "plain";
    writeln!(plain, "{text}").unwrap();
    inner.commit().unwrap();
    outer.commit().unwrap();
    assert_eq!(dir.active_lines(), ["plain", "inner", "outer"]);
}

#[test]
fn record_whose_commit_fails_can_be_committed_again() {
    let dir = Dir::new();
    let log = watchful(&dir);
    let mut record = log.record();
    record.write_all(b"a record\n").unwrap();
    refuse_records(&dir);
    assert!(record.commit().is_err());
    accept_records(&dir);
    record.commit().unwrap();
    assert_eq!(dir.active_lines(), ["a record"]);
}

#[test]
fn rest_that_line_writer_cannot_write_is_counted() {
    let dir = Dir::new();
    let (builder, seen) = observed(dir.writer());
    let log = builder.build().unwrap();
    let mut lines = log.lines();
    lines.write_all(b"rest").unwrap();
    refuse_records(&dir);
    drop(lines);
    assert_eq!((log.stats().failures(ErrorKind::Io), seen.load(Relaxed)), (1, 1));
}

#[test]
fn flush_guard_notifies_observer_of_refused_records() {
    let dir = Dir::new();
    let buffering = Buffering::new().flush_interval(Duration::from_secs(3600));
    let builder = dir.writer().delivery(Delivery::Buffered(buffering));
    let (builder, seen) = observed(builder);
    let log = builder.build().unwrap();
    let guard = log.flush_guard();
    log.write_record(b"a record\n").unwrap();
    refuse_records(&dir);
    drop(guard);
    assert!(seen.load(Relaxed) > 0);
    accept_records(&dir);
}

/// A log that checks its path at every record, and the number of refusals that its observer sees.
fn observed(builder: LogBuilder) -> (LogBuilder, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let builder = builder.check_interval(Duration::ZERO).observer(move |event| {
        if matches!(event, Event::Failed { error, .. } if error.kind() == ErrorKind::Io) {
            counter.fetch_add(1, Relaxed);
        }
    });
    (builder, seen)
}

/// Puts a directory at the path of the log, whose file is gone.
fn refuse_records(dir: &Dir) {
    std::fs::remove_file(dir.log()).unwrap();
    std::fs::create_dir(dir.log()).unwrap();
}

fn accept_records(dir: &Dir) {
    std::fs::remove_dir(dir.log()).unwrap();
}
