//! The writer: the handle that users write records to.

mod append_lock;
mod appender;
#[cfg(feature = "archive")]
mod archive;
mod buffered;
mod build;
mod check;
mod flush;
mod flusher;
mod group_commit;
mod io;
mod line_run;
mod lines;
mod log;
mod next_check;
mod record;
mod reload;
mod schedule;
mod size;
mod sync_queue;
mod threads;
mod torn;

pub use flush::FlushGuard;
pub use lines::LineWriter;
pub use record::RecordWriter;

use crate::config::{Config, LogBuilder};
use crate::error::Result;
use crate::inspect::Segment;
use crate::stats::Stats;
use appender::Appender;
use log::Log;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use threads::LogThreads;

/// A rotating log file that many threads and many processes append to.
///
/// One call of `write`, `write_all`, `write_vectored` or `write_fmt` is one *record*, and so is one
/// `write!` or `writeln!`. A record is whole: it is in one segment, and no other record comes
/// between its bytes. When the call returns `Ok`, the record is in the kernel and survives the
/// process, unless [`Delivery::Buffered`](crate::Delivery::Buffered) is set.
///
/// This is a handle. Clones are cheap, share one open file, and work from any thread. The records
/// of a thread stay in order. A second writer *built* on the same path, in this process or another
/// one, is another worker on the log; any number of them is safe.
///
/// Dropping the last handle writes the buffer, and leaves unfinished maintenance to the next
/// worker. [`finish`](Self::finish) and [`close`](Self::close) complete it.
///
/// # Loggers
/// One event must be one record: loggers that write an event with one call take the log itself,
/// others take [`lines`](Self::lines) or [`record`](Self::record). Each row is tested with several processes, rotations and
/// messages of several lines.
///
/// | logger | pass | code |
/// |---|---|---|
/// | tracing-subscriber, all formats | the log | `tracing_subscriber::fmt().with_writer(log)` |
/// | tracing-logfmt, -glog, -stackdriver, json-subscriber | the log | `layer.with_writer(log)` |
/// | tracing-bunyan-formatter | the log | `BunyanFormattingLayer::new("app".into(), log)` |
/// | tracing-tree | the log | `HierarchicalLayer::new(2).with_ansi(false).with_writer(log)` |
/// | tracing-forest | the log | `ForestLayer::from(PrettyPrinter::new().writer(log))` |
/// | tracing-appender | the log | `NonBlockingBuilder::default().lossy(false).finish(log)` |
/// | env_logger, pretty_env_logger | the log | `builder.filter_level(LevelFilter::Info).target(Target::Pipe(Box::new(log))).init()` |
/// | fern | the log | `dispatch.chain(Box::new(log) as Box<dyn Write + Send>)` |
/// | structured-logger | the log | `structured_logger::json::new_writer(log)` |
/// | ftlog | the log | `ftlog::builder().root(log)` |
/// | fast_log, in `LogAppender::do_logs` | the log | `log.write_record(record.formated.as_bytes())` |
/// | logforth, in `Append::append` | the log | `log.write_record(&line)` |
/// | slog-term | the log | `PlainSyncDecorator::new(log)` |
/// | slog-json, also with slog-async | `lines` | `slog_json::Json::default(log.lines())` |
/// | slog-bunyan | `lines` | `slog_bunyan::with_name("app", log.lines())` |
/// | simplelog | `lines` | `WriteLogger::init(LevelFilter::Info, Config::default(), log.lines())` |
/// | log4rs, in `Append::append` | `record` | `let mut event = SimpleWriter(log.record()); encoder.encode(&mut event, record)?; Ok(event.0.commit()?)` |
/// | flexi_logger, in `LogWriter::write` | `record` | `let mut event = log.record(); format(&mut event, now, record)?; event.write_all(b"\n")?; event.commit()` |
/// | serde_json, one line per value | `lines` | `serde_json::to_writer(&mut *lines, value)?; lines.write_all(b"\n")` |
/// | serde_json, pretty-printed | `record` | `let mut record = log.record(); serde_json::to_writer_pretty(&mut record, value)?; record.write_all(b"\n")?; record.commit()` |
/// | csv, flushed after each row | `lines` | `builder.from_writer(log.lines())` |
///
/// slog-term's `PlainDecorator` (2.9.2) writes an event in pieces, and `lines` would split an event
/// of several lines at each line break. csv (1.4.0) writes a row larger than its buffer, 8 KiB by
/// default, with several calls even if each row is flushed, so it needs `lines`. Source: the
/// scripts in the repository's `findings`.
///
/// A logger that a `static` holds is never dropped. With buffered delivery, keep a
/// [`flush_guard`](Self::flush_guard) in `main`.
///
/// # Fork
/// Open the log again in the child process. The child is then a worker like any other, whatever the
/// threads of its parent did at the time. A handle that is carried through `fork` has these
/// properties:
///
/// - With [`Delivery::Direct`](crate::Delivery::Direct) the child can write to the log and rotate it, and no record is lost,
///   if no thread of the parent was in a log call during the fork. Otherwise the child's first call
///   may block. A maintenance thread is in such a call for some microseconds per second, and with
///   [`MaintenanceMode::Inline`](crate::MaintenanceMode::Inline) there is no such thread.
/// - With [`Delivery::Buffered`](crate::Delivery::Buffered) the child's calls fail with [`std::io::ErrorKind::Unsupported`].
///   If the log took records within a flush interval before the fork, they fail once they have
///   filled half of the buffer or less. The parent writes the records that were in the buffer.
/// - The child has no thread for maintenance. Other workers do the work, and so does the child's
///   [`finish`](Self::finish).
/// - Dropping the handle in the child waits for no thread. If the log had threads, the child keeps
///   a copy of the file that was active during the fork until it writes to a later segment, exits
///   or calls `exec`. Until then that segment counts as in use, and is neither compressed nor
///   removed.
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
    /// Returns a builder for the log at `path`. The log is opened by [`LogBuilder::build`].
    pub fn builder(path: impl Into<PathBuf>) -> LogBuilder {
        LogBuilder::new(path)
    }

    /// Opens the log at `path` with settings that are plain data.
    ///
    /// # Errors
    /// Those of [`LogBuilder::build`].
    pub fn from_config(path: impl Into<PathBuf>, config: Config) -> Result<Self> {
        LogBuilder::with_config(path, config).build()
    }

    #[inline]
    fn log(&self) -> &Log {
        &self.threads.log
    }

    /// Appends one record. Does the same as `write_all`, which needs `&mut`.
    ///
    /// An empty record is not written, and the call succeeds.
    ///
    /// # Errors
    /// The error of `write(2)`: the record was not written, or (if the disk is full) only a part of
    /// it. A rotation that fails is not an error here: the record goes to the present segment, and
    /// [`Stats::failures`] counts the failure.
    #[inline]
    pub fn write_record(&self, record: &[u8]) -> std::io::Result<()> {
        self.log().write_record(record)
    }

    /// Rotates now. Returns the backup if this call created one.
    ///
    /// Does nothing if the active segment contains no record, or if another worker rotates at the
    /// same time.
    ///
    /// # Errors
    /// [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout) if another worker holds the rotation lock for
    /// longer than `lock_timeout`, and [`ErrorKind::Io`](crate::ErrorKind::Io) if the file system fails. The
    /// active segment is then still the same.
    pub fn rotate(&self) -> Result<Option<PathBuf>> {
        self.log().call(Appender::rotate)
    }

    /// Closes the active segment and opens the log's path again.
    ///
    /// Call it after another program has moved the file, as on the `SIGHUP` of `logrotate`. Without
    /// this call, the change is detected within [`check_interval`](crate::Config::check_interval),
    /// and on Linux usually at once.
    ///
    /// # Errors
    /// The path cannot be opened. The present file then stays in use.
    pub fn reopen(&self) -> Result<()> {
        self.log().call(Appender::reopen)
    }

    /// Waits until all records so far are on the disk, where they survive a power loss.
    ///
    /// Syncs the active segment and all uncompressed backups. A compressed backup was synced before
    /// it got its name.
    ///
    /// # Errors
    /// The first error of `fdatasync(2)`; some of the records may then be lost in a power loss.
    /// With [`Naming::Number`](crate::Naming::Number) the call also fails if eight rotations happen meanwhile and it
    /// cannot find all backups.
    pub fn sync(&self) -> Result<()> {
        self.log().sync()
    }

    /// Waits until the records accepted so far are in the kernel.
    ///
    /// Returns at once with [`Delivery::Direct`](crate::Delivery::Direct): the records are there already.
    ///
    /// # Errors
    /// The kernel's error for a record. The records stay in the buffer, and are tried again.
    pub fn flush(&self) -> std::io::Result<()> {
        Ok(self.log().drain(None)?)
    }

    /// Returns the counters of this process since it opened the log. Cheap, and waits for no I/O.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.log().stats()
    }

    /// Returns the log's segments as they are now: the oldest first, the active one last.
    ///
    /// Backups of any [`Naming`](crate::Naming) are listed, as readers read them. Retention removes
    /// only those named as the log names them: by time, in either form, or by number.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        self.log().segments()
    }

    /// Returns the name of the network file system that the log was opened on, such as `nfs` or
    /// `cifs`.
    ///
    /// Returns `None` for a local file system, and if the system does not distinguish it.
    /// [`LogBuilder::build`] describes the limits of such a log.
    ///
    /// # Platform
    /// Linux, macOS and FreeBSD report network file systems. Linux does not distinguish FUSE mounts
    /// (sshfs, s3fs) from local ones. On Windows the name is `unc` for every share of another
    /// machine, with or without a drive letter.
    #[must_use]
    pub fn network_file_system(&self) -> Option<&str> {
        self.log().network()
    }

    /// Returns the path of the log, absolute and with links resolved.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.log().location().path().to_owned()
    }

    /// Writes the buffer, syncs the segments that [`Durability::OnRotate`](crate::Durability::OnRotate) covers,
    /// and completes the maintenance that is due.
    ///
    /// The log stays open. Backups that other workers still have open are left to them. In a
    /// directory of more than some hundreds of files, it looks at all of them only if no worker has
    /// since the log was opened and the directory has changed since the last look.
    ///
    /// # Errors
    /// The first failure of that work. The rest is done nevertheless.
    ///
    /// # Examples
    /// ```
    /// use logrotor::{Compression, RotatingFileWriter};
    /// # fn main() -> std::io::Result<()> { let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("app.log");
    /// let log = RotatingFileWriter::builder(path).compression(Compression::Gzip).build()?;
    /// log.write_record(b"started\n")?;
    /// let backup = log.rotate()?.expect("there was a record");
    /// log.finish()?;
    /// assert!(!backup.exists() && log.segments()?.len() == 2);
    /// # Ok(()) }
    /// ```
    pub fn finish(&self) -> Result<()> {
        self.log().finish()
    }

    /// Does the work of [`finish`](Self::finish) and gives up this handle. The log closes with its last handle.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub fn close(self) -> Result<()> {
        self.finish()
    }
}

// A panic in a log call comes from a value's formatting, before any lock is taken. The panics of
// observers and header functions are caught. So the state of a log is consistent after a panic.
impl UnwindSafe for RotatingFileWriter {}
impl RefUnwindSafe for RotatingFileWriter {}

impl fmt::Debug for RotatingFileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingFileWriter")
            .field("path", &self.path())
            .field("config", &self.log().config)
            .finish_non_exhaustive()
    }
}
