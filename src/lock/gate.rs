//! Fairness: an exclusive acquirer that has waited a while goes ahead of later shared ones.
//!
//! The kernel grants shared locks as long as any process holds one, so overlapping readers could
//! starve a writer. Therefore a writer whose patience is over holds the *gate*, a second lock file,
//! while it waits, and readers pass the gate before they ask for the lock:
//!
//! | | gate | lock |
//! |---|---|---|
//! | reader | waits while a writer holds it, does not hold it | then takes it shared |
//! | writer, first | | asks for [`PATIENCE`] |
//! | writer, then | holds it exclusively | until it has this |
//!
//! The gate decides the order, never the exclusion: without it (no right to create the file, say)
//! exclusion is the same. It is free as soon as its holder dies, like every lock here.
//!
//! Source: the turnstile of Allen B. Downey, "The Little Book of Semaphores", section 4.2.

use super::backoff::poll;
use super::file::{Held, LockFile, unlock};
use crate::clock::Deadline;
use crate::error::Result;
use crate::fs::{self, LockMode};
use std::time::Duration;

/// How long a writer tries before it closes the gate: far longer than a rotation holds its lock, so
/// rotations create no gate.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);

/// The suffix of a gate, after the lock file's name.
pub(crate) const SUFFIX: &str = ".gate";

/// The gate of a lock file.
pub(crate) struct Gate(LockFile);

impl Gate {
    pub(crate) fn of(lock: &LockFile) -> Self {
        let mut path = lock.path.clone().into_os_string();
        path.push(SUFFIX);
        Self(LockFile { path: path.into(), keep: false, ..lock.clone() })
    }

    /// Keeps later readers out until the gate is [opened](Gate::open); waits for other writers.
    pub(crate) fn close(&self) -> Result<Held> {
        self.0.wait(LockMode::Exclusive)
    }

    /// Like [`close`](Gate::close), without waiting; `None` if another writer has closed it.
    pub(crate) fn try_close(&self) -> Result<Option<Held>> {
        self.0.attempt(LockMode::Exclusive)
    }

    pub(crate) fn open(&self, closed: &Held) -> Result<()> {
        self.0.release(closed)
    }

    /// Waits until no writer keeps readers out; `false` if one still does at the deadline.
    pub(crate) fn pass(&self, until: Deadline) -> Result<bool> {
        let path = &self.0.path;
        let Some(file) = fs::open_lock_read(path)? else { return Ok(true) };
        let passed = match until.is_never() {
            true => fs::lock(&file, LockMode::Shared, path).map(|()| true)?,
            false => {
                let ask = || Ok(fs::try_lock(&file, LockMode::Shared, path)?.then_some(()));
                poll(until, ask)?.is_some()
            }
        };
        if passed {
            // Closing alone is not enough: a child forked meanwhile would keep it locked.
            unlock(&file, path)?;
        }
        Ok(passed)
    }
}
