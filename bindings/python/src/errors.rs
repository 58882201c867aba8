//! Errors of the crate as Python's exceptions.

use logrotor::reader::Damage;
use logrotor::{Error, ErrorKind};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use std::io;

/// An `OSError` if the system has refused something, otherwise the exception of this kind.
pub(crate) fn of(error: &Error) -> PyErr {
    Python::attach(|py| made_of(py, error).unwrap_or_else(|failure| failure))
}

/// Of a log call, whose error may have the crate's own inside.
pub(crate) fn of_io(error: io::Error) -> PyErr {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match own {
        Some(error) => of(error),
        None => match error.raw_os_error() {
            Some(code) => PyOSError::new_err((code, error.to_string())),
            None => error.into(),
        },
    }
}

pub(crate) fn of_damage(damage: &Damage) -> PyErr {
    let kind = format!("{:?}", damage.kind());
    let (text, segment) = (damage.to_string(), damage.segment().to_owned());
    Python::attach(|py| {
        let made = module(py).and_then(|errors| {
            errors.getattr("DamageError")?.call1((text, kind, segment, damage.offset()))
        });
        made.map_or_else(|failure| failure, PyErr::from_value)
    })
}

/// Of an object that a child of a fork has inherited.
pub(crate) fn inherited(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("this {what} belongs to the parent process; open one here"))
}

fn made_of(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let path = error.path().map(std::path::Path::as_os_str);
    if let (ErrorKind::Io, Some(cause)) = (error.kind(), error.io_error()) {
        let Some(code) = cause.raw_os_error().or(code_of(cause.kind())) else {
            return Ok(io::Error::new(cause.kind(), error.to_string()).into());
        };
        let made = PyOSError::new_err((code, error.to_string()));
        made.value(py).setattr("filename", path)?;
        return Ok(made);
    }
    let kind = format!("{:?}", error.kind());
    let made = module(py)?.getattr("of_kind")?.call1((kind, error.to_string(), path))?;
    Ok(PyErr::from_value(made))
}

/// The system's number of a failure that the crate has found itself. The same on all systems.
fn code_of(kind: io::ErrorKind) -> Option<i32> {
    match kind {
        io::ErrorKind::NotFound => Some(2),
        io::ErrorKind::PermissionDenied => Some(13),
        io::ErrorKind::AlreadyExists => Some(17),
        io::ErrorKind::NotADirectory => Some(20),
        io::ErrorKind::IsADirectory => Some(21),
        io::ErrorKind::InvalidInput => Some(22),
        _ => None,
    }
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("logrotor._errors")
}

/// Of a lock that this thread holds already.
pub(crate) fn already_locked(py: Python<'_>, path: &std::path::Path) -> PyErr {
    let text = format!("failed to acquire `{}`: this thread holds it already", path.display());
    let made = module(py).and_then(|errors| {
        errors.getattr("of_kind")?.call1(("AlreadyLocked", text, path.to_owned()))
    });
    made.map_or_else(|failure| failure, PyErr::from_value)
}
