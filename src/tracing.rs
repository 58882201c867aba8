//! [`MakeWriter`] for `tracing-subscriber`.

use crate::writer::{LineWriter, RecordWriter, RotatingFileWriter};
use std::fmt;
use std::io::{self, IoSlice, Write};
use tracing_subscriber::fmt::MakeWriter;

/// Writes each event as one record, whichever formatter writes it. Nothing is allocated per event.
///
/// The log's handle is passed as it is: `with_writer(log.clone())`. See [`EventWriter`] for the
/// rule.
///
/// # Examples
/// ```
/// # fn main() -> logrotor::Result<()> { let dir = tempfile::tempdir().unwrap();
/// let log = logrotor::RotatingFileWriter::builder(dir.path().join("app.log")).build()?;
/// let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
/// tracing::subscriber::with_default(subscriber, || tracing::info!(port = 80, "listening"));
/// assert_eq!(log.stats().records, 1);
/// # Ok(()) }
/// ```
impl<'a> MakeWriter<'a> for RotatingFileWriter {
    type Writer = EventWriter<'a>;

    #[inline]
    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { log: self, pieces: None, began_in_panic: false }
    }
}

/// Writes each event as one record, as the log itself does. The pieces that the [`LineWriter`]
/// holds are not part of any event.
impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = EventWriter<'a>;

    #[inline]
    fn make_writer(&'a self) -> Self::Writer {
        self.log().make_writer()
    }
}

/// The writer of one event, which becomes one record.
///
/// Created by the [`MakeWriter`] implementation. A call whose bytes end with a line break is
/// written at once, if nothing is held: most formatters make one such call. Other calls are joined
/// in memory, and are one record when the writer is dropped. They are discarded if the thread
/// panics while the event is written.
///
/// A failure to write the joined pieces is counted in [`Stats::failures`](crate::Stats::failures) and
/// sent to the observer. Events written with one call return it.
#[derive(Debug)]
pub struct EventWriter<'a> {
    log: &'a RotatingFileWriter,
    pieces: Option<RecordWriter<'a>>,
    /// Whether the thread was panicking at the first piece: a destructor may log an event.
    began_in_panic: bool,
}

impl<'a> EventWriter<'a> {
    #[cold]
    fn hold(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.pieces {
            Some(pieces) => pieces.write_all(bytes),
            None => {
                let mut first = self.log.record();
                first.write_all(bytes)?;
                self.begin(Some(first));
                Ok(())
            }
        }
    }

    fn begin(&mut self, first: Option<RecordWriter<'a>>) {
        self.pieces = first;
        self.began_in_panic = std::thread::panicking();
    }

    /// Formats one call's bytes apart, for they may be the whole event.
    fn format(&self, arguments: fmt::Arguments<'_>) -> io::Result<Option<RecordWriter<'a>>> {
        let mut call = self.log.record();
        call.write_fmt(arguments)?;
        if !call.as_bytes().ends_with(b"\n") {
            return Ok(Some(call));
        }
        call.commit()?;
        Ok(None)
    }
}

impl Write for EventWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut call = self.log.record();
        let len = call.write_vectored(slices)?;
        self.write_all(call.as_bytes())?;
        Ok(len)
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pieces.is_none() && bytes.ends_with(b"\n") {
            return self.log.write_record(bytes);
        }
        self.hold(bytes)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        match &mut self.pieces {
            Some(pieces) => pieces.write_fmt(arguments),
            None => {
                let first = self.format(arguments)?;
                self.begin(first);
                Ok(())
            }
        }
    }

    /// Waits until the records so far are in the kernel. The pieces of this event are still held.
    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

impl Drop for EventWriter<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(pieces) = &self.pieces {
            // A part of an event would be glued to the next one.
            if self.began_in_panic || !std::thread::panicking() {
                pieces.commit_last();
            }
        }
    }
}
