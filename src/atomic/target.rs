//! The file that a path stands for, and its lock.

use super::Links;
use crate::error::{Error, Result};
use crate::fs::{self, Entry, EntryKind};
use crate::lock::FileLock;
use std::path::{Path, PathBuf};

/// How many links are followed before they are taken for a circle, as the kernel does.
const MAX_LINKS: usize = 40;

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
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(there) = fs::stat(&path)? else { return Ok(Self { path, entry: None }) };
            match there.kind {
                EntryKind::File => return Ok(Self { path, entry: Some(there) }),
                EntryKind::Link if links == Links::Replace => {
                    return Ok(Self { path, entry: None });
                }
                EntryKind::Link => path = fs::parent(&path).join(fs::read_link(&path)?),
                kind => return Err(Error::not_a_file("replace", &path, kind)),
            }
        }
        Err(Error::too_many_links("replace", &path))
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
