//! A record that is written in pieces, and committed or discarded as a whole.

use super::RotatingFileWriter;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, Write};

impl RotatingFileWriter {
    /// Appends a record where no error can be returned, in `drop`. The error is counted and sent
    /// to the observer.
    pub(crate) fn write_last(&self, record: &[u8]) {
        if let Err(error) = self.write_record(record) {
            self.log().failed_to_write(error);
        }
    }

    /// Returns a writer whose pieces become one record with [`commit`](RecordWriter::commit).
    ///
    /// Use it where a record takes several `write` calls: pretty-printed JSON, CSV rows, binary
    /// frames, text of several lines, and appenders of loggers that hand the writer to a formatter.
    ///
    /// # Examples
    /// Nothing is written where `?` returns early:
    /// ```
    /// use std::io::Write;
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.log");
    /// let log = logrotor::RotatingFileWriter::builder(&path).build()?;
    /// let mut record = log.record();
    /// serde_json::to_writer_pretty(&mut record, &[1, 2])?;
    /// record.write_all(b"\n")?;
    /// record.commit()?;
    /// assert_eq!(std::fs::read_to_string(&path)?, "[\n  1,\n  2\n]\n");
    /// assert_eq!(log.stats().records, 1);
    /// # Ok(()) }
    /// ```
    pub fn record(&self) -> RecordWriter<'_> {
        RecordWriter { log: self, pieces: take_scratch() }
    }
}

/// Collects the pieces of one record in memory, until [`commit`](Self::commit) writes them.
///
/// Created by [`RotatingFileWriter::record`]. Dropping it discards the pieces that were not
/// committed. Nothing is allocated for a record of up to 64 KiB, except for the first on each
/// thread.
///
/// Loggers that need it, such as log4rs and flexi_logger, are in the table of
/// [`RotatingFileWriter`](RotatingFileWriter#loggers).
#[must_use = "the pieces are discarded unless they are committed"]
pub struct RecordWriter<'a> {
    log: &'a RotatingFileWriter,
    pieces: Vec<u8>,
}

impl RecordWriter<'_> {
    /// Appends the pieces to the log as one record. The writer is then empty, and can take the next
    /// record.
    ///
    /// # Errors
    /// Those of [`RotatingFileWriter::write_record`]. The pieces are kept, and the call can be
    /// repeated.
    pub fn commit(&mut self) -> io::Result<()> {
        self.log.write_record(&self.pieces)?;
        self.pieces.clear();
        Ok(())
    }

    /// Discards the pieces, as dropping the writer does.
    pub fn discard(self) {}

    /// Appends the pieces as [`commit`](Self::commit) does, in `drop`.
    #[cfg(feature = "tracing")]
    pub(crate) fn commit_last(&self) {
        self.log.write_last(&self.pieces);
    }

    /// Returns the pieces written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.pieces
    }
}

impl Write for RecordWriter<'_> {
    #[inline]
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.pieces.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| self.pieces.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    #[inline]
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        self.pieces.extend_from_slice(piece);
        Ok(())
    }

    /// Formats one piece. If a value's own formatting fails or panics, the piece is discarded;
    /// earlier ones are kept.
    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        let mut piece = FormattedPiece { start: self.pieces.len(), pieces: &mut self.pieces };
        fmt::write(&mut piece, arguments).map_err(io::Error::other)?;
        piece.keep();
        Ok(())
    }

    /// Does nothing: the pieces are written by [`commit`](Self::commit) alone.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for RecordWriter<'_> {
    fn drop(&mut self) {
        keep_scratch(std::mem::take(&mut self.pieces));
    }
}

impl fmt::Debug for RecordWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("bytes", &self.pieces.len()).finish_non_exhaustive()
    }
}

thread_local! {
    /// Where a record that comes in pieces is put together; kept, so that no record allocates.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes this thread's buffer, empty. It is a new one where it is taken already, as by a value that
/// logs while it is formatted, and where the thread is ending.
fn take_scratch() -> Vec<u8> {
    SCRATCH.try_with(Cell::take).unwrap_or_default()
}

/// Gives the buffer back, unless a large record has made it too large to be kept.
fn keep_scratch(mut scratch: Vec<u8>) {
    const KEEP: usize = 64 * 1024;
    if scratch.capacity() <= KEEP {
        scratch.clear();
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
}

/// Takes formatted text, and removes it again unless it is kept. `io::Write for Vec` would do, but
/// its `write_fmt` panics where a value's own formatting fails.
struct FormattedPiece<'a> {
    start: usize,
    pieces: &'a mut Vec<u8>,
}

impl FormattedPiece<'_> {
    fn keep(mut self) {
        self.start = self.pieces.len();
    }
}

impl fmt::Write for FormattedPiece<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.pieces.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Drop for FormattedPiece<'_> {
    fn drop(&mut self) {
        self.pieces.truncate(self.start);
    }
}
