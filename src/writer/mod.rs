//! The writer: the handle that users write records to.

mod appender;
mod buffered;
mod delivery;
mod group_commit;
mod lines;
mod record;
mod reload;
mod run;
mod sync_queue;

pub use delivery::{Buffering, Delivery, Overflow};
pub use lines::LineWriter;
pub use record::RecordWriter;
pub use sync_queue::Durability;

use crate::clock::Stopwatch;
use crate::config::{Callbacks, Config, LogBuilder};
use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::maintenance::{Maintainer, MaintenanceMode, Wakeup};
use crate::rotation::{self, NewestBackup, Rotator};
use crate::segment::{self, Location, Segment};
use crate::stats::{Event, Journal, Stats};
use appender::{Appender, Shared, Timeouts};
use buffered::RecordBuffer;
use parking_lot::Mutex;
use reload::PolicyWatcher;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::thread::JoinHandle;
use std::time::Duration;
use sync_queue::SyncQueue;

/// A rotating log file that many threads and many processes append to.
///
/// One call of `write`, `write_all`, `write_vectored` or `write_fmt` (so one `write!` or `writeln!`)
/// is one *record*: it goes to one segment, whole, and no other record gets between its bytes. When
/// the call returns `Ok`, the record is in the kernel and survives the process.
///
/// It is a handle: clones are cheap, share one open file, and can be used from any thread. Records of
/// one thread stay in order. Another writer *built* on the same path, in this process or another, is
/// another worker on the log, which is allowed and safe.
///
/// When the last handle is dropped, the thread that looks after the backups ends at once, and leaves
/// what is not finished to the next worker; [`close`](Self::close) finishes it.
///
/// # Fork
/// Best is to open the log anew after `fork`: the child is then a worker as any other, whatever the threads of
/// its parent were doing. Of a handle that is carried through `fork` instead, this is promised:
///
/// - With [`Delivery::Direct`] the child can write to the log and rotate it, and nothing is lost, as
///   long as no thread was in a log call at the moment of the fork; if one was, the child's first call
///   may wait for ever. The log's own thread is in one for some microseconds a second; with
///   [`MaintenanceMode::Inline`] there is none.
/// - With [`Delivery::Buffered`] the child's calls fail with [`std::io::ErrorKind::Unsupported`]: at once, or
///   if records were in the buffer at the fork, when half of it is full. Those are the parent's to write.
/// - The child has no thread that looks after backups. Other workers and the child's
///   [`close`](Self::close) do.
/// - Dropping it waits for nothing. The segment that was active at the fork counts as in use while the
///   child has a copy of its file open, and is not compressed or removed before: if the log has threads, until
///   the child writes to a later segment, ends, or calls `exec`.
///
/// # Examples
/// ```
/// use logrotor::{Compression, RotatingFileWriter};
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
/// let mut log = RotatingFileWriter::builder(dir.path().join("app.log"))
///     .max_size(10 * 1024 * 1024)
///     .max_backups(7)
///     .compression(Compression::Gzip)
///     .build()?;
/// writeln!(log, "started")?;
/// log.close()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RotatingFileWriter {
    threads: Arc<LogThreads>,
}

/// What all clones share. Dropping it ends the log's threads.
struct LogThreads {
    log: Arc<Log>,
    /// Writes what is in the buffer, with buffered delivery.
    flusher: Option<JoinHandle<()>>,
    /// Looks after the backups, unless that is done inline.
    maintainer: Option<JoinHandle<()>>,
    /// Looks at the policy, if there is one, unless that is done inline.
    policy_thread: Option<JoinHandle<()>>,
    /// The process that has these threads; one that was forked from it has not.
    process: u32,
}

/// One log in one process: what log calls and the log's threads work on.
struct Log {
    appender: Mutex<Appender>,
    /// With buffered delivery.
    buffer: Option<RecordBuffer>,
    sync_queue: Arc<SyncQueue>,
    maintainer: Maintainer,
    wakeup: Arc<Wakeup>,
    journal: Arc<Journal>,
    /// As the log was opened. A policy may have changed since what is not fixed.
    config: Config,
    policy_watcher: PolicyWatcher,
    /// The path as it was given, for messages.
    path: PathBuf,
    /// The network file system that it was opened on.
    network: Option<String>,
    /// With inline maintenance: whether a log call is at it.
    is_maintaining: AtomicBool,
}

