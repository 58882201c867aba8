//! Records made of lines that are written in pieces.

use super::RotatingFileWriter;
use std::io::{self, Write};

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
