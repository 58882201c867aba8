//! A record costs no heap allocation once its log has started. This is a binary of its own because
//! it replaces the global allocator, to count the allocations of each thread.
#![allow(clippy::unwrap_used, missing_docs)]

use logrotor::{Buffering, Delivery, LogBuilder, MaintenanceMode, RotatingFileWriter};
use std::io::{IoSlice, Write};
use std::time::Duration;
use tempfile::TempDir;

const RECORDS: u64 = 10_000;

/// A log without a thread of its own, because the first wait for the append lock allocates as well.
/// It does not check its path meanwhile; another test does that.
fn alone(dir: &TempDir) -> LogBuilder {
    RotatingFileWriter::builder(dir.path().join("app.log"))
        .maintenance(MaintenanceMode::Inline)
        .check_interval(Duration::from_secs(3600))
}

/// Makes a log that is far from its limits take records, and returns the number of allocations.
fn allocations_of(write: impl Fn(&RotatingFileWriter)) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let log = alone(&dir).build().unwrap();
    // The first records allocate the memory that later ones use again.
    (0..10).for_each(|_| write(&log));
    let counted = allocation_counter::measure(|| (0..RECORDS).for_each(|_| write(&log)));
    assert_eq!(log.stats().records, RECORDS + 10);
    counted.count_total
}

#[test]
fn allocations_are_counted() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 64])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn write_all_allocates_nothing() {
    assert_eq!(allocations_of(|mut log| log.write_all(b"a whole record\n").unwrap()), 0);
}

#[test]
fn buffered_record_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let buffering = Buffering::new().flush_interval(Duration::from_secs(3600));
    let builder = RotatingFileWriter::builder(dir.path().join("app.log"))
        .check_interval(Duration::from_secs(3600))
        .delivery(Delivery::Buffered(buffering));
    let log = builder.build().unwrap();
    let write = || (0..RECORDS).for_each(|_| log.write_record(b"a whole record\n").unwrap());
    write();
    // Several chunks, which this thread writes itself.
    let counted = allocation_counter::measure(write);
    assert_eq!(counted.count_total, 0);
    log.flush().unwrap();
    assert_eq!(log.stats().records, 2 * RECORDS);
}

#[test]
fn writeln_allocates_nothing() {
    let write = |mut log: &RotatingFileWriter| writeln!(log, "{} of {:?}", 7, "seven").unwrap();
    assert_eq!(allocations_of(write), 0);
}

#[test]
fn write_vectored_allocates_nothing() {
    let write = |mut log: &RotatingFileWriter| {
        let slices = [b"a record ".as_slice(), b"in pieces\n"].map(IoSlice::new);
        assert_eq!(log.write_vectored(&slices).unwrap(), 19);
    };
    assert_eq!(allocations_of(write), 0);
}

/// Windows gets a copy of a path, in UTF-16.
#[cfg(unix)]
#[test]
fn path_check_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Every record does one.
    let mut log = alone(&dir).check_interval(Duration::ZERO).build().unwrap();
    log.write_all(b"first\n").unwrap();
    let counted = allocation_counter::measure(|| log.write_all(b"second\n").unwrap());
    assert_eq!(counted.count_total, 0);
}

#[cfg(feature = "tracing")]
#[test]
fn make_writer_allocates_nothing() {
    use tracing_subscriber::fmt::MakeWriter;
    let write = |log: &RotatingFileWriter| log.make_writer().write_all(b"event\n").unwrap();
    assert_eq!(allocations_of(write), 0);
}

#[cfg(feature = "tracing")]
#[test]
fn tracing_event_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = alone(&dir).build().unwrap();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let event = || tracing::info!(port = 80, host = "here", "listening");
    tracing::subscriber::with_default(subscriber, || {
        (0..10).for_each(|_| event());
        let counted = allocation_counter::measure(|| (0..RECORDS).for_each(|_| event()));
        assert_eq!(counted.count_total, 0);
    });
    assert_eq!(log.stats().records, RECORDS + 10);
}
