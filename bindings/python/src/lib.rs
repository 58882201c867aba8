//! The native part of the Python package `logrotor`: a thin layer on the crate's public interface.
//!
//! Calls that write, wait or read release the interpreter's lock. A child of a fork never touches
//! what it has inherited: see [`fork`].

mod atomic;
mod errors;
mod fork;
mod lock;
mod policy;
mod reader;
mod writer;

use pyo3::exceptions::PyImportError;
use pyo3::ffi::{PyInterpreterState_Get, PyInterpreterState_GetID};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Refuses all interpreters of a process but the first: the types of PyO3 cannot be shared.
fn check_interpreter() -> PyResult<()> {
    const NONE: i64 = -1;
    static FIRST: AtomicI64 = AtomicI64::new(NONE);
    // SAFETY: the caller is attached to an interpreter, whose state is valid for as long.
    let this = unsafe { PyInterpreterState_GetID(PyInterpreterState_Get()) };
    match FIRST.compare_exchange(NONE, this, Relaxed, Relaxed) {
        Err(first) if first != this => Err(PyImportError::new_err(
            "logrotor cannot be used in subinterpreters; use processes, which may share a log",
        )),
        _ => Ok(()),
    }
}

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::atomic::AtomicFile;
    #[pymodule_export]
    use super::lock::{FileLock, LockGuard};
    #[pymodule_export]
    use super::policy::PolicyStore;
    #[pymodule_export]
    use super::reader::Reader;
    #[pymodule_export]
    use super::writer::Writer;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::check_interpreter()?;
        super::fork::install();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