impl RotatingFileWriter {
    /// Sets up a log at `path`; nothing is opened before [`LogBuilder::build`].
    pub fn builder(path: impl Into<PathBuf>) -> LogBuilder {
        LogBuilder::new(path)
    }

    /// Opens the log at `path` with settings that are plain data.
    ///
    /// # Errors
    /// As [`LogBuilder::build`].
    pub fn from_config(path: impl Into<PathBuf>, config: Config) -> Result<Self> {
        LogBuilder::with_config(path, config).build()
    }

    pub(crate) fn open(path: &Path, config: &Config, callbacks: Callbacks) -> Result<Self> {
        let log = Arc::new(Log::open(path, config, callbacks)?);
        let process = std::process::id();
        let mut threads =
            LogThreads { log, flusher: None, maintainer: None, policy_thread: None, process };
        if threads.log.buffer.is_some() {
            threads.flusher = Some(threads.spawn("logrotor-write", Log::run_flusher)?);
        }
        match config.maintenance {
            MaintenanceMode::Thread => {
                threads.maintainer = Some(threads.spawn("logrotor-maint", Log::run_maintainer)?);
                if threads.log.policy_watcher.has_policy() {
                    threads.policy_thread =
                        Some(threads.spawn("logrotor-policy", Log::run_policy_watcher)?);
                }
            }
            MaintenanceMode::Inline => threads.log.run_due_maintenance(),
        }
        Ok(Self { threads: Arc::new(threads) })
    }

    fn log(&self) -> &Log {
        &self.threads.log
    }

    /// Appends one record, as the `io::Write` methods do, which need `&mut`.
    ///
    /// An empty record is nothing, and succeeds.
    ///
    /// # Errors
    /// What `write(2)` says: the record was not written, or (disk full) a part of it only. A rotation
    /// that fails is no error: the record goes to the segment there is, and the failure is counted.
    #[inline]
    pub fn write_record(&self, record: &[u8]) -> io::Result<()> {
        if record.is_empty() {
            return Ok(());
        }
        let log = self.log();
        if let Some(buffer) = &log.buffer {
            return buffer.push(record);
        }
        let (done, number) = {
            let mut appender = log.appender.lock();
            (appender.append(record), appender.records())
        };
        log.after_call();
        match log.sync_queue.group_commit() {
            Some(commit) if done.is_ok() => Ok(commit.wait_for(number, || log.prepare_sync())?),
            _ => done,
        }
    }

    /// Rotates now, unless there is no record in the active segment, or another worker rotates at the
    /// same moment. Returns the backup if this call made one.
    ///
    /// # Errors
    /// [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout) if another worker is rotating for
    /// longer than `lock_timeout`; [`ErrorKind::Io`](crate::ErrorKind::Io) if the file system refuses.
    /// The log goes on with the segment it has.
    pub fn rotate(&self) -> Result<Option<PathBuf>> {
        self.drain()?;
        self.call(Appender::rotate)
    }

    /// Closes the active segment and opens the log's path again, for when another program has moved
    /// the file (the `SIGHUP` of `logrotate`). Without it that is noticed within `check_interval`.
    ///
    /// # Errors
    /// If the path cannot be opened; the log goes on with the file it has.
    pub fn reopen(&self) -> Result<()> {
        self.drain()?;
        self.call(Appender::reopen)
    }

    /// Waits until all records so far are on the disk itself, and survive a power cut: those in the
    /// active segment, and in all backups that are not compressed (packing one syncs it).
    ///
    /// # Errors
    /// What `fdatasync(2)` says first; then some of them may be lost at a power cut. With
    /// [`Naming::Number`](crate::Naming) also if rotations do not let it find all backups, which takes eight of them while
    /// it is at it.
    pub fn sync(&self) -> Result<()> {
        self.drain()?;
        let log = self.log();
        let ((records, active), location) = {
            let appender = log.appender.lock();
            (appender.position(), Arc::clone(appender.location()))
        };
        let active = match log.sync_queue.group_commit() {
            // The kernel tells of a failure once; it must be told to the records that wait for it.
            Some(commit) => commit.wait_for(records, || log.prepare_sync()),
            None => fs::sync_data(&active, location.path()),
        };
        let backups = segment::sync_backups(&location, log.config.naming);
        log.after_call();
        active.and(backups)
    }

