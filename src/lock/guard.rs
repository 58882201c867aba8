//! The proof that a lock is held.

use super::FileLock;
use super::file::Held;
use crate::error::Result;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Marks a [`FileLock`] value as in use.
#[derive(Debug)]
pub(super) struct Claim<'a>(pub(super) &'a FileLock);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.in_use.store(false, Ordering::Release);
    }
}

/// The proof that a lock is held. Dropping it releases the lock, during a panic as well.
#[derive(Debug)]
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard<'a> {
    /// `None` once the lock was released.
    pub(super) held: Option<Held>,
    /// The process that took the lock; a forked child is another.
    pub(super) taker: u32,
    // Dropped after `Drop::drop` has run, so the value is free when the lock is.
    pub(super) claim: Claim<'a>,
}

impl LockGuard<'_> {
    /// Releases the lock, and reports the errors that a drop must swallow.
    ///
    /// The lock is released whatever the outcome.
    ///
    /// # Errors
    /// - [`ErrorKind::LockLost`](crate::ErrorKind::LockLost) if the lock file was removed or
    ///   replaced meanwhile, so that others may have held the lock too.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) if unlocking or removing the file failed. If this
    ///   process lacks permission to remove it, the file stays, without an error.
    pub fn unlock(mut self) -> Result<()> {
        self.release()
    }

    /// Fails with [`ErrorKind::LockLost`](crate::ErrorKind::LockLost) if the lock file was removed
    /// or replaced.
    pub(crate) fn verify(&self) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| self.claim.0.file.verify(held))
    }

    /// Returns when the lock was taken, by the clock of the file system; `None` if it is unknown.
    pub(crate) fn taken_at(&self) -> Result<Option<SystemTime>> {
        self.held.as_ref().map_or(Ok(None), |held| held.taken_at(&self.claim.0.file.path))
    }

    fn release(&mut self) -> Result<()> {
        match self.held.take() {
            Some(held) if self.taker == std::process::id() => self.claim.0.file.release(&held),
            // In a forked child the lock is the parent's, to keep and to tidy up. Closing our copy
            // of the handle does not unlock it.
            _ => Ok(()),
        }
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // The error has no recipient here; `unlock` reports it. The handle closes in any case.
        let _ = self.release();
    }
}
