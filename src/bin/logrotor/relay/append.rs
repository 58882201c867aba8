//! Lines into the log, and what happens to lines that it rejects.

use super::buffer::first_line;
use super::{MAX_LINE, RETRY_INTERVAL, Ready, Relay};
use crate::exit::{CommandError, Exit};
use crate::options::OnFull;
use crate::report::say;
use logrotor::RotatingFileWriter;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::time::Instant;

const UNSYNCED: &str = "lines are in the log, but may not survive a power cut";

/// Lines that are not known to be in the log and on the disk.
#[derive(Default)]
pub(super) struct LineCounts {
    /// Accepted by the log's buffer, and perhaps not written.
    buffered: u64,
    dropped: u64,
    /// Written, but the sync that was asked for failed.
    unsynced: u64,
}

fn count(lines: &[u8]) -> u64 {
    lines.split_inclusive(|&byte| byte == b'\n').count() as u64
}

/// Whether the process may write a file with this line (`ulimit -f`).
fn fits_in_a_file(line: &[u8]) -> bool {
    let limit = getrlimit(Resource::Fsize).current;
    limit.is_none_or(|limit| line.len() as u64 <= limit)
}

/// The free space of the log's file system, in blocks; `None` if it is unknown.
fn free_space(log: &RotatingFileWriter) -> Option<u64> {
    let path = log.path();
    let system = rustix::fs::statvfs(path.parent()?).ok()?;
    (system.f_blocks > 0).then_some(system.f_bavail)
}

impl Relay<'_> {
    pub(super) fn append(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            if self.pause.holds(Instant::now(), || free_space(&self.log)) {
                self.counts.dropped += count(lines);
                return;
            }
            let before = self.log.stats().records;
            match self.log.write_lines(lines) {
                Ok(taken) => {
                    self.is_failing = false;
                    self.pause.reset();
                    let (taken, rest) = lines.split_at(taken);
                    if self.is_buffered {
                        self.counts.buffered += count(taken);
                    }
                    lines = rest;
                }
                Err(error) => {
                    let written = self.log.stats().records - before;
                    // Earlier lines of the buffer may have been written meanwhile.
                    let written = if self.is_buffered { 0 } else { written };
                    lines = self.after_failure(lines, written, &error);
                }
            }
        }
    }

    /// Reports the first of several failures in a row.
    fn report_once(&mut self, error: &io::Error, what: &str) {
        if !self.is_failing {
            say(format!("{error}; {what}"));
        }
        self.is_failing = true;
    }

    fn may_wait(&self) -> bool {
        self.line_options.on_full == OnFull::Block && !self.shutdown.is_last()
    }

    /// Returns the lines to try next, if `written` lines were written before the failure.
    fn after_failure<'b>(&mut self, lines: &'b [u8], written: u64, error: &io::Error) -> &'b [u8] {
        if written > 0 {
            self.report_once(error, UNSYNCED);
            self.counts.unsynced += written;
            return (0..written).fold(lines, |lines, _| &lines[first_line(lines).len()..]);
        }
        if error.kind() == io::ErrorKind::FileTooLarge && !fits_in_a_file(first_line(lines)) {
            self.report_once(error, "dropping lines that exceed the limit of file sizes");
            self.counts.dropped += 1;
            return &lines[first_line(lines).len()..];
        }
        if !self.may_wait() {
            self.report_once(error, "dropping lines until it can be written");
            self.counts.dropped += 1;
            self.pause.begin(Instant::now(), free_space(&self.log));
            return &lines[first_line(lines).len()..];
        }
        self.wait_for_room(error);
        lines
    }

    /// Waits before the next attempt.
    fn wait_for_room(&mut self, error: &io::Error) {
        self.report_once(error, "waiting until it can be written");
        if self.wait(Some(RETRY_INTERVAL), None).is_ok_and(|ready| ready == Ready::Signal) {
            self.handle_signals();
        }
        self.end_grace();
    }

    /// Writes the log's buffer, if need be when there is room again.
    pub(super) fn empty_buffer(&mut self) {
        while let Err(error) = self.log.flush() {
            if !self.may_wait() {
                return;
            }
            self.wait_for_room(&error);
        }
    }

    /// Closes the log and reports the lines that were split, dropped or not synced.
    pub(super) fn end(mut self) -> Result<Exit, CommandError> {
        let closed = self.log.finish();
        let LineCounts { buffered, dropped, unsynced } = &mut self.counts;
        if self.is_buffered {
            *dropped += buffered.saturating_sub(self.log.stats().records);
        }
        let split = self.buffer.split();
        if split > 0 {
            say(format!("{split} lines were longer than {MAX_LINE} bytes, and were split"));
        }
        if *dropped > 0 {
            say(format!("{dropped} lines were dropped"));
        }
        if *unsynced > 0 {
            say(format!("{unsynced} {UNSYNCED}"));
        }
        closed?;
        Ok(if *dropped + *unsynced > 0 { Exit::Found } else { Exit::Success })
    }
}
