//! The threads of a log: the flusher, the maintainer and the policy watcher.

use super::log::Log;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::maintenance::MaintenanceMode;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A log and its threads, shared by all clones of a handle. Dropping it ends the threads.
pub(super) struct LogThreads {
    pub(super) log: Arc<Log>,
    /// Writes the buffer, with buffered delivery.
    flusher: Option<JoinHandle<()>>,
    /// Maintains the backups, unless that is done inline.
    maintainer: Option<JoinHandle<()>>,
    /// Checks the policy, if there is one, unless that is done inline.
    policy_watcher: Option<JoinHandle<()>>,
    /// The process that has these threads. A process that was forked from it has none.
    process: u32,
}

impl LogThreads {
    /// Starts the threads that `config` calls for.
    pub(super) fn start(log: Log, config: &Config) -> Result<Self> {
        let mut threads = Self {
            log: Arc::new(log),
            flusher: None,
            maintainer: None,
            policy_watcher: None,
            process: std::process::id(),
        };
        if threads.log.buffer.is_some() {
            threads.flusher = Some(threads.spawn("logrotor-write", Log::run_flusher)?);
        }
        if config.maintenance == MaintenanceMode::Inline {
            threads.log.run_due_maintenance();
            return Ok(threads);
        }
        threads.maintainer = Some(threads.spawn("logrotor-maint", Log::run_maintainer)?);
        if threads.log.policy_watcher.has_policy() {
            threads.policy_watcher =
                Some(threads.spawn("logrotor-policy", Log::run_policy_watcher)?);
        }
        Ok(threads)
    }

    fn spawn(&self, name: &str, work: fn(&Log)) -> Result<JoinHandle<()>> {
        let log = Arc::clone(&self.log);
        let thread =
            fs::without_signals(|| Builder::new().name(name.to_owned()).spawn(move || work(&log)));
        thread.map_err(|error| Error::io("start a thread for", self.log.path(), error))
    }
}

impl Drop for LogThreads {
    fn drop(&mut self) {
        let threads = [self.flusher.take(), self.maintainer.take(), self.policy_watcher.take()];
        if self.process != std::process::id() {
            // Neither the threads nor the holders of the locks exist in this process.
            std::mem::forget(threads);
            return;
        }
        let [flusher, maintainer, policy_watcher] = threads;
        if let Some(buffer) = &self.log.buffer {
            buffer.close();
        }
        join(flusher);
        self.log.wakeup.end();
        join(maintainer);
        join(policy_watcher);
    }
}

/// Waits for a thread of the log to end.
fn join(thread: Option<JoinHandle<()>>) {
    // If the observer drops the last handle, this is the thread itself; it ends on its own.
    let other = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
    if let Some(thread) = other {
        // It catches the panics of observers, and has none of its own to pass on.
        let _ = thread.join();
    }
}

/// How often the maintainer checks an idle log.
const TICK: Duration = Duration::from_secs(1);

/// How long the maintainer rests at most after it has worked.
const MAX_REST: Duration = Duration::from_millis(100);

impl Log {
    /// The thread `logrotor-write`, which writes the buffer.
    pub(super) fn run_flusher(&self) {
        let Some(buffer) = &self.buffer else { return };
        let lost = buffer.run(|batch| {
            let done = self.appender.exclusive().append_batch(batch);
            let done = done.map_err(|error| Error::io("write to", self.path(), error));
            if let Err(error) = &done {
                self.journal.failed(error.clone());
            }
            self.pass_on_events();
            done
        });
        if lost > 0 {
            let why = format!("{lost} buffered records could not be written and are lost");
            self.journal.failed(Error::refused(ErrorKind::RecordsLost, "close", self.path(), why));
        }
    }

    /// Makes the maintainer notify the observer. An observer that writes to the log may wait for
    /// room in the buffer, and only this thread makes room.
    fn pass_on_events(&self) {
        if self.journal.has_untold() {
            self.wakeup.notify();
        }
    }

    /// The thread `logrotor-maint`, which maintains the backups and checks an idle log.
    pub(super) fn run_maintainer(&self) {
        fs::lower_priority();
        while !self.wakeup.is_over() {
            let worked = Stopwatch::start();
            self.appender.exclusive().check();
            self.journal.tell();
            self.run_due_maintenance();
            // A thousand rotations per second must not cause a thousand listings of a large
            // directory.
            self.wakeup.rest(MAX_REST.min(3 * worked.elapsed()));
            self.wakeup.wait(TICK);
        }
        // Failures are counted and noted there.
        let _ = self.sync_queue.sync_queued(&self.journal);
        self.journal.tell();
    }
}
