//! The writer of a handler.

use crate::errors;
use crate::fork::{ForkCell, Registration};
use logrotor::{Config, Delivery, ErrorKind, RotatingFileWriter, Stats};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A log that opens itself: at the first record, again in a child of a fork, and after `close`.
#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct Writer {
    path: PathBuf,
    config: Config,
    /// Begins each segment.
    header: Vec<u8>,
    slot: ForkCell<Slot>,
    /// Whether it was closed. The process is probably at its end then, and has no thread that would
    /// write a buffer.
    was_closed: AtomicBool,
}

// The lock of the standard library has no state outside of itself, which a fork could leave locked.
type Slot = RwLock<Option<OpenLog>>;

struct OpenLog {
    log: RotatingFileWriter,
    _registration: Registration,
}

#[pymethods]
impl Writer {
    /// `settings` are names and values as in a file of settings.
    #[new]
    #[pyo3(signature = (path, settings, header = Vec::new()))]
    fn new(path: PathBuf, settings: Vec<(String, String)>, header: Vec<u8>) -> PyResult<Self> {
        let mut config = Config::default();
        for (setting, value) in &settings {
            config.set(setting, value).map_err(|error| errors::of(&error))?;
        }
        config.validate().map_err(|error| errors::of(&error))?;
        let (slot, was_closed) = (ForkCell::new(Slot::default()), AtomicBool::new(false));
        Ok(Self { path, config, header, slot, was_closed })
    }

    /// Opens the log unless it is open.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |_| Ok(()))
    }

    /// Appends one record.
    fn write(&self, py: Python<'_>, record: &[u8]) -> PyResult<()> {
        let written = py.detach(|| {
            if let Some(open) = &*self.read() {
                return open.log.write_record(record);
            }
            self.with_log(|log| log.write_record(record))?
        });
        written.map_err(errors::of_io)
    }

    /// Rotates now. Returns the backup, if there is one.
    fn rotate(&self, py: Python<'_>) -> PyResult<Option<PathBuf>> {
        self.call(py, RotatingFileWriter::rotate)
    }

    /// Closes the active segment, and opens the log's path again.
    fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, RotatingFileWriter::reopen)
    }

    /// Waits until all records are on the disk.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, RotatingFileWriter::sync)
    }

    /// Completes the maintenance that is due.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, RotatingFileWriter::finish)
    }

    /// Waits until all records are in the kernel. Does not open the log.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let flushed = py.detach(|| match &*self.read() {
            Some(open) => open.log.flush(),
            None => Ok(()),
        });
        flushed.map_err(errors::of_io)
    }

    /// Writes the buffer and closes the log. A later record opens it again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.was_closed.store(true, Relaxed);
        let closed = py.detach(|| {
            let Some(open) = self.write_slot().take() else { return Ok(()) };
            open.log.flush()
        });
        closed.map_err(errors::of_io)
    }

    /// Whether this process has the log open.
    fn is_open(&self, py: Python<'_>) -> bool {
        py.detach(|| self.read().is_some())
    }

    /// The counters since this process opened the log, or `None` if it is not open.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let stats = py.detach(|| self.read().as_ref().map(|open| open.log.stats()));
        stats.map(|stats| counters(py, &stats)).transpose()
    }

    /// The files of the log, the oldest first.
    fn segments(&self, py: Python<'_>) -> PyResult<Vec<PathBuf>> {
        let segments = self.call(py, RotatingFileWriter::segments)?;
        Ok(segments.into_iter().map(|segment| segment.path).collect())
    }
}

impl Writer {
    fn slot(&self) -> &Slot {
        self.slot.get_or(Slot::default)
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<OpenLog>> {
        self.slot().read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_slot(&self) -> RwLockWriteGuard<'_, Option<OpenLog>> {
        self.slot().write().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&RotatingFileWriter) -> logrotor::Result<R> + Send,
    ) -> PyResult<R> {
        let done = py.detach(|| self.with_log(work).and_then(|done| done));
        done.map_err(|error| errors::of(&error))
    }

    /// Does `work` with the log, which is opened if it is not.
    #[cold]
    fn with_log<R>(&self, work: impl FnOnce(&RotatingFileWriter) -> R) -> logrotor::Result<R> {
        let log = {
            let mut slot = self.write_slot();
            let open = match slot.take() {
                Some(open) => open,
                None => self.open_log()?,
            };
            slot.insert(open).log.clone()
        };
        Ok(work(&log))
    }

    fn open_log(&self) -> logrotor::Result<OpenLog> {
        let mut config = self.config.clone();
        if self.was_closed.load(Relaxed) {
            config.delivery = Delivery::Direct;
        }
        let mut builder = RotatingFileWriter::builder(&self.path).config(config);
        if !self.header.is_empty() {
            builder = builder.header(self.header.clone());
        }
        // Before the log is open, because a fork may come at any time.
        let registration = Registration::of_log(&self.path);
        let log = builder.build()?;
        Ok(OpenLog { log, _registration: registration })
    }
}

fn counters<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let counts = [
        ("records", stats.records),
        ("bytes", stats.bytes),
        ("rotations", stats.rotations),
        ("skips", stats.skips),
        ("follows", stats.follows),
        ("recreations", stats.recreations),
        ("truncations", stats.truncations),
        ("lock_waits", stats.lock_waits),
        ("compressions", stats.compressions),
        ("deferrals", stats.deferrals),
        ("pruned", stats.pruned),
        ("torn", stats.torn),
        ("dropped", stats.dropped),
        ("failures", stats.all_failures()),
    ];
    for (name, count) in counts {
        dict.set_item(name, count)?;
    }
    dict.set_item("last_error", stats.last_error.as_ref().map(ToString::to_string))?;
    dict.set_item("policy_version", stats.policy.map(|policy| policy.version))?;
    let archive = stats.archive.as_ref();
    dict.set_item("archived", archive.map(|archive| archive.archived))?;
    dict.set_item("archive_backlog", archive.map(|archive| archive.backlog))?;
    dict.set_item("lock_timeouts", stats.failures(ErrorKind::LockTimeout))?;
    Ok(dict)
}
