//! One log in one process: the state that its handles and its threads share.

use super::append_lock::AppendLock;
use super::appender::{Appender, Shared};
#[cfg(feature = "archive")]
use super::archive::LiveArchive;
use super::buffered::RecordBuffer;
use super::reload::PolicyWatcher;
use super::schedule::Timeouts;
use super::sync_queue::SyncQueue;
use crate::clock::{self, Deadline};
use crate::config::{Callbacks, Config, Delivery, Durability};
use crate::error::{Error, Result};
use crate::fs;
use crate::inspect::{self, Segment};
use crate::maintenance::{Maintainer, MaintenanceMode, Occasion, Wakeup};
use crate::rotation::{NewestBackup, Rotator, SegmentSettings};
use crate::segment::{self, Location};
use crate::stats::{Event, Journal, Stats};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::time::Duration;

/// One log in one process. Log calls and the log's threads work on it.
pub(super) struct Log {
    pub(super) appender: AppendLock<Appender>,
    /// With buffered delivery.
    pub(super) buffer: Option<RecordBuffer>,
    pub(super) sync_queue: Arc<SyncQueue>,
    pub(super) maintainer: Maintainer,
    pub(super) wakeup: Arc<Wakeup>,
    pub(super) journal: Arc<Journal>,
    /// The settings at the time the log was opened. A policy may since have changed those that are
    /// not fixed.
    pub(super) config: Config,
    pub(super) policy_watcher: PolicyWatcher,
    /// The settings of the archive, which a policy may change.
    #[cfg(feature = "archive")]
    pub(super) archive: LiveArchive,
    /// The path as it was given, for messages.
    path: PathBuf,
    /// The network file system that the log was opened on.
    network: Option<String>,
    /// With inline maintenance: whether a log call does it now.
    is_maintaining: AtomicBool,
}

impl Log {
    pub(super) fn open(
        path: &Path,
        config: &Config,
        callbacks: Callbacks,
        header_len: u64,
    ) -> Result<Self> {
        let journal = Arc::new(Journal::new(callbacks.observer.clone()));
        let policy_watcher = PolicyWatcher::new(&callbacks, config, header_len, &journal);
        let shared = Shared {
            clock: callbacks.clock.clone(),
            journal: Arc::clone(&journal),
            sync_queue: Arc::new(SyncQueue::new(config.durability)),
            wakeup: Arc::new(Wakeup::default()),
        };
        let (sync_queue, wakeup) = (Arc::clone(&shared.sync_queue), Arc::clone(&shared.wakeup));
        let settings = SegmentSettings {
            naming: config.naming,
            mode: config.mode,
            header: callbacks.header,
            header_len,
            has_time_limit: config.max_age.is_some()
                || config.rotate_every.is_some()
                || config.min_interval.is_some()
                // A policy may set one later.
                || policy_watcher.disk().is_some(),
        };
        let mut appender = open_appender(path, config, settings, shared)?;
        let network = network_of(&appender.rotator, &journal);
        if config.rotate_on_open {
            // A log that cannot be rotated can still be written to.
            appender.rotate().map(|_| ()).unwrap_or_else(|error| journal.failed(error));
        }
        let maintenance = config.maintenance_config()?;
        Ok(Self {
            appender: AppendLock::new(appender),
            buffer: buffer_of(config.delivery),
            sync_queue,
            maintainer: Maintainer::new(maintenance, callbacks.clock, Arc::clone(&journal)),
            wakeup,
            journal,
            config: config.clone(),
            policy_watcher,
            #[cfg(feature = "archive")]
            archive: LiveArchive::of(config),
            path: path.to_owned(),
            network,
            is_maintaining: AtomicBool::new(false),
        })
    }

    /// The path as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The volume that holds the active segment.
    pub(super) fn disk(&self) -> u64 {
        self.appender.shared().active().lease.id().volume
    }

    pub(super) fn location(&self) -> Arc<Location> {
        Arc::clone(self.appender.shared().location())
    }

    pub(super) fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    pub(super) fn stats(&self) -> Stats {
        let dropped = self.buffer.as_ref().map_or(0, RecordBuffer::dropped);
        self.journal.counters.snapshot(dropped)
    }

    pub(super) fn segments(&self) -> Result<Vec<Segment>> {
        inspect::segments(&self.location())
    }
}

/// Log calls.
impl Log {
    /// Reports an error that no caller can be given: it is counted and sent to the observer.
    #[cold]
    pub(super) fn failed_to_write(&self, error: io::Error) {
        self.journal.failed(Error::io("write to", self.path.as_path(), error));
        self.journal.tell();
    }

    #[inline]
    pub(super) fn write_record(&self, record: &[u8]) -> io::Result<()> {
        if record.is_empty() {
            return Ok(());
        }
        if let Some(buffer) = &self.buffer {
            return buffer.push(record, &|batch| self.try_write_batch(batch));
        }
        let appended = self.appender.append(record);
        self.after_call();
        let number = appended?;
        match self.sync_queue.group_commit() {
            Some(commit) => Ok(commit.wait_for(number, || self.prepare_sync())?),
            None => Ok(()),
        }
    }

    /// Writes the buffer, then does `work` while no record is on its way.
    pub(super) fn call<T>(&self, work: impl FnOnce(&mut Appender) -> Result<T>) -> Result<T> {
        self.drain(None)?;
        let done = work(&mut self.appender.exclusive());
        self.after_call();
        done
    }

