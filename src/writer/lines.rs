//! Records made of lines: of many at once, and of those that are written in pieces.

use super::RotatingFileWriter;
use std::fmt;
use std::io::{self, IoSlice, Write};

impl RotatingFileWriter {
    /// Appends lines that are there one after another, each of them as a record of its own, in one
    /// `write(2)` for as many as the segment has room for (at most 128 KiB, or the first line
    /// alone). Returns how many bytes were taken, always whole lines; call again with the rest, as
    /// with [`write`](std::io::Write::write).
    ///
    /// For programs that pass on what others have written, line by line, faster than a call per
    /// line could. Each line counts in [`Stats::records`](crate::Stats::records); a rotation comes
    /// between two lines; and a segment keeps its limit as it does with single records. Bytes after
    /// the last line break are a line too, and are written as they are. With
    /// [`Delivery::Buffered`](crate::Delivery::Buffered) the lines go to the buffer, as many as it
    /// has room for. No lines are nothing, and succeed.
    ///
    /// # Errors
    /// As [`write_record`](Self::write_record), for the first line: it was not written, or a part
    /// of it only. Where lines before a failure were written, their length is returned instead, and
    /// the next call says what is wrong if it still is. With
    /// [`Durability::EveryRecord`](crate::Durability::EveryRecord) a failure may also mean that the
    /// lines are in the log, as `Stats::records` shows, and may not survive a power cut.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let log = logrotor::RotatingFileWriter::builder(&path).max_size(10).build()?;
    /// let mut rest: &[u8] = b"one\ntwo\nthree\n";
    /// while !rest.is_empty() {
    ///     rest = &rest[log.write_lines(rest)?..];
    /// }
    /// assert_eq!(std::fs::read(&path)?, b"three\n");
    /// assert_eq!(log.stats().records, 3);
    /// # Ok(()) }
    /// ```
    pub fn write_lines(&self, lines: &[u8]) -> io::Result<usize> {
        if lines.is_empty() {
            return Ok(0);
        }
        let log = self.log();
        if let Some(buffer) = &log.buffer {
            return buffer.push_lines(lines, &|batch| log.try_write_batch(batch));
        }
        let (done, number) = {
            let mut appender = log.appender.exclusive();
            (appender.append_lines(lines), appender.records())
        };
        log.after_call();
        if let (Some(commit), Ok(_)) = (log.sync_queue.group_commit(), &done) {
            commit.wait_for(number, || log.prepare_sync())?;
        }
        done
    }

    /// Returns an [`io::Write`] for loggers that write one event with several calls. Each event
    /// becomes one record if the last of its calls ends with a line break; see [`LineWriter`].
    #[must_use]
    pub fn lines(&self) -> LineWriter {
        LineWriter { log: self.clone(), held: Vec::new(), ignores_flush: false }
    }
}

/// Joins the pieces of an event until a call ends with a line break, and writes them as one record.
///
/// Created by [`RotatingFileWriter::lines`]. Each logger needs a `LineWriter` of its own: a clone
/// writes to the same log, and starts with no pieces. The rules are:
///
/// - A record ends where the bytes of a *call* end with a line break. Line breaks within the bytes
///   do not end it, so a message of several lines stays whole. One `write_fmt`, so one `write!`, is
///   one call.
/// - Pieces without a line break at their end are held in memory, also by [`flush`](Write::flush).
///   They are written when the rest arrives. If the writer is dropped before, also by a panic, they
///   are written with a line break, so that the next record begins on a line of its own.
/// - A record longer than 1 MiB is written in pieces of about that size, which end with a line if
///   they contain one.
/// - If a value's own formatting fails, the call returns an error and its piece is discarded.
/// - A call that fails has taken nothing, and can be repeated.
///
/// A formatter that writes a line break in the middle of an event as a call of its own, as
/// pretty-printed JSON does, needs [`RotatingFileWriter::record`] instead.
///
/// Loggers that need a `LineWriter`, such as slog-json and simplelog, are in the table of
/// [`RotatingFileWriter`](RotatingFileWriter#loggers).
///
/// # Examples
/// ```
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("app.log");
/// let log = logrotor::RotatingFileWriter::builder(&path).build()?;
/// let mut lines = log.lines();
/// lines.write_all(b"level=info ")?;
/// assert_eq!(std::fs::read(&path)?, b"");
/// lines.write_all(b"msg=first\n  second\n")?;
/// assert_eq!(std::fs::read(&path)?, b"level=info msg=first\n  second\n");
/// assert_eq!(log.stats().records, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LineWriter {
    log: RotatingFileWriter,
    held: Vec<u8>,
    ignores_flush: bool,
}