    /// Waits until the records taken so far are in the kernel. With direct delivery they are already.
    ///
    /// # Errors
    /// What the kernel refuses them with; they stay in the buffer, and are tried again.
    pub fn flush(&self) -> Result<()> {
        self.drain()
    }

    /// What this process did to the log since it was opened. Cheap, and waits for nobody.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let log = self.log();
        let dropped = log.buffer.as_ref().map_or(0, RecordBuffer::dropped);
        log.journal.counters.snapshot(dropped)
    }

    /// The log's files as they are now, oldest first, the active segment last.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        let location = Arc::clone(self.log().appender.lock().location());
        Segment::list(&location, self.log().config.naming)
    }

    /// What the system calls the network file system that the log was opened on, such as `nfs` or `cifs`; `None`
    /// if it is a local one, or that cannot be told. [`LogBuilder::build`] says what such a file system means.
    ///
    /// # Platform
    /// Linux, macOS and FreeBSD tell it, but not of what runs on FUSE (sshfs, s3fs), which is never told of on
    /// Linux; on Windows it is `unc` for all shares of other machines, mapped to a drive letter or not.
    #[must_use]
    pub fn network_file_system(&self) -> Option<&str> {
        self.log().network.as_deref()
    }

    /// Where the log is: the path it was opened with, absolute and with links resolved.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.log().appender.lock().location().path().to_owned()
    }

    /// Writes what is in the buffer, finishes the work on backups that can be done now, and gives up this
    /// handle. The log itself ends with its last handle; others can go on writing.
    ///
    /// Backups that other workers still have open are left to them.
    ///
    /// # Errors
    /// The first failure of that work.
    pub fn close(self) -> Result<()> {
        let log = self.log();
        let drained = self.drain();
        if log.sync_queue.syncs_backups() {
            // If others have rotated, records of this worker may have come to the backup after they synced it.
            log.appender.lock().check();
        }
        let synced = log.sync_queue.sync_queued(&log.journal);
        let maintained = log.run_pass(&|| true);
        log.journal.tell();
        drained.and(synced).and(maintained)
    }

    /// Has a panic anywhere in the process wait until the records in the buffer are written, after the
    /// hook that is installed now has run; at most for 5 s. For [`Delivery::Buffered`] in programs that
    /// abort on panic; others drain when the log is dropped.
    ///
    /// It does not keep the log open.
    pub fn flush_on_panic(&self) {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let log = Arc::downgrade(&self.threads);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if let Some(threads) = log.upgrade() {
                // A panic has nobody to tell; what could not be written is counted.
                let _ = threads.log.drain(Some(TIMEOUT));
            }
        }));
    }

    fn drain(&self) -> Result<()> {
        self.log().drain(None)
    }

    fn call<T>(&self, work: impl FnOnce(&mut Appender) -> Result<T>) -> Result<T> {
        let log = self.log();
        let done = work(&mut log.appender.lock());
        log.after_call();
        done
    }
}

