//! How maintenance is woken and ended.

use crate::clock::Deadline;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// Says that there may be work, or that it is over.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// One of the levels below.
    level: AtomicU8,
    over: AtomicBool,
    gate: Mutex<()>,
    bell: Condvar,
}

/// Nothing has happened, time has passed, or there may be new backups.
const QUIET: u8 = 0;
const STIRRED: u8 = 1;
const RAISED: u8 = 2;

impl Signal {
    /// Says that there may be new backups.
    pub(crate) fn raise(&self) {
        self.level.store(RAISED, Ordering::Release);
        self.ring();
    }

    /// Says that time has passed, so that what was left for later may be possible by now. Wakes nobody.
    pub(crate) fn stir(&self) {
        self.level.fetch_max(STIRRED, Ordering::Relaxed);
    }

    /// Whether it was raised or stirred, without taking note of it.
    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        self.level.load(Ordering::Relaxed) != QUIET
    }

    /// Whether it was raised, without taking note of it.
    pub(crate) fn is_raised(&self) -> bool {
        self.level.load(Ordering::Relaxed) == RAISED
    }

    /// Whether there may be new backups; lowers the signal.
    pub(crate) fn take(&self) -> bool {
        self.level.swap(QUIET, Ordering::Acquire) == RAISED
    }

    /// Says that the log is being closed, and nothing is to be begun or gone on with.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until it is raised or over, at most for `span`.
    pub(crate) fn wait(&self, span: Duration) {
        let mut gate = self.gate.lock();
        if !self.is_raised() && !self.is_over() {
            self.bell.wait_for(&mut gate, span);
        }
    }

    /// Waits for `span`, or until it is over.
    pub(crate) fn rest(&self, span: Duration) {
        let deadline = Deadline::after(span);
        let mut gate = self.gate.lock();
        while let Some(left) = deadline.left().filter(|_| !self.is_over()) {
            self.bell.wait_for(&mut gate, left);
        }
    }

    fn ring(&self) {
        // Taken so that no waiter is between its look and its sleep.
        drop(self.gate.lock());
        self.bell.notify_all();
    }
}
