//! Replacing a whole file.

use crate::errors;
use crate::fork::{ForkCell, Registration};
use logrotor::atomic::{self, Links, Replace, SyncLevel};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// New content of a file, which takes its place when it is committed.
#[pyclass(frozen, module = "logrotor._native")]
pub(crate) struct AtomicFile {
    file: ForkCell<Mutex<Option<(atomic::AtomicFile, Registration)>>>,
}

#[pymethods]
impl AtomicFile {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    #[pyo3(signature = (path, *, sync = "file_and_directory", mode = None, owner = None, replace = true, follow_links = true))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        sync: &str,
        mode: Option<u32>,
        owner: Option<(u32, u32)>,
        replace: bool,
        follow_links: bool,
    ) -> PyResult<Self> {
        let mut builder = atomic::AtomicFile::builder()
            .sync(sync_level(sync)?)
            .replace(if replace { Replace::Yes } else { Replace::No })
            .links(if follow_links { Links::Follow } else { Links::Replace });
        if let Some(mode) = mode {
            builder = builder.mode(mode);
        }
        if let Some((user, group)) = owner {
            builder = builder.owner(user, group);
        }
        let file = py.detach(|| builder.open(&path)).map_err(|error| errors::of(&error))?;
        let registration = Registration::of_log(&path);
        Ok(Self { file: ForkCell::new(Mutex::new(Some((file, registration)))) })
    }

    fn write(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let file = self.file.get().ok_or_else(|| errors::inherited("file"))?;
        let written = py.detach(|| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.as_mut().map(|(file, _)| file.write_all(bytes))
        });
        match written {
            Some(written) => written.map_err(errors::of_io),
            None => Err(PyValueError::new_err("the file is closed")),
        }
    }

    /// Puts the content in place.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.file.get().ok_or_else(|| errors::inherited("file"))?;
        let committed = py.detach(|| {
            let taken = file.lock().unwrap_or_else(PoisonError::into_inner).take();
            taken.map(|(file, _)| file.commit())
        });
        match committed {
            Some(committed) => committed.map_err(|error| errors::of(&error)),
            None => Err(PyValueError::new_err("the file is closed")),
        }
    }

    /// Leaves the file as it was.
    fn discard(&self, py: Python<'_>) {
        if let Some(file) = self.file.get() {
            py.detach(|| drop(file.lock().unwrap_or_else(PoisonError::into_inner).take()));
        }
    }
}

fn sync_level(text: &str) -> PyResult<SyncLevel> {
    match text {
        "none" => Ok(SyncLevel::None),
        "file" => Ok(SyncLevel::File),
        "file_and_directory" => Ok(SyncLevel::FileAndDirectory),
        _ => Err(PyValueError::new_err(format!(
            "sync = {text:?}: use \"none\", \"file\" or \"file_and_directory\""
        ))),
    }
}
