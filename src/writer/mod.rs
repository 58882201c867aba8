//! The writer: the handle that users write records to.

mod appender;
mod buffered;
mod build;
mod group_commit;
mod io;
mod line_run;
mod lines;
mod log;
mod record;
mod reload;
mod schedule;
mod size;
mod sync_queue;
mod threads;
mod torn;

pub use lines::LineWriter;
pub use record::RecordWriter;

use crate::config::{Config, LogBuilder};
use crate::error::Result;
use crate::segment::Segment;
use crate::stats::Stats;
use appender::Appender;
use log::Log;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use threads::LogThreads;

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
    pub fn write_record(&self, record: &[u8]) -> std::io::Result<()> {
        self.log().write_record(record)
    }

    /// Rotates now, unless there is no record in the active segment, or another worker rotates at the
    /// same moment. Returns the backup if this call made one.
    ///
    /// # Errors
    /// [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout) if another worker is rotating for
    /// longer than `lock_timeout`; [`ErrorKind::Io`](crate::ErrorKind::Io) if the file system refuses.
    /// The log goes on with the segment it has.
    pub fn rotate(&self) -> Result<Option<PathBuf>> {
        self.log().call(Appender::rotate)
    }

    /// Closes the active segment and opens the log's path again, for when another program has moved
    /// the file (the `SIGHUP` of `logrotate`). Without it that is noticed within `check_interval`.
    ///
    /// # Errors
    /// If the path cannot be opened; the log goes on with the file it has.
    pub fn reopen(&self) -> Result<()> {
        self.log().call(Appender::reopen)
    }

    /// Waits until all records so far are on the disk itself, and survive a power cut: those in the
    /// active segment, and in all backups that are not compressed (packing one syncs it).
    ///
    /// # Errors
    /// What `fdatasync(2)` says first; then some of them may be lost at a power cut. With
    /// [`Naming::Number`](crate::Naming) also if rotations do not let it find all backups, which takes eight of them while
    /// it is at it.
    pub fn sync(&self) -> Result<()> {
        self.log().sync()
    }

    /// Waits until the records taken so far are in the kernel. With direct delivery they are already.
    ///
    /// # Errors
    /// What the kernel refuses them with; they stay in the buffer, and are tried again.
    pub fn flush(&self) -> Result<()> {
        self.log().drain(None)
    }

    /// What this process did to the log since it was opened. Cheap, and waits for nobody.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.log().stats()
    }

    /// The log's files as they are now, oldest first, the active segment last.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        self.log().segments()
    }

    /// What the system calls the network file system that the log was opened on, such as `nfs` or `cifs`; `None`
    /// if it is a local one, or that cannot be told. [`LogBuilder::build`] says what such a file system means.
    ///
    /// # Platform
    /// Linux, macOS and FreeBSD tell it, but not of what runs on FUSE (sshfs, s3fs), which is never told of on
    /// Linux; on Windows it is `unc` for all shares of other machines, mapped to a drive letter or not.
    #[must_use]
    pub fn network_file_system(&self) -> Option<&str> {
        self.log().network()
    }

    /// Where the log is: the path it was opened with, absolute and with links resolved.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.log().location().path().to_owned()
    }

    /// Writes what is in the buffer, finishes the work on backups that can be done now, and gives up this
    /// handle. The log itself ends with its last handle; others can go on writing.
    ///
    /// Backups that other workers still have open are left to them.
    ///
    /// # Errors
    /// The first failure of that work.
    pub fn close(self) -> Result<()> {
        self.log().finish()
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