impl Log {
    fn open(path: &Path, config: &Config, callbacks: Callbacks) -> Result<Self> {
        let journal = Arc::new(Journal::new(callbacks.observer.clone()));
        let policy_watcher = PolicyWatcher::new(&callbacks, config, &journal);
        let Callbacks { header, clock, .. } = callbacks;
        let header_len = header.as_ref().map_or(0, |header| header().len() as u64);
        let wakeup = Arc::new(Wakeup::default());
        let sync_queue = Arc::new(SyncQueue::new(config.durability));
        let rotator = Rotator::new(
            path.to_owned(),
            rotation::SegmentSettings {
                naming: config.naming,
                mode: config.mode,
                header,
                header_len,
            },
            clock.clone(),
            Arc::clone(&journal),
        )?;
        let timeouts =
            Timeouts { check_interval: config.check_interval, lock_timeout: config.lock_timeout };
        let shared = Shared {
            clock: clock.clone(),
            journal: Arc::clone(&journal),
            sync_queue: Arc::clone(&sync_queue),
            wakeup: Arc::clone(&wakeup),
        };
        let mut appender = Appender::open(rotator, config.trigger(), timeouts, shared)?;
        if config.durability != Durability::None {
            fs::sync_dir(appender.location().dir())?;
        }
        let network = network_of(appender.location(), &journal);
        if config.rotate_on_open {
            // A log that cannot be rotated can be written to.
            if let Err(error) = appender.rotate() {
                journal.failed(error);
            }
        }
        Ok(Self {
            appender: Mutex::new(appender),
            buffer: buffer(config.delivery),
            sync_queue,
            maintainer: Maintainer::new(config.maintenance_config()?, clock, Arc::clone(&journal)),
            wakeup,
            journal,
            config: config.clone(),
            policy_watcher,
            path: path.to_owned(),
            network,
            is_maintaining: AtomicBool::new(false),
        })
    }

    /// The thread that writes what is in the buffer.
    fn run_flusher(&self) {
        let Some(buffer) = &self.buffer else { return };
        let lost = buffer.run(|batch| {
            let done = self.appender.lock().append_batch(batch);
            let done = done.map_err(|error| Error::io("write to", self.path.as_path(), error));
            if let Err(error) = &done {
                self.journal.failed(error.clone());
            }
            self.pass_on_events();
            done
        });
        if lost > 0 {
            let why = format!("{lost} records held back were refused to the last, and are lost");
            self.journal.failed(Error::refused(ErrorKind::Io, "close", self.path.as_path(), why));
        }
    }

    /// Has the other thread tell the observer. Not this one: an observer that writes to the log may wait
    /// for room in the buffer, which only this thread makes.
    fn pass_on_events(&self) {
        if self.journal.has_untold() {
            self.wakeup.notify();
        }
    }

    /// The thread that looks after the backups, and the log while nobody writes.
    fn run_maintainer(&self) {
        fs::lower_priority();
        while !self.wakeup.is_over() {
            let worked = Stopwatch::start();
            self.appender.lock().check();
            self.journal.tell();
            self.run_due_maintenance();
            // A thousand rotations a second over a large directory are not a thousand listings.
            self.wakeup.rest(MAX_REST.min(3 * worked.elapsed()));
            self.wakeup.wait(TICK);
        }
        // Counted and noted where it happened.
        let _ = self.sync_queue.sync_queued(&self.journal);
        self.journal.tell();
    }

    /// Waits until the records taken so far are in the kernel.
    fn drain(&self, timeout: Option<Duration>) -> Result<()> {
        let Some(buffer) = &self.buffer else { return Ok(()) };
        let checked = buffer.check_process();
        checked.map_err(|error| Error::io("write to", self.path.as_path(), error))?;
        buffer.flush(timeout)
    }

    /// What syncs the records written so far, and the number of the last of them.
    fn prepare_sync(&self) -> (u64, impl FnOnce() -> Result<()>) {
        let (records, active, location) = {
            let appender = self.appender.lock();
            let (records, active) = appender.position();
            (records, active, Arc::clone(appender.location()))
        };
        (records, move || self.sync_queue.sync_active(&active, &location))
    }

    /// What a log call does once it has let go of the write mutex.
    #[inline]
    fn after_call(&self) {
        self.journal.tell();
        if self.config.maintenance == MaintenanceMode::Inline {
            self.check_policy();
            // One call does the work; others need not wait for it.
            if self.wakeup.is_hinted() && !self.is_maintaining.swap(true, Acquire) {
                self.run_due_maintenance();
                self.is_maintaining.store(false, Release);
            }
        }
    }

