//! The threads that write the buffer: the flusher, and log calls.

use super::append_lock::Append;
use super::buffered::Batch;
use super::log::Log;
use crate::error::{Error, ErrorKind, Result};
use std::io;

impl Log {
    /// The thread `logrotor-write`, which writes the buffer if no log call does.
    pub(super) fn run_flusher(&self) {
        let Some(buffer) = &self.buffer else { return };
        if self.wakeup.threads().is_some() {
            // It has the segment watched. A log call that comes first must not have to.
            self.appender.exclusive().check();
        }
        let lost = buffer.run(|batch| {
            let done = self.appender.exclusive().append_batch(batch);
            self.report(done)
        });
        if lost > 0 {
            let why = format!("{lost} buffered records could not be written and are lost");
            self.journal.failed(Error::refused(ErrorKind::RecordsLost, "close", self.path(), why));
        }
    }

    /// Writes a batch on the thread of a log call. Returns `None` if the call would have to wait
    /// for another thread, or to check or rotate the log, which may wait for other processes.
    ///
    /// The function that makes a header may write to the log. It runs while the log is locked, so
    /// its calls must not wait for the lock.
    pub(super) fn try_write_batch(&self, batch: &mut Batch) -> Option<Result<()>> {
        let mut appender = self.appender.try_exclusive()?;
        if !appender.needs_nothing()
            || !appender.has_room(appender.active().size, batch.bytes.len())
        {
            return None;
        }
        let done = appender.append_batch(batch);
        drop(appender);
        Some(self.report(done))
    }

    /// Makes another thread notify the observer: an observer that writes to the log may wait for
    /// room in the buffer.
    fn report(&self, done: io::Result<()>) -> Result<()> {
        let done = done.map_err(|error| Error::io("write to", self.path(), error));
        if let Err(error) = &done {
            self.journal.failed(error.clone());
        }
        if self.journal.has_untold() {
            if let Some(threads) = self.wakeup.threads() {
                threads.request_check();
            }
        }
        done
    }
}
