//! A lock that is held.

use super::FileLock;
use super::file::Held;
use crate::error::Result;
use std::sync::atomic::Ordering;

/// Marks a [`FileLock`] value as in use.
#[derive(Debug)]
pub(super) struct Claim<'a>(pub(super) &'a FileLock);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.in_use.store(false, Ordering::Release);
    }
}

/// A lock that is held; dropping it unlocks, on panic as well.
#[derive(Debug)]
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct LockGuard<'a> {
    /// `None` once it has been given back.
    pub(super) held: Option<Held>,
    /// The process that took it, which a forked child is not.
    pub(super) taker: u32,
    // Dropped after `Drop::drop` has run, so the value is free when the lock is.
    pub(super) claim: Claim<'a>,
}

impl LockGuard<'_> {
    /// Gives the lock back, and says what drop must swallow.
    ///
    /// The lock is released whatever the outcome.
    ///
    /// # Errors
    /// - [`ErrorKind::LockLost`] if someone removed or replaced the lock file meanwhile, so that
    ///   others may have held the lock too.
    /// - [`ErrorKind::Io`] if unlocking or removing the file failed. Lack of permission to remove
    ///   it is no error; it stays.
    pub fn unlock(mut self) -> Result<()> {
        self.release()
    }

    /// Fails with [`ErrorKind::LockLost`] if someone has taken the lock file away.
    pub(crate) fn verify(&self) -> Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| self.claim.0.file.verify(held))
    }

    fn release(&mut self) -> Result<()> {
        match self.held.take() {
            Some(held) if self.taker == std::process::id() => self.claim.0.file.release(&held),
            // In a forked child the lock is the parent's, to keep and to tidy up; closing our copy
            // of the handle does not unlock it.
            _ => Ok(()),
        }
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // Nobody to tell: `unlock` is for those who want to know. The handle closes in any case.
        let _ = self.release();
    }
}
