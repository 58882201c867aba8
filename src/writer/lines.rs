//! Records made of lines: of many at once, and of those that are written in pieces.

use super::RotatingFileWriter;
use std::io::{self, Write};

impl RotatingFileWriter {
    /// Appends lines that are there one after another, each of them as a record of its own, in one
    /// `write(2)` for as many as the segment has room for (at most 128 KiB, or the first line alone). Returns
    /// how many bytes were taken, always whole lines; call again with the rest, as with
    /// [`write`](std::io::Write::write).
    ///
    /// For programs that pass on what others have written, line by line, faster than a call per line could.
    /// Each line counts in [`Stats::records`](crate::Stats::records); a rotation comes between two lines;
    /// and a segment keeps its limit as it does with single records. Bytes after the last line break are a
    /// line too, and are written as they are. With [`Delivery::Buffered`](crate::Delivery::Buffered) the
    /// lines go to the buffer, as many as it has room for. No lines are nothing, and succeed.
    ///
    /// # Errors
    /// As [`write_record`](Self::write_record), for the first line: it was not written, or a part of it only.
    /// Where lines before a failure were written, their length is returned instead, and the next call says
    /// what is wrong if it still is. With
    /// [`Durability::EveryRecord`](crate::Durability::EveryRecord) a failure may also mean that the lines are in
    /// the log, as `Stats::records` shows, and may not survive a power cut.
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
            return buffer.push_lines(lines);
        }
        let (done, number) = {
            let mut appender = log.appender.lock();
            (appender.append_lines(lines), appender.records())
        };
        log.after_call();
        if let (Some(commit), Ok(_)) = (log.sync_queue.group_commit(), &done) {
            commit.wait_for(number, || log.prepare_sync())?;
        }
        done
    }
}

/// Collects what is written until a line is whole, and passes whole lines on as one record.
///
/// Made by [`RotatingFileWriter::lines`]. What has no line break at the end is held back, also by
/// `flush`, until the rest comes or this is dropped. A line that is longer than 1 MiB is passed on in
/// pieces of about that size, so that memory stays bounded. A `write` that fails has taken nothing.
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
/// lines.write_all(b"msg=started\n")?;
/// assert_eq!(std::fs::read(&path)?, b"level=info msg=started\n");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LineRecords {
    log: RotatingFileWriter,
    held: Vec<u8>,
}

const MAX_HELD: usize = 1024 * 1024;

impl LineRecords {
    pub(super) fn new(log: RotatingFileWriter) -> Self {
        Self { log, held: Vec::new() }
    }

    /// Passes on the first `len` bytes held, as one record.
    fn pass_on(&mut self, len: usize) -> io::Result<()> {
        self.log.write_record(&self.held[..len])?;
        self.held.drain(..len);
        Ok(())
    }
}

impl Write for LineRecords {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let held = self.held.len();
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            // The usual case: whole lines, and nothing held back. No copy is made.
            Some(at) if held == 0 => {
                self.log.write_record(&bytes[..=at])?;
                self.held.extend_from_slice(&bytes[at + 1..]);
            }
            last_break => {
                self.held.extend_from_slice(bytes);
                let whole = match last_break {
                    Some(at) => held + at + 1,
                    None if self.held.len() > MAX_HELD => self.held.len(),
                    None => 0,
                };
                if let Err(error) = self.pass_on(whole) {
                    self.held.truncate(held);
                    return Err(error);
                }
            }
        }
        Ok(bytes.len())
    }

    /// Holds back what is not a whole line: passing it on would split the line.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.log.flush()?)
    }
}

impl Drop for LineRecords {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            // The last chance; there is nobody to tell but the statistics, which a write error of
            // the log itself does not go to.
            let _ = self.pass_on(self.held.len());
        }
    }
}
