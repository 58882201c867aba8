//! The writer: the handle that users write records to.

mod direct;
mod lines;

pub use lines::LineRecords;

use crate::clock::Clock;
use crate::config::{Builder, Callbacks, Config};
use crate::error::{Error, Result};
use crate::maintenance::{self, Keeper, Maintenance, Signal};
use crate::rotation::trigger::Trigger;
use crate::rotation::{self, Newest, Rotator};
use crate::segment::Segment;
use crate::stats::{Journal, Stats};
use direct::{Direct, Patience};
use parking_lot::Mutex;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

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
    handle: Arc<Handle>,
}

/// What all clones share. Dropping it ends the log's thread.
struct Handle {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

/// One log in one process: what log calls and the log's thread work on.
struct Core {
    direct: Mutex<Direct>,
    keeper: Keeper,
    signal: Arc<Signal>,
    journal: Arc<Journal>,
    config: Config,
}

impl RotatingFileWriter {
    /// Sets up a log at `path`; nothing is opened before [`Builder::build`].
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path)
    }

    /// Opens the log at `path` with settings that are plain data.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn from_config(path: impl Into<PathBuf>, config: Config) -> Result<Self> {
        Builder::with_config(path, config).build()
    }

    pub(crate) fn open(path: &Path, config: &Config, callbacks: Callbacks) -> Result<Self> {
        let core = Arc::new(Core::open(path, config, callbacks)?);
        let thread = match config.maintenance {
            Maintenance::Thread => Some(spawn(&core)?),
            Maintenance::Inline => {
                core.work_off_signal();
                None
            }
        };
        Ok(Self { handle: Arc::new(Handle { core, thread }) })
    }

    fn core(&self) -> &Core {
        &self.handle.core
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
        let core = self.core();
        let done = core.direct.lock().append(record);
        core.after_call();
        done
    }

    /// An `io::Write` that holds back the beginning of a line until the rest has come, for programs
    /// that write a line in pieces.
    #[must_use]
    pub fn lines(&self) -> LineRecords {
        LineRecords::new(self.clone())
    }

    /// Rotates now, unless there is no record in the active segment, or another worker rotates at the
    /// same moment. Returns the backup if this call made one.
    ///
    /// # Errors
    /// [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout) if another worker is rotating for
    /// longer than `lock_timeout`; [`ErrorKind::Io`](crate::ErrorKind::Io) if the file system refuses.
    /// The log goes on with the segment it has.
    pub fn rotate(&self) -> Result<Option<PathBuf>> {
        self.call(Direct::rotate)
    }

    /// Closes the active segment and opens the log's path again, for when another program has moved
    /// the file (the `SIGHUP` of `logrotate`). Without it that is noticed within `check_interval`.
    ///
    /// # Errors
    /// If the path cannot be opened; the log goes on with the file it has.
    pub fn reopen(&self) -> Result<()> {
        self.call(Direct::reopen)
    }

    /// Waits until all records so far are on the disk itself, and survive a power cut.
    ///
    /// # Errors
    /// What `fdatasync(2)` says; then some of them may be lost at a power cut.
    pub fn sync(&self) -> Result<()> {
        self.call(|direct| direct.sync())
    }

    /// What this process did to the log since it was opened. Cheap, and waits for nobody.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core().journal.counters.snapshot()
    }

    /// The log's files as they are now, oldest first, the active segment last.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        let location = Arc::clone(self.core().direct.lock().location());
        Segment::list(&location, self.core().config.naming)
    }

    /// Where the log is: the path it was opened with, absolute and with links resolved.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.core().direct.lock().location().path().to_owned()
    }

    /// Finishes the work on backups that can be done now, then gives up this handle. The log itself
    /// ends with its last handle; others can go on writing.
    ///
    /// Backups that other workers still have open are left to them.
    ///
    /// # Errors
    /// The first failure of that work.
    pub fn close(self) -> Result<()> {
        let done = self.core().maintain(&|| true);
        self.core().journal.tell();
        done
    }

    fn call<T>(&self, work: impl FnOnce(&mut Direct) -> Result<T>) -> Result<T> {
        let core = self.core();
        let done = work(&mut core.direct.lock());
        core.after_call();
        done
    }
}

impl Core {
    fn open(path: &Path, config: &Config, callbacks: Callbacks) -> Result<Self> {
        let Callbacks { header, observer, clock } = callbacks;
        let journal = Arc::new(Journal::new(observer));
        let signal = Arc::new(Signal::default());
        let rotator = Rotator::new(
            path.to_owned(),
            rotation::Settings {
                naming: config.naming,
                mode: config.mode,
                lock_timeout: config.lock_timeout,
                header,
            },
            clock.clone(),
            Arc::clone(&journal),
        )?;
        let direct = open_direct(rotator, config, &clock, &journal, &signal)?;
        Ok(Self {
            direct: Mutex::new(direct),
            keeper: keeper(config, clock, &journal)?,
            signal,
            journal,
            config: config.clone(),
        })
    }