    /// Waits until the records accepted so far are in the kernel.
    pub(super) fn drain(&self, timeout: Option<Duration>) -> Result<()> {
        let Some(buffer) = &self.buffer else { return Ok(()) };
        let checked = buffer.check_process();
        checked.map_err(|error| Error::io("write to", self.path.as_path(), error))?;
        buffer.flush(timeout, &|batch| self.try_write_batch(batch))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.drain(None)?;
        let ((records, active), location) = {
            let appender = self.appender.exclusive();
            (appender.position(), Arc::clone(appender.location()))
        };
        let active = match self.sync_queue.group_commit() {
            // The kernel reports a failure once, and the records that wait for it must get it.
            Some(commit) => commit.wait_for(records, || self.prepare_sync()),
            None => fs::sync_data(&active, location.path()),
        };
        let backups = segment::sync_backups(&location, self.config.naming);
        self.after_call();
        active.and(backups)
    }

    /// Writes the buffer, syncs the segments that wait for it, and makes one pass over the backups.
    pub(super) fn finish(&self) -> Result<()> {
        let drained = self.drain(None);
        if self.sync_queue.syncs_backups() {
            // If others have rotated, this worker may have written to the backup after they synced
            // it.
            self.appender.exclusive().check();
        }
        let synced = self.sync_queue.sync_queued(&self.journal);
        let maintained = self.run_pass(Occasion::Finish, true, &|| true);
        self.journal.tell();
        drained.and(synced).and(maintained)
    }

    /// Returns the number of the last record written so far, and the function that syncs up to it.
    ///
    /// A record on its way has no number yet, so this waits for it.
    pub(super) fn prepare_sync(&self) -> (u64, impl FnOnce() -> Result<()>) {
        let (records, active, location) = {
            let appender = self.appender.exclusive();
            let (records, active) = appender.position();
            (records, active, Arc::clone(appender.location()))
        };
        (records, move || self.sync_queue.sync_active(&active, &location))
    }

    /// Reports the events so far to the observer, and waits at most a second for the thread that
    /// reports some already. That may be this one, within the observer.
    pub(super) fn tell_observer(&self) {
        let deadline = Deadline::after(Duration::from_secs(1));
        self.journal.tell();
        while self.journal.is_telling() && deadline.left().is_some() {
            clock::sleep(Duration::from_millis(1));
            self.journal.tell();
        }
    }

    /// The end of a log call, after it has released the append lock.
    #[inline]
    pub(super) fn after_call(&self) {
        self.journal.tell();
        if self.config.maintenance == MaintenanceMode::Inline {
            self.check_policy();
            // One call does the work; the others need not wait for it.
            if self.wakeup.is_hinted() && !self.is_maintaining.swap(true, Acquire) {
                self.run_due_maintenance(true);
                self.is_maintaining.store(false, Release);
            }
        }
    }
}

/// Maintenance.
impl Log {
    #[cold]
    pub(super) fn run_due_maintenance(&self, compresses: bool) {
        let notified = self.wakeup.take();
        // Before the pass, because a segment is leased until it is synced. Failures are counted and
        // noted there.
        let _ = self.sync_queue.sync_queued(&self.journal);
        if self.maintainer.is_due(&self.location(), notified) {
            // Failures are counted and noted there, and tried again later.
            let _ = self.run_pass(Occasion::Due, compresses, &|| {
                // Compression may take long, and the segments that are left meanwhile wait to be
                // synced.
                let _ = self.sync_queue.sync_queued(&self.journal);
                !self.wakeup.is_over()
            });
        }
        self.journal.tell();
    }

    /// Makes one pass over the backups, with compression or without.
    fn run_pass(
        &self,
        occasion: Occasion,
        compresses: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let (location, id) = {
            let appender = self.appender.shared();
            (Arc::clone(appender.location()), appender.active().lease.id())
        };
        let found = self.maintainer.pass(&location, occasion, compresses, go_on)?;
        let mut appender = self.appender.exclusive();
        let active = appender.active_mut();
        // The next rotation can use it if none came in between, which would have changed the
        // identity.
        if active.lease.id() == id && found.newest != NewestBackup::Unknown {
            active.newest_backup = found.newest;
        }
        Ok(())
    }
}

fn buffer_of(delivery: Delivery) -> Option<RecordBuffer> {
    match delivery {
        Delivery::Direct => None,
        Delivery::Buffered(buffering) => Some(RecordBuffer::new(buffering)),
    }
}

fn open_appender(
    path: &Path,
    config: &Config,
    settings: SegmentSettings,
    shared: Shared,
) -> Result<Appender> {
    let Config { check_interval, lock_timeout, .. } = *config;
    let (clock, journal) = (shared.clock.clone(), Arc::clone(&shared.journal));
    let rotator = Rotator::open(path, settings, clock, journal, lock_timeout)?;
    let timeouts = Timeouts { check_interval, lock_timeout };
    let appender = Appender::new(rotator, config.trigger(), timeouts, shared);
    if config.durability != Durability::None {
        fs::sync_dir(appender.location().dir())?;
    }
    Ok(appender)
}

/// Returns the network file system that a log is on. The observer is notified of it, or of the
/// reason why it is not known.
fn network_of(rotator: &Rotator, journal: &Journal) -> Option<String> {
    match rotator.network() {
        Ok(kind) => {
            let kind = kind.clone()?;
            let path = rotator.location().path().to_owned();
            journal.note(Event::NetworkFileSystem { path, kind: kind.clone() });
            Some(kind)
        }
        Err(error) => {
            journal.failed(error.clone());
            None
        }
    }
}