    #[cold]
    fn run_due_maintenance(&self) {
        let notified = self.wakeup.take();
        // Before the pass: what is not synced yet is leased. Counted and noted where it happens.
        let _ = self.sync_queue.sync_queued(&self.journal);
        let location = Arc::clone(self.appender.lock().location());
        if self.maintainer.is_due(&location, notified) {
            // Counted and noted where it happened, and tried again later.
            let _ = self.run_pass(&|| {
                // Packing a backup may take long, and what others leave meanwhile waits to be synced.
                let _ = self.sync_queue.sync_queued(&self.journal);
                !self.wakeup.is_over()
            });
        }
        self.journal.tell();
    }

    /// Makes one pass over the backups.
    fn run_pass(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        let (location, id) = {
            let mut appender = self.appender.lock();
            (Arc::clone(appender.location()), appender.active().lease.id())
        };
        let found = self.maintainer.pass(&location, go_on)?;
        let mut appender = self.appender.lock();
        let active = appender.active();
        // Of use to the next rotation only if no other came in between; then the identity is another.
        if active.lease.id() == id {
            active.newest_backup = NewestBackup::Known(found.newest);
        }
        Ok(())
    }
}

/// The network file system that a log is on. The observer is told of it, and of why it is not known.
fn network_of(location: &Location, journal: &Journal) -> Option<String> {
    match fs::network_file_system(location.dir()) {
        Ok(kind) => {
            let kind = kind?;
            let path = location.path().to_owned();
            journal.note(Event::NetworkFileSystem { path, kind: kind.clone() });
            Some(kind)
        }
        Err(error) => {
            journal.failed(error);
            None
        }
    }
}

fn buffer(delivery: Delivery) -> Option<RecordBuffer> {
    match delivery {
        Delivery::Direct => None,
        Delivery::Buffered(buffering) => Some(RecordBuffer::new(buffering)),
    }
}

/// How often the log's thread looks after an idle log.
const TICK: Duration = Duration::from_secs(1);

/// How long it rests at most after it has worked.
const MAX_REST: Duration = Duration::from_millis(100);

impl LogThreads {
    fn spawn(&self, name: &str, work: fn(&Log)) -> Result<JoinHandle<()>> {
        let log = Arc::clone(&self.log);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || work(&log)).map_err(|error| {
            Error::io("start a thread for", self.log.appender.lock().location().path(), error)
        })
    }
}

impl Drop for LogThreads {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Neither the threads nor whoever may have held the locks are here to be waited for.
            std::mem::forget((
                self.flusher.take(),
                self.maintainer.take(),
                self.policy_thread.take(),
            ));
            return;
        }
        if let Some(buffer) = &self.log.buffer {
            buffer.close();
        }
        join(self.flusher.take());
        self.log.wakeup.end();
        join(self.maintainer.take());
        join(self.policy_thread.take());
    }
}

/// Waits for a thread of the log to end.
fn join(thread: Option<JoinHandle<()>>) {
    // The observer may drop the last handle; then this is the thread itself, and ends by itself.
    let other = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
    if let Some(thread) = other {
        // It catches what observers throw, and has no panic of its own to pass on.
        let _ = thread.join();
    }
}

// A panic in the middle of a call leaves no state behind that a later call could misread: what a record
// changes, it changes after the kernel has taken it. Panics in functions of the user are caught.
impl std::panic::UnwindSafe for RotatingFileWriter {}
impl std::panic::RefUnwindSafe for RotatingFileWriter {}

impl fmt::Debug for RotatingFileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingFileWriter")
            .field("path", &self.path())
            .field("config", &self.log().config)
            .finish_non_exhaustive()
    }
}

impl io::Write for &RotatingFileWriter {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_record(record).map(|()| record.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut record = self.record();
        let len = record.write_vectored(slices)?;
        record.commit().map(|()| len)
    }

    #[inline]
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        self.write_record(record)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        match arguments.as_str() {
            Some(text) => self.write_record(text.as_bytes()),
            None => {
                let mut record = self.record();
                record.write_fmt(arguments)?;
                record.commit()
            }
        }
    }

    /// As [`RotatingFileWriter::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.drain()?)
    }
}

impl io::Write for RotatingFileWriter {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        (&*self).write(record)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(slices)
    }

    #[inline]
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        (&*self).write_all(record)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        (&*self).write_fmt(arguments)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.drain()?)
    }
}
