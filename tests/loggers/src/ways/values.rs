//! No loggers: values that programs write themselves.

use super::Plugged;
use crate::event::{Event, Shape};
use logrotor::RotatingFileWriter;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Mutex;

/// The value that is written for an event.
#[derive(Serialize)]
struct Row<'a> {
    time: &'a str,
    id: &'a str,
    text: &'a str,
    numbers: [u32; 3],
}

impl<'a> Row<'a> {
    fn of(event: &'a Event) -> Self {
        let text = if event.shape == Shape::Line { "a text" } else { &event.text };
        Self { time: "2026-11-20T23:57:01Z", id: &event.id, text, numbers: [1, 2, 3] }
    }

    fn cells(&self) -> [&'a str; 3] {
        [self.time, self.id, self.text]
    }
}

/// Writes values with a writer that threads share.
fn shared<W: Send + 'static>(
    writer: W,
    write: impl Fn(&mut W, &Row<'_>) + Send + Sync + 'static,
) -> Plugged {
    let writer = Mutex::new(Some(writer));
    Plugged::new(move |event| {
        write(writer.lock().expect("no panic").as_mut().expect("it is there"), &Row::of(event));
    })
}

fn write_line(lines: &mut impl Write, value: &Row<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, value)?;
    lines.write_all(b"\n")
}

fn write_pretty(writer: &mut impl Write, value: &Row<'_>) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *writer, value)?;
    writer.write_all(b"\n")
}

pub(super) fn json(log: RotatingFileWriter) -> Plugged {
    shared(log, |log, row| write_line(log, row).expect("the log takes it"))
}

pub(super) fn json_lines(log: RotatingFileWriter) -> Plugged {
    shared(log.lines(), |lines, row| write_line(lines, row).expect("the log takes it"))
}

pub(super) fn pretty(log: RotatingFileWriter) -> Plugged {
    shared(log, |log, row| write_pretty(log, row).expect("the log takes it"))
}

pub(super) fn pretty_lines(log: RotatingFileWriter) -> Plugged {
    shared(log.lines(), |lines, row| write_pretty(lines, row).expect("the log takes it"))
}

fn write_pretty_record(log: &RotatingFileWriter, value: &Row<'_>) -> io::Result<()> {
    let mut record = log.record();
    serde_json::to_writer_pretty(&mut record, value)?;
    record.write_all(b"\n")?;
    record.commit()
}

pub(super) fn pretty_record(log: RotatingFileWriter) -> Plugged {
    Plugged::new(move |event| {
        write_pretty_record(&log, &Row::of(event)).expect("the log takes it");
    })
}

pub(super) fn csv(log: RotatingFileWriter) -> Plugged {
    shared(csv::Writer::from_writer(log), |csv, row| {
        csv.write_record(row.cells()).expect("the log takes it");
    })
}

/// Rows are larger than the buffer of its writers, as large rows are.
fn csv_builder() -> csv::WriterBuilder {
    let mut builder = csv::WriterBuilder::new();
    builder.buffer_capacity(32);
    builder
}

fn write_and_flush(csv: &mut csv::Writer<impl Write>, row: &Row<'_>) {
    csv.write_record(row.cells()).expect("the log takes it");
    csv.flush().expect("the log takes it");
}

pub(super) fn csv_flushed(log: RotatingFileWriter) -> Plugged {
    shared(csv_builder().from_writer(log), write_and_flush)
}

pub(super) fn csv_lines(log: RotatingFileWriter) -> Plugged {
    let builder = csv_builder();
    shared(builder.from_writer(log.lines()), write_and_flush)
}

pub(super) fn csv_record(log: RotatingFileWriter) -> Plugged {
    Plugged::new(move |event| {
        let mut record = log.record();
        let mut csv = csv_builder().from_writer(&mut record);
        write_and_flush(&mut csv, &Row::of(event));
        drop(csv);
        record.commit().expect("the log takes it");
    })
}

pub(super) fn frames_record(log: RotatingFileWriter) -> Plugged {
    Plugged::new(move |event| {
        let mut record = log.record();
        let len = u32::try_from(event.text.len()).expect("a short text");
        record.write_all(b"\xff\n\0").expect("memory");
        record.write_all(&len.to_le_bytes()).expect("memory");
        record.write_all(event.text.as_bytes()).expect("memory");
        record.commit().expect("the log takes it");
    })
}
