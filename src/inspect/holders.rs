//! The processes that have a file of a log in use.

use crate::clock::sleep;
use crate::error::Result;
use crate::fs::{self, FileId, FileLocks, LockMode, OpenFor, Unleased};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Whether a file is in use, and by which processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Usage {
    /// No process has it in use.
    Free,
    /// These processes have it in use. The list is empty if the system does not name them.
    InUse(Vec<Holder>),
    /// Unknown: testing it could disturb a process that uses it, and the system may hide such
    /// processes.
    ///
    /// That is so for an active segment that no visible process has open: on systems that show no
    /// locks, on network file systems, and in containers, whose processes do not see those outside.
    Unknown,
}

impl Usage {
    /// Returns the processes that are known to use it.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        match self {
            Self::InUse(holders) => holders,
            Self::Free | Self::Unknown => &[],
        }
    }
}

/// A process that has a file in use.
///
/// # Platform
/// Linux names the processes that the caller may see. Other systems name none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// The name of the program, perhaps cut short.
    pub program: Option<String>,
    /// The use that it makes of the file, as far as it can be seen.
    pub role: Role,
}

/// The use that a process makes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The process may append to it.
    Worker,
    /// The process reads it.
    Reader,
    /// The process holds it exclusively: a backup to compress or remove it, the lock file to
    /// rotate.
    Maintenance,
    /// Unknown: the process belongs to another user.
    Unknown,
}

/// The locks that the system shows, at one moment.
pub(super) struct Holders(FileLocks);

impl Holders {
    /// `is_shared` says that other machines use the files, too. Their locks are not shown.
    pub(super) fn now(is_shared: bool) -> Self {
        let mut locks = fs::file_locks();
        locks.is_complete &= !is_shared;
        Self(locks)
    }

    /// Returns the processes that have a file open. A file that may still be written to is not
    /// tested, because the test might make a worker wait.
    pub(super) fn of(&self, path: &Path, id: FileId, is_backup: bool) -> Result<Usage> {
        match self.0.holders(id) {
            Some(holders) if !holders.is_empty() => Ok(in_use(id, holders)),
            _ if is_backup => probe(path),
            Some(_) => Ok(Usage::Free),
            None => Ok(Usage::Unknown),
        }
    }

    /// Returns the use of the rotation lock and the lock file's size; `None` if the file does not
    /// exist.
    pub(super) fn of_lock_file(&self, path: &Path) -> Result<Option<(Usage, u64)>> {
        // A process that creates the file locks it next. If it is still free at a second look, it
        // is left over.
        const MOMENT: Duration = Duration::from_millis(20);
        let Some(entry) = fs::stat(path)? else { return Ok(None) };
        if let Some(holders) = self.0.holders(entry.id).filter(|holders| !holders.is_empty()) {
            return Ok(Some((in_use(entry.id, holders), entry.len)));
        }
        sleep(MOMENT);
        let Some(later) = fs::stat(path)? else { return Ok(None) };
        let file = match fs::open_lock_read(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            // Another user's file, of which this process may not ask.
            Err(error) if error.io_kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Some((Usage::Unknown, entry.len)));
            }
            Err(error) => return Err(error),
        };
        let is_free = later.id == entry.id
            && match fs::try_lock(&file, LockMode::Shared, path) {
                // Its holder has just removed it.
                Err(error) if error.is_not_found() => return Ok(None),
                tried => tried?,
            };
        let usage = if is_free { Usage::Free } else { Usage::InUse(Vec::new()) };
        Ok(Some((usage, entry.len)))
    }
}

/// Tests whether a file is in use, by locking it for a moment.
pub(super) fn probe(path: &Path) -> Result<Usage> {
    match fs::open_unleased(path) {
        Ok(Unleased::Leased) => Ok(Usage::InUse(Vec::new())),
        Ok(Unleased::Ours(_) | Unleased::Gone) => Ok(Usage::Free),
        Err(error) if error.kind() == crate::ErrorKind::Io => Ok(Usage::Unknown),
        Err(error) => Err(error),
    }
}

fn in_use(id: FileId, holders: Vec<(LockMode, u32)>) -> Usage {
    let holder = |(kind, pid)| Holder {
        pid,
        program: fs::process_name(pid),
        role: match (kind, fs::open_for(pid, id)) {
            (LockMode::Exclusive, _) => Role::Maintenance,
            (LockMode::Shared, Some(OpenFor::Appending)) => Role::Worker,
            (LockMode::Shared, Some(OpenFor::Reading)) => Role::Reader,
            (LockMode::Shared, None) => Role::Unknown,
        },
    };
    let mut holders: Vec<_> = holders.into_iter().map(holder).collect();
    holders.sort_by_key(|holder| holder.pid);
    holders.dedup();
    Usage::InUse(holders)
}
