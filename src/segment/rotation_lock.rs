//! The lock file that all workers of a log take to rotate it.

use super::Location;
use crate::error::Result;
use crate::lock::FileLock;

/// The mode of a log's first segment and of its lock file, before the umask, if none is configured.
pub(crate) const DEFAULT_MODE: u32 = 0o666;

/// Opens the rotation lock. Each user that may open the log may open the lock.
pub(crate) fn open(location: &Location, mode: Option<u32>) -> Result<FileLock> {
    let lock = FileLock::open(location.lock_path())?.without_gate();
    Ok(match mode {
        Some(mode) => lock.mode(mode),
        None => lock.mode_less_umask(DEFAULT_MODE),
    })
}
