//! The file that a path stands for, and its lock.

use super::Links;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind};
use crate::lock::FileLock;
use std::path::{Path, PathBuf};

/// What a new file's permissions are before the umask.
pub(super) const NEW_FILE: u32 = 0o666;

/// Nobody else, until the file has the permissions and the owner that it shall have.
pub(super) const PRIVATE: u32 = 0o600;

/// The file that a path stands for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// Of a regular file that is there.
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

    /// The lock for changing it, open to those who may open the file.
    pub(crate) fn lock(&self) -> Result<FileLock> {
        let lock = FileLock::beside(&self.path)?;
        Ok(match self.entry {
            Some(entry) => lock.mode((entry.access.mode & NEW_FILE) | PRIVATE),
            None => lock,
        })
    }

    /// A failure to make the temporary, told as one to replace the file.
    pub(super) fn explain(&self, error: Error) -> Error {
        if error.is_not_found() {
            return Error::no_directory("replace", &self.path, fs::parent(&self.path));
        }
        error.during("create a temporary file beside", &self.path)
    }
}
