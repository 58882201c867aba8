//! `tracing` end to end: every event is one whole record.

use crate::support::Dir;
use ::tracing::field::{Field, Visit};
use ::tracing::{Dispatch, Level, dispatcher, error, info, info_span, warn};
use logrotor::{Compression, Delivery, RotatingFileWriter};
use serde_json::Value;
use std::io::{IoSlice, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::Registry;

const THREADS: u64 = 6;
const COUNT: u64 = 500;

/// A text that is difficult in JSON: line breaks, quotes, and many characters.
fn awkward(seq: u64) -> String {
    format!(
        "line {seq}\nbreak, \"quote\", \\, {{}}, ü, \u{1f980}, {}",
        "x".repeat(seq as usize % 300)
    )
}

fn json(log: &RotatingFileWriter) -> Dispatch {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .with_max_level(Level::INFO)
        .into()
}

/// Has threads write events through one subscriber.
fn threads_write(dispatch: &Dispatch) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                dispatcher::with_default(dispatch, || {
                    let _span = info_span!("job", thread).entered();
                    (0..COUNT)
                        .for_each(|seq| info!(thread, seq, text = awkward(seq), "{seq} done"));
                });
            });
        }
    });
}

/// Checks that every line is one event, and that each thread's are all there, in order.
fn assert_whole(lines: &[String]) {
    let mut next = [0; THREADS as usize];
    for line in lines {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let seq = event["seq"].as_u64().unwrap();
        assert_eq!(event["text"], awkward(seq));
        assert_eq!(event["message"], format!("{seq} done"));
        assert_eq!((&event["level"], &event["span"]["name"]), (&"INFO".into(), &"job".into()));
        let thread = event["thread"].as_u64().unwrap();
        assert_eq!(event["span"]["thread"], thread);
        assert_eq!(seq, std::mem::replace(&mut next[thread as usize], seq + 1));
    }
    assert_eq!(next, [COUNT; THREADS as usize]);
}

#[test]
fn json_lines_of_threads_all_parse_and_each_event_is_one_record() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    threads_write(&json(&log));
    assert_whole(&dir.active_lines());
    assert_eq!(log.stats().records, THREADS * COUNT);
}

#[test]
fn json_lines_all_parse_across_rotations_and_compression() {
    let dir = Dir::new();
    let log = dir.writer().max_size(64 * 1024).compression(Compression::Gzip).build().unwrap();
    threads_write(&json(&log));
    assert!(log.stats().rotations > 5);
    log.close().unwrap();
    for name in dir.backups() {
        assert!(dir.read(&name).ends_with(b"}\n"), "{name}");
    }
    assert_whole(&dir.all_lines());
}

#[test]
fn json_lines_all_parse_from_the_buffer() {
    let dir = Dir::new();
    let builder = dir.writer().max_size(64 * 1024).delivery(Delivery::buffered());
    let log = builder.build().unwrap();
    threads_write(&json(&log));
    log.close().unwrap();
    assert_whole(&dir.all_lines());
}

#[test]
fn json_lines_of_two_workers_all_parse() {
    let dir = Dir::new();
    let logs = [0, 1].map(|_| dir.writer().max_size(64 * 1024).build().unwrap());
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(move || {
                dispatcher::with_default(&json(log), || {
                    (0..COUNT).for_each(|seq| info!(seq, text = awkward(seq)));
                });
            });
        }
    });
    let lines = dir.all_lines();
    assert_eq!(lines.len() as u64, 2 * COUNT);
    for line in lines {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(event["text"], awkward(event["seq"].as_u64().unwrap()));
    }
}

#[test]
fn plain_lines_hold_the_event_and_its_fields() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let fmt = tracing_subscriber::fmt().with_writer(log).with_ansi(false).without_time();
    dispatcher::with_default(&fmt.with_target(false).into(), || {
        warn!(disk = 3, "nearly full");
        error!("full");
    });
    let lines: Vec<_> = dir.active_lines().iter().map(|line| line.trim().to_owned()).collect();
    assert_eq!(lines, ["WARN nearly full disk=3", "ERROR full"]);
}

/// A layer that formats right into its writer, piece by piece.
struct Pieces<W>(W);

struct Fields<'a>(&'a mut dyn Write);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl<W: for<'a> MakeWriter<'a> + 'static> Layer<Registry> for Pieces<W> {
    fn on_event(&self, event: &::tracing::Event<'_>, _: Context<'_, Registry>) {
        let mut writer = self.0.make_writer_for(event.metadata());
        writer.write_all(b"event").unwrap();
        event.record(&mut Fields(&mut writer));
        writer.flush().unwrap();
        writer.write_all(b"\n  and more\n").unwrap();
    }
}

