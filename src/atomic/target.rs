//! The file that a path leads to, and its lock.

use super::Links;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind};
use crate::lock::FileLock;
use std::path::{Path, PathBuf};

/// The permissions of a new file, less the umask.
pub(super) const NEW_FILE: u32 = 0o666;

/// The permissions of a temporary file until it gets those of the file it replaces.
pub(super) const PRIVATE: u32 = 0o600;

/// The file that a path leads to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// The state of a regular file; `None` if there is no file, or a link is to be replaced.
    pub(crate) entry: Option<Entry>,
}

impl Target {
    pub(crate) fn of(path: &Path, links: Links) -> Result<Self> {
        let (path, there) = match links {
            Links::Follow => fs::resolve_links("replace", path)?,
            Links::Replace => (path.to_owned(), fs::stat(path)?),
        };
        match there.map(|there| there.kind) {
            Some(EntryKind::File) => Ok(Self { path, entry: there }),
            Some(EntryKind::Link) | None => Ok(Self { path, entry: None }),
            Some(kind) => Err(Error::not_a_file("replace", &path, kind)),
        }
    }

    /// The lock for changing the file, open to every user who may open the file.
    pub(crate) fn lock(&self) -> Result<FileLock> {
        let lock = FileLock::beside(&self.path)?;
        Ok(match self.entry {
            Some(entry) => lock.mode((entry.access.mode & NEW_FILE) | PRIVATE),
            None => lock,
        })
    }

    /// Turns a failure to create the temporary file into one to replace the file.
    pub(super) fn explain(&self, error: Error) -> Error {
        if error.is_not_found() {
            return fs::not_created("replace", &self.path);
        }
        error.during("create a temporary file beside", &self.path)
    }
}
