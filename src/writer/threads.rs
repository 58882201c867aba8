//! The threads of a log: those that serve all logs of the process, and the flusher.

use super::log::Log;
#[cfg(feature = "archive")]
use crate::archive::{ArchiveClient, Uploader};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fs;
use crate::maintenance::MaintenanceMode;
use crate::pool::{self, Disks, JobKind, PoolClient};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// A log and its threads, shared by all clones of a handle. Dropping it ends the service.
pub(super) struct LogThreads {
    pub(super) log: Arc<Log>,
    /// Writes the buffer, with buffered delivery. Each such log has its own, so that a slow disk
    /// stalls the records of no other log.
    flusher: Option<JoinHandle<()>>,
    /// Sends finished segments to the archive, if the log has one.
    #[cfg(feature = "archive")]
    uploader: Option<Uploader>,
    /// The process that has these threads. A process that was forked from it has none.
    process: u32,
}

impl LogThreads {
    /// Starts the threads that `config` calls for.
    pub(super) fn start(log: Log, config: &Config) -> Result<Self> {
        let mut threads = Self {
            log: Arc::new(log),
            flusher: None,
            #[cfg(feature = "archive")]
            uploader: None,
            process: std::process::id(),
        };
        let log = &threads.log;
        let refused = |error| Error::io("start a thread for", log.path(), error);
        if config.maintenance == MaintenanceMode::Inline {
            log.run_due_maintenance(true);
        } else {
            let disks = Disks { log: log.disk(), policy: log.policy_watcher.disk() };
            let client: Arc<dyn PoolClient> = Arc::<Log>::clone(log);
            let registration = pool::register(&client, disks).map_err(refused)?;
            log.wakeup.set_threads(registration);
        }
        if log.buffer.is_some() {
            threads.flusher = Some(start_flusher(log).map_err(refused)?);
        } else if log.wakeup.threads().is_some() {
            // The first record has the segment watched.
            log.appender.shared().schedule.make_due();
        }
        #[cfg(feature = "archive")]
        if config.archive.is_some() {
            let client: Arc<dyn ArchiveClient> = Arc::<Log>::clone(log);
            threads.uploader = Some(Uploader::start(client).map_err(refused)?);
        }
        Ok(threads)
    }
}

fn start_flusher(log: &Arc<Log>) -> std::io::Result<JoinHandle<()>> {
    let log = Arc::clone(log);
    fs::without_signals(|| {
        Builder::new().name("logrotor-write".to_owned()).spawn(move || log.run_flusher())
    })
}

impl Drop for LogThreads {
    fn drop(&mut self) {
        let flusher = self.flusher.take();
        if self.process != std::process::id() {
            // Neither the threads nor the holders of the locks exist in this process.
            std::mem::forget(flusher);
            #[cfg(feature = "archive")]
            if let Some(uploader) = self.uploader.take() {
                uploader.forget();
            }
            return;
        }
        #[cfg(feature = "archive")]
        drop(self.uploader.take());
        if let Some(buffer) = &self.log.buffer {
            buffer.close();
        }
        if let Some(flusher) = flusher {
            // It calls no observer, and has no panic to pass on.
            let _ = flusher.join();
        }
        self.log.wakeup.end();
        if self.log.wakeup.threads().is_some_and(pool::Registration::leave) {
            self.log.end();
        }
    }
}

impl PoolClient for Log {
    fn run(&self, job: JobKind) -> bool {
        if self.wakeup.is_over() {
            return false;
        }
        match job {
            JobKind::Check => return self.check_idle(),
            JobKind::Poll => {
                self.check_policy();
                self.journal.tell();
            }
            JobKind::Maintain | JobKind::Prune => {
                self.journal.tell();
                self.run_due_maintenance(job == JobKind::Maintain);
            }
        }
        false
    }

    fn compresses(&self) -> bool {
        self.maintainer.compresses()
    }

    fn syncs(&self) -> bool {
        self.sync_queue.syncs_backups()
    }

    /// Syncs what waits for it, and reports the last events.
    fn end(&self) {
        // Failures are counted and noted there.
        let _ = self.sync_queue.sync_queued(&self.journal);
        self.journal.tell();
    }
}

impl Log {
    /// Checks the path and the age of an idle log, and reports its events. Returns whether
    /// maintenance may be due.
    fn check_idle(&self) -> bool {
        let location = {
            let mut appender = self.appender.exclusive();
            appender.check();
            Arc::clone(appender.location())
        };
        self.journal.tell();
        self.wakeup.is_notified()
            || self.sync_queue.has_unsynced()
            || self.maintainer.may_be_due(&location)
    }
}