fn with_pieces<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(writer: W) -> Dispatch {
    Registry::default().with(Pieces(writer)).into()
}

#[test]
fn event_written_in_pieces_is_one_record() {
    let dir = Dir::new();
    let log = dir.writer().max_size(1000).build().unwrap();
    let dispatch = with_pieces(log.clone());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                dispatcher::with_default(&dispatch, || (0..COUNT).for_each(|seq| info!(seq)));
            });
        }
    });
    assert_eq!(log.stats().records, THREADS * COUNT);
    let names = dir.backups().into_iter().chain(["app.log".to_owned()]);
    for name in names {
        for event in dir.lines_of(&name).chunks(2) {
            assert!(event[0].starts_with("event seq=") && event[1] == "  and more", "{event:?}");
        }
    }
}

#[test]
fn line_writer_makes_writers_of_events() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut lines = log.lines();
    lines.write_all(b"held ").unwrap();
    dispatcher::with_default(&with_pieces(lines.clone()), || info!(seq = 1));
    assert_eq!(dir.active_lines(), ["event seq=1", "  and more"]);
    lines.write_all(b"until now\n").unwrap();
    assert_eq!(log.stats().records, 2);
}

#[test]
fn event_of_one_call_is_written_before_the_writer_is_dropped() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut writer = log.make_writer();
    let (one, call) = ("one", "call");
    writeln!(writer, "{one} {call}").unwrap();
    assert_eq!(dir.active_lines(), ["one call"]);
    writer.write_all(b"another\n").unwrap();
    assert_eq!(dir.active_lines(), ["one call", "another"]);
    let (two, pieces) = ("two", "pieces");
    write!(writer, "{two}\n{pieces}").unwrap();
    writer.write_all(b"\n").unwrap();
    assert_eq!(log.stats().records, 2);
    drop(writer);
    assert_eq!(dir.active_lines()[2..], ["two", "pieces"]);
    assert_eq!(log.stats().records, 3);
}

#[test]
fn event_in_pieces_that_cannot_be_written_is_counted() {
    let dir = Dir::new();
    let log = dir.writer().check_interval(std::time::Duration::ZERO).build().unwrap();
    let mut writer = log.make_writer();
    writer.write_all(b"half of an event").unwrap();
    std::fs::remove_file(dir.log()).unwrap();
    std::fs::create_dir(dir.log()).unwrap();
    drop(writer);
    assert_eq!(log.stats().failures(logrotor::ErrorKind::Io), 1);
}

/// A value whose formatting panics after a part of it was written.
struct Panics;

impl std::fmt::Display for Panics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a part")?;
        panic!("a value cannot be formatted")
    }
}

#[test]
fn event_whose_formatting_panics_is_discarded() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let mut record = log.record();
    for head in ["", "head "] {
        let work = AssertUnwindSafe(|| {
            let mut writer = log.make_writer();
            writer.write_all(head.as_bytes()).unwrap();
            writeln!(writer, "{Panics}")
        });
        catch_unwind(work).unwrap_err();
        write!(record, "kept ").unwrap();
        catch_unwind(AssertUnwindSafe(|| write!(record, "{Panics}"))).unwrap_err();
    }
    log.make_writer().write_all(b"next\n").unwrap();
    assert_eq!(record.as_bytes(), b"kept kept ");
    assert_eq!((dir.active_lines(), log.stats().records), (vec!["next".to_owned()], 1));
}

#[test]
fn event_in_pieces_from_a_destructor_of_a_panic_is_written() {
    struct LogsAtEnd(RotatingFileWriter);
    impl Drop for LogsAtEnd {
        fn drop(&mut self) {
            let mut writer = self.0.make_writer();
            write!(writer, "in ").unwrap();
            writer.write_all(b"pieces\n").unwrap();
        }
    }
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let panics = AssertUnwindSafe(|| {
        let _ends = LogsAtEnd(log.clone());
        panic!("with a value that logs");
    });
    catch_unwind(panics).unwrap_err();
    assert_eq!(dir.active_lines(), ["in pieces"]);
}

#[test]
fn vectored_call_of_an_event_is_one_piece() {
    let dir = Dir::new();
    let log = dir.writer().build().unwrap();
    let slices = [b"first\n".as_slice(), b"  and more\n"].map(IoSlice::new);
    assert_eq!(log.make_writer().write_vectored(&slices).unwrap(), 17);
    assert_eq!((dir.active_lines().len(), log.stats().records), (2, 1));
}
