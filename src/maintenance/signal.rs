//! How maintenance is woken and ended.

use crate::clock::Deadline;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};
use std::time::Duration;

/// Says that there may be work, or that it is over.
#[derive(Debug)]
pub(crate) struct Signal {
    raised: AtomicBool,
    /// Raised, or simply time to look.
    nudged: AtomicBool,
    over: AtomicBool,
    gate: Mutex<()>,
    bell: Condvar,
}

impl Default for Signal {
    /// Raised: there may be what a worker left half done when it died.
    fn default() -> Self {
        Self {
            raised: AtomicBool::new(true),
            nudged: AtomicBool::new(true),
            over: AtomicBool::new(false),
            gate: Mutex::default(),
            bell: Condvar::new(),
        }
    }
}

impl Signal {
    /// Says that there may be work.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.nudge();
        self.ring();
    }

    /// Says that it is time to look whether there is work, without waking anybody.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
    }

    /// Whether it is time to look, without taking note of it.
    #[inline]
    pub(crate) fn is_nudged(&self) -> bool {
        self.nudged.load(Ordering::Relaxed)
    }

    /// Whether there may be work, without taking note of it.
    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Whether there may be work; lowers the signal.
    pub(crate) fn take(&self) -> bool {
        self.nudged.store(false, Ordering::Release);
        self.raised.swap(false, Ordering::Acquire)
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
