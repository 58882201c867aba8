//! Counters and events: the state of a log, for its process.

use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
#[cfg(feature = "archive")]
use std::time::SystemTime;

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`, and returns the count before.
    #[inline]
    pub(crate) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Relaxed)
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    #[cfg(feature = "policy")]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one log in one process, shared by all that work on it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) rotations: Counter,
    pub(crate) skips: Counter,
    pub(crate) follows: Counter,
    pub(crate) recreations: Counter,
    pub(crate) truncations: Counter,
    pub(crate) lock_waits: Counter,
    pub(crate) compressions: Counter,
    pub(crate) deferrals: Counter,
    pub(crate) pruned: Counter,
    pub(crate) torn: Counter,
    /// The last version taken over, rather than a count. 0 without a policy.
    #[cfg(feature = "policy")]
    pub(crate) policy_version: Counter,
    #[cfg(feature = "policy")]
    pub(crate) policy_reloads: Counter,
    #[cfg(feature = "policy")]
    pub(crate) policy_overrides: Counter,
    #[cfg(feature = "archive")]
    archive: Mutex<Option<ArchiveStats>>,
    failures: [Counter; ErrorKind::ALL.len()],
    last_error: Mutex<Option<Error>>,
}

impl Counters {
    /// Counts a failure and keeps it as the last one.
    pub(crate) fn failed(&self, error: &Error) {
        for (kind, counter) in ErrorKind::ALL.iter().zip(&self.failures) {
            if *kind == error.kind() {
                counter.increment();
            }
        }
        *self.last_error.lock() = Some(error.clone());
    }

    /// Changes the counters of the archive.
    #[cfg(feature = "archive")]
    pub(crate) fn archive<T>(&self, change: impl FnOnce(&mut ArchiveStats) -> T) -> T {
        change(self.archive.lock().get_or_insert_default())
    }

    /// Counts a backup that was removed although it was not archived.
    pub(crate) fn dropped_unarchived(&self) {
        #[cfg(feature = "archive")]
        self.archive(|stats| stats.dropped += 1);
    }

    /// The counters as they are now. `dropped` is counted elsewhere.
    pub(crate) fn snapshot(&self, dropped: u64) -> Stats {
        Stats {
            records: self.records.get(),
            bytes: self.bytes.get(),
            rotations: self.rotations.get(),
            skips: self.skips.get(),
            follows: self.follows.get(),
            recreations: self.recreations.get(),
            truncations: self.truncations.get(),
            lock_waits: self.lock_waits.get(),
            compressions: self.compressions.get(),
            deferrals: self.deferrals.get(),
            pruned: self.pruned.get(),
            torn: self.torn.get(),
            #[cfg(feature = "policy")]
            policy: (self.policy_version.get() > 0).then(|| ReloadStats {
                version: self.policy_version.get(),
                reloads: self.policy_reloads.get(),
                overrides: self.policy_overrides.get() > 0,
            }),
            #[cfg(feature = "archive")]
            archive: self.archive.lock().clone(),
            dropped,
            failures: std::array::from_fn(|at| self.failures[at].get()),
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Counts what happens, and keeps events until they can be reported outside of every lock.
pub(crate) struct Journal {
    pub(crate) counters: Counters,
    observer: Option<Observer>,
    untold: Mutex<Vec<Event>>,
    /// Whether events wait, so that a record need not take the mutex to learn that none do.
    any_untold: AtomicBool,
    telling: AtomicBool,
}

impl Journal {
    pub(crate) fn new(observer: Option<Observer>) -> Self {
        let counters = Counters::default();
        let [any_untold, telling] = [const { AtomicBool::new(false) }; 2];
        Self { counters, observer, untold: Mutex::default(), any_untold, telling }
    }

    /// Keeps an event for the observer, if there is one.
    pub(crate) fn note(&self, event: Event) {
        if self.observer.is_some() {
            self.untold.lock().push(event);
            self.any_untold.store(true, Relaxed);
        }
    }

    /// Counts a failure, keeps it as the last one, and notes it for the observer.
    pub(crate) fn failed(&self, error: Error) {
        self.counters.failed(&error);
        self.note(Event::Failed { error });
    }

    /// Reports the noted events to the observer. The caller holds no lock of the log.
    ///
    /// A panic of the observer ends neither a log call nor maintenance.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.any_untold.load(Relaxed) {
            self.tell_all();
        }
    }

    /// Whether a thread is reporting events.
    pub(crate) fn is_telling(&self) -> bool {
        self.telling.load(Acquire)
    }

    /// Whether events wait to be reported.
    pub(crate) fn has_untold(&self) -> bool {
        self.any_untold.load(Relaxed)
    }

    /// Reports from one thread at a time, so that events come in order.
    ///
    /// An observer that causes events by writing to the log gets them later, not within itself.
    /// Events that come meanwhile are reported with the next call.
    #[cold]
    fn tell_all(&self) {
        let Some(observer) = &self.observer else { return };
        if !self.telling.swap(true, Acquire) {
            let events = {
                let mut untold = self.untold.lock();
                self.any_untold.store(false, Relaxed);
                std::mem::take(&mut *untold)
            };
            for event in &events {
                let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
            }
            self.telling.store(false, Release);
        }
    }
}

/// Counts of what one process did to a log since it opened it. Each figure is exact by itself.
///
/// # Examples
/// ```
/// use logrotor::{ErrorKind, RotatingFileWriter};
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// let mut log = RotatingFileWriter::builder(dir.path().join("app.log")).max_size(100).build()?;
/// for _ in 0..3 {
///     log.write_all(&[b'x'; 60])?;
/// }
/// let stats = log.stats();
/// assert_eq!((stats.records, stats.bytes, stats.rotations), (3, 180, 2));
/// assert_eq!(stats.failures(ErrorKind::Io), 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Records written.
    pub records: u64,
    /// Bytes of these records, without headers.
    pub bytes: u64,
    /// Rotations by this process.
    pub rotations: u64,
    /// Rotations that were due and that another worker completed first.
    pub skips: u64,
    /// Times the log's path was found to name another file, which was then adopted: another
    /// worker's new segment, or a foreign program's.
    pub follows: u64,
    /// Times the log's path was found missing and the log was created again.
    pub recreations: u64,
    /// Times the active segment was found cut short by a foreign program.
    pub truncations: u64,
    /// Waits for a rotation lock that another worker held. A wait that times out is a
    /// [failure](Stats::failures) of kind [`ErrorKind::LockTimeout`].
    pub lock_waits: u64,
    /// Backups compressed.
    pub compressions: u64,
    /// Times a backup was left for a later pass, for one of the reasons in [`DeferralReason`]. Ten
    /// attempts count ten.
    pub deferrals: u64,
    /// Backups removed.
    pub pruned: u64,
    /// Records of which only a part could be written. The caller got an error, unless a record of
    /// another thread or worker came between and the whole record could follow.
    pub torn: u64,
    /// The policy that the log follows. `None` if it was opened without one.
    #[cfg(feature = "policy")]
    #[cfg_attr(docsrs, doc(cfg(feature = "policy")))]
    pub policy: Option<ReloadStats>,
    /// The archive of the log. `None` if it was opened without one.
    #[cfg(feature = "archive")]
    #[cfg_attr(docsrs, doc(cfg(feature = "archive")))]
    pub archive: Option<ArchiveStats>,
    /// Records dropped because the buffer was full, or because they could not be written before the
    /// log was closed.
    pub dropped: u64,
    failures: [u64; ErrorKind::ALL.len()],
    /// The last failure after the log was opened, except those that a call returned.
    pub last_error: Option<Error>,
}

