//! Removal of lock files that a crash left behind.

use super::file::{is_ours, remove_unheld};
use super::{FileLock, gate};
use crate::error::Result;
use crate::fs::{self, EntryKind};
use std::io;
use std::path::Path;

impl FileLock {
    /// Removes the lock files in a directory that no process holds, and returns their number.
    ///
    /// A process that dies releases its lock at once, but its file stays until the next holder
    /// removes it. This function is for locks without a next holder. It examines files named
    /// `*.lock` and `*.lock.gate` that carry this crate's owner record. Other programs' lock files
    /// stay (`Cargo.lock`, git's `index.lock`, empty ones), as do files that this process may not
    /// open or remove, and names that are not Unicode.
    ///
    /// The kernel decides whether a file is held, never the pid in it, and the file is removed
    /// while it is locked. So a held lock is never broken, and a process that is acquiring one
    /// starts again on a new file. For that instant the lock counts as held: an attempt with
    /// [`Wait::Never`](super::Wait::Never) may be refused.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the directory cannot be read, or if a file in it
    /// cannot be examined for a reason other than lack of permission. Files before it have been
    /// removed.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> logrotor::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dir = dir.path();
    /// std::fs::write(dir.join("Cargo.lock"), "version = 4\n").unwrap();
    /// assert_eq!(logrotor::FileLock::clean_stale(dir)?, 0);
    /// # Ok(()) }
    /// ```
    pub fn clean_stale(dir: impl AsRef<Path>) -> Result<usize> {
        let dir = dir.as_ref();
        let mut removed = 0;
        for name in fs::names(dir)?.iter().filter(|name| is_lock_name(name)) {
            match clean(&dir.join(name)) {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(error) if error.io_kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

fn is_lock_name(name: &str) -> bool {
    name.strip_suffix(gate::SUFFIX).unwrap_or(name).ends_with(super::handle::SUFFIX)
}

/// Removes one file if it is ours and no process holds it.
fn clean(path: &Path) -> Result<bool> {
    // Not opened before it is known to be a file: opening a device can have effects.
    if !fs::stat(path)?.is_some_and(|there| there.kind == EntryKind::File) {
        return Ok(false);
    }
    let Some(file) = fs::open_lock_read(path)? else { return Ok(false) };
    // Read before it is locked: a lock would obstruct the program that a foreign file belongs to.
    if !is_ours(&file, path) {
        return Ok(false);
    }
    match fs::fstat_if_any(&file, path)? {
        Some(there) => remove_unheld(&file, there.id, path),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_are_those_that_this_crate_gives() {
        for name in ["a.lock", "a.log.lock", "a.lock.gate", ".lock"] {
            assert!(is_lock_name(name), "{name}");
        }
        for name in ["a", "a.gate", "lock", "a.lock.old", "a.lock.gate.gate"] {
            assert!(!is_lock_name(name), "{name}");
        }
    }
}
