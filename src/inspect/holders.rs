//! Who has a file of a log in use.

use crate::clock::sleep;
use crate::error::Result;
use crate::fs::{self, FileId, FileLocks, LockMode, OpenFor, Unleased};
use std::path::Path;
use std::time::Duration;

/// Whether a file is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Usage {
    /// By nobody.
    Free,
    /// By these; none of them is known if the system does not say.
    InUse(Vec<Holder>),
    /// It cannot be told without disturbing somebody.
    Unknown,
}

impl Usage {
    /// Those who are known to have it.
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
/// Linux tells who it is, of processes that this one may see. Elsewhere there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, perhaps cut short.
    pub program: Option<String>,
    /// What it does with the file, as far as can be seen.
    pub role: Role,
}

/// What a process has a segment in use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It may append to it.
    Worker,
    /// It reads it.
    Reader,
    /// It has it for itself, to pack or to remove it; or, of the lock file, to rotate.
    Maintenance,
    /// It belongs to another user, so that this cannot be seen.
    Unknown,
}

/// The locks that the system shows, as they were at one moment.
pub(super) struct Holders(FileLocks);

impl Holders {
    pub(super) fn now() -> Self {
        Self(fs::file_locks())
    }

    /// Who has a segment open. One that is still written to is not tried: that might make a worker wait.
    pub(super) fn of(&self, path: &Path, id: FileId, is_backup: bool) -> Result<Usage> {
        match self.0.holders(id) {
            Some(holders) if !holders.is_empty() => Ok(in_use(id, holders)),
            _ if is_backup => probe(path),
            Some(_) => Ok(Usage::Free),
            None => Ok(Usage::Unknown),
        }
    }

    /// Who holds the rotation lock, and the lock file's size; `None` if there is none.
    pub(super) fn of_lock_file(&self, path: &Path) -> Result<Option<(Usage, u64)>> {
        // Whoever makes it locks it next. One that is nobody's is so at a second look.
        const MOMENT: Duration = Duration::from_millis(20);
        let Some(entry) = fs::stat(path)? else { return Ok(None) };
        if let Some(holders) = self.0.holders(entry.id).filter(|holders| !holders.is_empty()) {
            return Ok(Some((in_use(entry.id, holders), entry.len)));
        }
        sleep(MOMENT);
        let Some(later) = fs::stat(path)? else { return Ok(None) };
        let Some(file) = fs::open_lock_read(path)? else { return Ok(None) };
        let is_free = later.id == entry.id && fs::try_lock(&file, LockMode::Shared, path)?;
        let usage = if is_free { Usage::Free } else { Usage::InUse(Vec::new()) };
        Ok(Some((usage, entry.len)))
    }
}

/// Whether somebody has a file in use, by an attempt to take it, which is given up at once.
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
