//! Lines that are ready one after another, in as few calls as the limit on segments allows.

use super::{Appender, PartialWrite};
use crate::writer::run;
use std::io;

impl Appender {
    /// Appends as many of the lines as go into one call, and the first in any case. Rotation goes first where
    /// it is due and can be had. Returns how many bytes were taken: whole lines.
    ///
    /// # Errors
    /// What the kernel said to the first line. Where it took whole lines before that, these are the outcome.
    pub(crate) fn append_lines(&mut self, lines: &[u8]) -> io::Result<usize> {
        let first = run::first(lines);
        self.prepare(first.len());
        let run = run::fitting(lines, self.max_write_len()).unwrap_or(first);
        let stopped = self.put(run).err();
        let taken = stopped.as_ref().map_or(run, |stopped| run::whole(&run[..stopped.written]));
        self.count(run::count(taken), taken.len());
        if let Some(PartialWrite { written, error }) = stopped {
            self.note_partial_write(written > taken.len());
            if taken.is_empty() {
                return Err(error);
            }
        }
        Ok(taken.len())
    }
}
