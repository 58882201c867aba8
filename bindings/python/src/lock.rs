//! Locks between processes.

use crate::errors;
use crate::fork::{ForkCell, Registration};
use logrotor::{ErrorKind, LockMode, Wait};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use self_cell::self_cell;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Guards, each with the thread that has it.
type Entered = Vec<(ThreadId, Py<LockGuard>)>;

type Guard<'a> = Option<logrotor::LockGuard<'a>>;

self_cell!(
    /// A lock value, and the guard that borrows it. Each acquisition has a value of its own, so
    /// that threads wait for each other as processes do.
    struct Held {
        owner: logrotor::FileLock,
        #[covariant]
        dependent: Guard,
    }
);

/// Where the lock file of a path is.
#[derive(Clone)]
enum Place {
    Itself,
    Beside,
    InDir(PathBuf),
}

#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct FileLock {
    path: PathBuf,
    place: Place,
    mode: Option<u32>,
    keep: bool,
    /// The guards of `with lock:`, the last one last.
    entered: ForkCell<Mutex<Entered>>,
}

#[pymethods]
impl FileLock {
    #[new]
    #[pyo3(signature = (path, *, beside = false, lock_dir = None, mode = None, keep_file = false))]
    fn new(
        path: PathBuf,
        beside: bool,
        lock_dir: Option<PathBuf>,
        mode: Option<u32>,
        keep_file: bool,
    ) -> PyResult<Self> {
        let place = match lock_dir {
            Some(dir) => Place::InDir(dir),
            None if beside => Place::Beside,
            None => Place::Itself,
        };
        let entered = ForkCell::new(Mutex::default());
        let lock = Self { path, place, mode, keep: keep_file, entered };
        lock.value()?;
        Ok(lock)
    }

    #[getter]
    fn path(&self) -> PyResult<PathBuf> {
        Ok(self.value()?.path().to_owned())
    }

    #[pyo3(signature = (timeout = None))]
    fn exclusive(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<LockGuard> {
        self.acquire(py, LockMode::Exclusive, timeout)
    }

    #[pyo3(signature = (timeout = None))]
    fn shared(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<LockGuard> {
        self.acquire(py, LockMode::Shared, timeout)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<LockGuard>> {
        let thread = std::thread::current().id();
        if self.entered().iter().any(|(holder, _)| *holder == thread) {
            return Err(errors::already_locked(py, &self.path));
        }
        let guard = Py::new(py, self.exclusive(py, None)?)?;
        self.entered().push((thread, guard.clone_ref(py)));
        Ok(guard)
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyTuple>) -> PyResult<()> {
        let thread = std::thread::current().id();
        let guard = {
            let mut entered = self.entered();
            let at = entered.iter().rposition(|(holder, _)| *holder == thread);
            at.map(|at| entered.remove(at).1)
        };
        match guard {
            Some(guard) => guard.get().unlock(py),
            None => Ok(()),
        }
    }
}

impl FileLock {
    fn entered(&self) -> MutexGuard<'_, Entered> {
        self.entered.get_or(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self) -> PyResult<logrotor::FileLock> {
        let lock = match &self.place {
            Place::Itself => logrotor::FileLock::open(&self.path),
            Place::Beside => logrotor::FileLock::beside(&self.path),
            Place::InDir(dir) => logrotor::FileLock::in_dir(dir, &self.path),
        };
        let lock = lock.map_err(|error| errors::of(&error))?.keep_file(self.keep);
        Ok(match self.mode {
            Some(mode) => lock.mode(mode),
            None => lock,
        })
    }

    /// Waits in steps, so that signals are handled meanwhile.
    fn acquire(&self, py: Python<'_>, mode: LockMode, timeout: Option<f64>) -> PyResult<LockGuard> {
        const STEP: Duration = Duration::from_millis(500);
        let limit = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)));
        let limit = limit.transpose().map_err(|error| {
            pyo3::exceptions::PyValueError::new_err(format!("timeout: {error}"))
        })?;
        let start = Instant::now();
        loop {
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            let wait = match left {
                Some(Duration::ZERO) => Wait::Never,
                Some(left) => Wait::AtMost(left.min(STEP)),
                None => Wait::AtMost(STEP),
            };
            let value = self.value()?;
            let registration = Registration::of_file(value.path());
            let held = py.detach(|| Held::try_new(value, |lock| lock.lock(mode, wait).map(Some)));
            match held {
                Ok(held) => return Ok(LockGuard::new(held, registration)),
                Err(error) if error.kind() == ErrorKind::LockTimeout => {
                    if limit.is_some_and(|limit| start.elapsed() >= limit) {
                        return Err(errors::of(&error));
                    }
                    py.check_signals()?;
                }
                Err(error) => return Err(errors::of(&error)),
            }
        }
    }
}

/// Holds a lock until it is unlocked or dropped.
#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct LockGuard {
    held: ForkCell<Mutex<Option<(Held, Registration)>>>,
}

#[pymethods]
impl LockGuard {
    /// Releases the lock. In a child of a fork it does nothing: the lock is the parent's.
    fn unlock(&self, py: Python<'_>) -> PyResult<()> {
        let Some(held) = self.held.get() else { return Ok(()) };
        let taken = held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut held, _registration)) = taken else { return Ok(()) };
        let unlocked = py.detach(move || {
            held.with_dependent_mut(|_, guard| {
                guard.take().map_or(Ok(()), logrotor::LockGuard::unlock)
            })
        });
        unlocked.map_err(|error| errors::of(&error))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.unlock(py)
    }
}

impl LockGuard {
    fn new(held: Held, registration: Registration) -> Self {
        Self { held: ForkCell::new(Mutex::new(Some((held, registration)))) }
    }
}
