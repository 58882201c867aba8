//! Reading a log back.

use crate::errors;
use crate::fork::{ForkCell, Registration};
use logrotor::reader::{Damage, LogReader, Record, Stopper};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Iterates over the lines of a log: their bytes, segment and offset.
#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct Reader {
    source: ForkCell<Mutex<Option<Source>>>,
    stopper: Stopper,
}

struct Source {
    records: Records,
    _registration: Registration,
}

enum Records {
    Direct(Box<LogReader>),
    /// A thread waits for records, so that the caller can handle signals meanwhile.
    Followed(Follower),
}

type Read = Result<Record, Damage>;

struct Follower {
    records: Receiver<Read>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (path, *, since = None, until = None, follow = false, last = None, reverse = false, archive = None, origin = None, memory_limit = None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        since: Option<f64>,
        until: Option<f64>,
        follow: bool,
        last: Option<u64>,
        reverse: bool,
        archive: Option<String>,
        origin: Option<String>,
        memory_limit: Option<u64>,
    ) -> PyResult<Self> {
        let mut builder = LogReader::builder(&path);
        if let Some(since) = since {
            builder = builder.since(time(since)?);
        }
        if let Some(until) = until {
            builder = builder.until(time(until)?);
        }
        if follow {
            builder = builder.follow();
        }
        if let Some(last) = last {
            builder = builder.last(last);
        }
        if reverse {
            builder = builder.reverse();
        }
        if let Some(archive) = archive {
            builder = builder.archive(archive);
        }
        if let Some(origin) = origin {
            builder = builder.origin(origin);
        }
        if let Some(bytes) = memory_limit {
            builder = builder.memory_limit(bytes);
        }
        let registration = Registration::of_log(&path);
        let reader = py.detach(|| builder.open()).map_err(|error| errors::of(&error))?;
        let stopper = reader.stopper();
        let records = match follow {
            true => Records::Followed(Follower::start(reader)?),
            false => Records::Direct(Box::new(reader)),
        };
        let source = Source { records, _registration: registration };
        Ok(Self { source: ForkCell::new(Mutex::new(Some(source))), stopper })
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, PathBuf, u64)>> {
        loop {
            let source = self.source.get().ok_or_else(|| errors::inherited("reader"))?;
            let step = py.detach(|| {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                source.as_mut().map_or(Step::End, |source| source.records.next())
            });
            match step {
                Step::Read(Ok(record)) => {
                    let bytes = PyBytes::new(py, record.bytes());
                    return Ok(Some((bytes, record.segment().to_owned(), record.offset())));
                }
                Step::Read(Err(damage)) => return Err(errors::of_damage(&damage)),
                Step::End => return Ok(None),
                Step::Wait => py.check_signals()?,
            }
        }
    }

    /// Ends the iteration, also one that waits in another thread.
    fn close(&self, py: Python<'_>) {
        let Some(source) = self.source.get() else { return };
        self.stopper.stop();
        py.detach(|| drop(source.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

enum Step {
    Read(Read),
    End,
    Wait,
}

impl Records {
    fn next(&mut self) -> Step {
        match self {
            Self::Direct(reader) => {
                let mut record = Record::new();
                match reader.read_record(&mut record) {
                    Ok(true) => Step::Read(Ok(record)),
                    Ok(false) => Step::End,
                    Err(damage) => Step::Read(Err(damage)),
                }
            }
            Self::Followed(follower) => {
                match follower.records.recv_timeout(Duration::from_millis(50)) {
                    Ok(read) => Step::Read(read),
                    Err(RecvTimeoutError::Timeout) => Step::Wait,
                    Err(RecvTimeoutError::Disconnected) => Step::End,
                }
            }
        }
    }
}

impl Follower {
    fn start(reader: LogReader) -> std::io::Result<Self> {
        let stopper = reader.stopper();
        let (sender, records) = sync_channel(256);
        let thread = std::thread::Builder::new()
            .name("logrotor-follow".to_owned())
            .spawn(move || send_all(reader, &sender))?;
        Ok(Self { records, stopper, thread: Some(thread) })
    }
}

fn send_all(mut reader: LogReader, sender: &SyncSender<Read>) {
    for read in reader.records() {
        if sender.send(read).is_err() {
            return;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stopper.stop();
        // The thread may wait for room in the channel.
        drop(std::mem::replace(&mut self.records, sync_channel(0).1));
        if let Some(thread) = self.thread.take() {
            // It has no panic to pass on.
            let _ = thread.join();
        }
    }
}

fn time(seconds: f64) -> PyResult<SystemTime> {
    let span = Duration::try_from_secs_f64(seconds.max(0.0));
    let time = span.ok().and_then(|span| SystemTime::UNIX_EPOCH.checked_add(span));
    time.ok_or_else(|| PyValueError::new_err(format!("{seconds} is no time")))
}