/// The policy of a log, and how often it has changed, in [`Stats::policy`].
#[cfg(feature = "policy")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadStats {
    /// The version in force.
    pub version: u64,
    /// How often another version was taken over while the log was open.
    pub reloads: u64,
    /// Whether the builder had settings of its own, which the policy overrides.
    pub overrides: bool,
}

/// The archive of a log, in [`Stats::archive`].
#[cfg(feature = "archive")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ArchiveStats {
    /// Segments that this process has sent and verified, or found there.
    pub archived: u64,
    /// Their size in bytes.
    pub archived_bytes: u64,
    /// Backups removed for `min_free_space` before they were archived, with
    /// [`WhenFull::Drop`](crate::WhenFull::Drop).
    pub dropped: u64,
    /// Objects that had other content than their segments.
    pub conflicts: u64,
    /// Segments that are not archived yet, at the last look. They stay on this machine.
    pub backlog: u64,
    /// Their size in bytes.
    pub backlog_bytes: u64,
    /// The rotation of the oldest of them.
    pub oldest: Option<SystemTime>,
    /// Whether the store ignores conditions. See
    /// [`ErrorKind::ArchiveUnconditional`](crate::ErrorKind::ArchiveUnconditional).
    pub ignores_conditions: bool,
    /// The last failure to archive, if it was not followed by a success.
    pub last_error: Option<Error>,
}