const MAX_HELD: usize = 1024 * 1024;

impl LineWriter {
    /// Makes [`flush`](Write::flush) return at once, for loggers that flush after each event.
    ///
    /// With [`Delivery::Buffered`](crate::Delivery::Buffered) such a logger otherwise waits for the
    /// log's thread at each event, which takes longer than
    /// [`Delivery::Direct`](crate::Delivery::Direct). The records then reach the kernel within the
    /// flush interval, by [`RotatingFileWriter::flush`], or when the log is closed. With direct
    /// delivery it makes no difference.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Delivery, RotatingFileWriter};
    /// use std::io::Write;
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let log = RotatingFileWriter::builder(&path).delivery(Delivery::buffered()).build()?;
    /// let mut lines = log.lines().ignore_flush();
    /// writeln!(lines, "an event")?;
    /// lines.flush()?; // Returns at once.
    /// log.flush()?; // Waits.
    /// assert_eq!(std::fs::read(&path)?, b"an event\n");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn ignore_flush(mut self) -> Self {
        self.ignores_flush = true;
        self
    }

    /// Returns the log that the records go to.
    #[cfg(feature = "tracing")]
    pub(crate) fn log(&self) -> &RotatingFileWriter {
        &self.log
    }
}

/// Takes the bytes of one call: writes them with what is held if they end a record, or else holds
/// them.
fn take(log: &RotatingFileWriter, held: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let before = held.len();
    // The usual case needs no copy.
    if before == 0 && bytes.ends_with(b"\n") {
        return log.write_record(bytes);
    }
    held.extend_from_slice(bytes);
    let len = match () {
        () if held.ends_with(b"\n") => held.len(),
        () if held.len() > MAX_HELD => up_to_last_line_break(held),
        () => return Ok(()),
    };
    if let Err(error) = log.write_record(&held[..len]) {
        held.truncate(before);
        return Err(error);
    }
    held.drain(..len);
    Ok(())
}

/// The length of the whole lines in `bytes`, or of all if there is none.
fn up_to_last_line_break(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|&byte| byte == b'\n');
    last.map_or(bytes.len(), |at| at + 1)
}

impl Write for LineWriter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        take(&self.log, &mut self.held, bytes)?;
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut call = self.log.record();
        let len = call.write_vectored(slices)?;
        take(&self.log, &mut self.held, call.as_bytes())?;
        Ok(len)
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        take(&self.log, &mut self.held, bytes)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        let mut call = self.log.record();
        call.write_fmt(arguments)?;
        take(&self.log, &mut self.held, call.as_bytes())
    }

    /// Waits until the records are in the kernel, as [`RotatingFileWriter::flush`] does. Pieces of
    /// an event that has no line break at its end yet are still held: writing them would split the
    /// event.
    fn flush(&mut self) -> io::Result<()> {
        if self.ignores_flush {
            return Ok(());
        }
        self.log.flush()
    }
}

impl Clone for LineWriter {
    /// Returns a writer to the same log that holds no pieces.
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), held: Vec::new(), ignores_flush: self.ignores_flush }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.held.push(b'\n');
            self.log.write_last(&self.held);
        }
    }
}