    /// What a log call does once it has let go of the write mutex.
    #[inline]
    fn after_call(&self) {
        self.journal.tell();
        if self.config.maintenance == Maintenance::Inline && self.signal.is_raised() {
            self.work_off_signal();
        }
    }

    /// What the log's thread does when it is woken, and once a second.
    fn tick(&self) {
        self.direct.lock().look_after();
        self.journal.tell();
        self.work_off_signal();
    }

    #[cold]
    fn work_off_signal(&self) {
        let location = Arc::clone(self.direct.lock().location());
        if self.keeper.is_due(&location, self.signal.take()) {
            // Counted and noted where it happened, and tried again later.
            let _ = self.maintain(&|| !self.signal.is_over());
        }
        self.journal.tell();
    }

    /// Makes one pass over the backups.
    fn maintain(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        let (location, id) = {
            let mut direct = self.direct.lock();
            (Arc::clone(direct.location()), direct.active().lease.id())
        };
        let found = self.keeper.pass(&location, go_on)?;
        let mut direct = self.direct.lock();
        let active = direct.active();
        // Of use to the next rotation only if no other came in between; then the identity is another.
        if active.lease.id() == id {
            active.newest_backup = Newest::Known(found.newest);
        }
        Ok(())
    }
}

fn open_direct(
    rotator: Rotator,
    config: &Config,
    clock: &Clock,
    journal: &Arc<Journal>,
    signal: &Arc<Signal>,
) -> Result<Direct> {
    let trigger = Trigger {
        max_size: config.max_size,
        max_age: config.max_age,
        rotate_every: config.rotate_every,
        zone: config.zone,
    };
    let patience =
        Patience { check_interval: config.check_interval, lock_timeout: config.lock_timeout };
    let mut direct = Direct::open(
        rotator,
        trigger,
        patience,
        clock.clone(),
        Arc::clone(journal),
        Arc::clone(signal),
    )?;
    if config.rotate_on_open {
        direct.rotate()?;
    }
    Ok(direct)
}

fn keeper(config: &Config, clock: Clock, journal: &Arc<Journal>) -> Result<Keeper> {
    let settings = maintenance::Settings {
        naming: config.naming,
        codec: config.codec()?,
        retention: config.retention(),
        max_size: config.max_size,
        lock_mode: config.mode,
        lock_timeout: config.lock_timeout,
    };
    Ok(Keeper::new(settings, clock, Arc::clone(journal)))
}

/// How often the log's thread looks after an idle log.
const TICK: Duration = Duration::from_secs(1);

fn spawn(core: &Arc<Core>) -> Result<JoinHandle<()>> {
    let ours = Arc::clone(core);
    let work = move || {
        while !ours.signal.is_over() {
            ours.tick();
            ours.signal.wait(TICK);
        }
    };
    std::thread::Builder::new().name("logrotor".to_owned()).spawn(work).map_err(|error| {
        Error::io("start a thread for", core.direct.lock().location().path(), error)
    })
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.signal.end();
        let Some(thread) = self.thread.take() else { return };
        // The observer may hold the last handle; then this is that thread, and it ends by itself.
        if thread.thread().id() != std::thread::current().id() {
            // It catches what observers throw, and has no panic of its own to pass on.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for RotatingFileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingFileWriter")
            .field("path", &self.path())
            .field("config", &self.core().config)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// Where a record that comes in pieces is put together; kept, so that no record allocates.
    static PIECES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Puts a record together in a buffer of this thread and passes it to `write`.
fn with_pieces<T>(
    gather: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    write: impl FnOnce(&[u8]) -> io::Result<T>,
) -> io::Result<T> {
    const KEEP: usize = 64 * 1024;
    // Taken out, so that a value which logs while it is formatted finds an empty one.
    let mut pieces = PIECES.take();
    pieces.clear();
    let done = gather(&mut pieces).and_then(|()| write(&pieces));
    if pieces.capacity() <= KEEP {
        PIECES.set(pieces);
    }
    done
}

/// Takes formatted text. `io::Write for Vec` would do, but its `write_fmt` panics where a value's
/// own formatting fails.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl io::Write for &RotatingFileWriter {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_record(record).map(|()| record.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let gather = |pieces: &mut Vec<u8>| {
            slices.iter().for_each(|slice| pieces.extend_from_slice(slice));
            Ok(())
        };
        with_pieces(gather, |record| self.write_record(record).map(|()| record.len()))
    }

    #[inline]
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        self.write_record(record)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        match arguments.as_str() {
            Some(text) => self.write_record(text.as_bytes()),
            None => with_pieces(
                |pieces| fmt::write(&mut Text(pieces), arguments).map_err(io::Error::other),
                |record| self.write_record(record),
            ),
        }
    }

    /// Does nothing: with direct delivery, every record is in the kernel when its call returns.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        (&*self).flush()
    }
}