impl Stats {
    /// Returns the number of failures of one kind since the log was opened, except those that a
    /// call returned.
    #[must_use]
    pub fn failures(&self, kind: ErrorKind) -> u64 {
        let of_kind = ErrorKind::ALL.iter().zip(self.failures).find(|(k, _)| **k == kind);
        of_kind.map_or(0, |(_, count)| count)
    }

    /// Returns the number of all failures.
    #[must_use]
    pub fn all_failures(&self) -> u64 {
        self.failures.iter().sum()
    }
}

/// Why maintenance left a backup for a later pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeferralReason {
    /// A worker or a reader has it open.
    InUse,
    /// Another program is writing it: the file changed, or a process has it open for writing.
    BeingWritten,
    /// Another process is compressing it, or has put a file at the compressed name.
    BeingCompressed,
    /// The file system has less free space than the backup is large.
    NoSpace,
    /// It is not archived yet.
    NotArchived,
}

/// A change or a failure of a log, as its observer receives it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// This process ended a segment and created the next.
    #[non_exhaustive]
    Rotated {
        /// The finished segment.
        backup: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A backup was compressed, and its uncompressed file removed.
    #[non_exhaustive]
    Compressed {
        /// The uncompressed file, which is removed.
        from: PathBuf,
        /// The compressed file.
        to: PathBuf,
        /// Size before, in bytes.
        bytes_before: u64,
        /// Size after, in bytes.
        bytes_after: u64,
    },
    /// A backup was removed.
    #[non_exhaustive]
    Pruned {
        /// The file removed.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A segment is in the archive, whole and verified. Its file may be removed from now on.
    #[non_exhaustive]
    Archived {
        /// The file.
        path: PathBuf,
        /// The URL of the object.
        object: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A backup was left for a later pass.
    ///
    /// Only [`Maintenance::run`](crate::Maintenance::run) reports it. The workers of a log count it
    /// in [`Stats::deferrals`] and try again by themselves.
    #[non_exhaustive]
    Deferred {
        /// The backup.
        path: PathBuf,
        /// Why it was left.
        reason: DeferralReason,
    },
    /// A new version of the policy is in force in this process.
    #[non_exhaustive]
    PolicyChanged {
        /// Its number.
        version: u64,
        /// Whether it is an edit of the file by hand.
        by_hand: bool,
        /// Its author and origin, as the header of the file says.
        made_by: String,
        /// The comment of its author.
        comment: Option<String>,
    },
    /// The log is on a network file system, where some promises do not hold.
    ///
    /// See [`LogBuilder::build`](crate::LogBuilder::build). Reported once, when the log is opened.
    #[non_exhaustive]
    NetworkFileSystem {
        /// The log, links resolved.
        path: PathBuf,
        /// The name of the file system, as in
        /// [`RotatingFileWriter::network_file_system`](crate::RotatingFileWriter::network_file_system).
        kind: String,
    },
    /// An operation failed whose caller cannot get the error: rotation, maintenance, the policy, or
    /// writing the buffer. It is tried again, and no record is lost by it.
    ///
    /// A record is lost if the writer that holds it is dropped and the kernel refuses it. Buffered
    /// records are lost if the log is closed then; the error is of the kind
    /// [`RecordsLost`](ErrorKind::RecordsLost).
    #[non_exhaustive]
    Failed {
        /// The failure.
        error: Error,
    },
}

/// A function that receives events.
pub(crate) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;
