//! Systems on which no notes are kept on files. Contracts: see the parent module.

use std::io;
use std::path::Path;

pub(crate) fn note(_path: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_note(_path: &Path, _note: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
