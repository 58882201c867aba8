//! How maintenance is woken and ended.

use crate::clock::Deadline;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};
use std::time::Duration;

/// Says that there may be work, or that it is over.
#[derive(Debug)]
pub(crate) struct Wakeup {
    notified: AtomicBool,
    /// Raised, or simply time to look.
    hinted: AtomicBool,
    over: AtomicBool,
    gate: Mutex<()>,
    waiters: Condvar,
}

impl Default for Wakeup {
    /// Raised: there may be what a worker left half done when it died.
    fn default() -> Self {
        Self {
            notified: AtomicBool::new(true),
            hinted: AtomicBool::new(true),
            over: AtomicBool::new(false),
            gate: Mutex::default(),
            waiters: Condvar::new(),
        }
    }
}

impl Wakeup {
    /// Says that there may be work.
    pub(crate) fn notify(&self) {
        self.notified.store(true, Ordering::Release);
        self.hint();
        self.wake_waiters();
    }

    /// Says that it is time to look whether there is work, without waking anybody.
    pub(crate) fn hint(&self) {
        self.hinted.store(true, Ordering::Release);
    }

    /// Whether it is time to look, without taking note of it.
    #[inline]
    pub(crate) fn is_hinted(&self) -> bool {
        self.hinted.load(Ordering::Relaxed)
    }

    /// Whether there may be work, without taking note of it.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Relaxed)
    }

    /// Whether there may be work; clears both flags.
    pub(crate) fn take(&self) -> bool {
        self.hinted.store(false, Ordering::Release);
        self.notified.swap(false, Ordering::Acquire)
    }

    /// Says that the log is being closed, and nothing is to be begun or gone on with.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake_waiters();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until it is notified or over, at most for `span`.
    pub(crate) fn wait(&self, span: Duration) {
        let mut gate = self.gate.lock();
        if !self.is_notified() && !self.is_over() {
            self.waiters.wait_for(&mut gate, span);
        }
    }

    /// Waits for `span`, or until it is over.
    pub(crate) fn rest(&self, span: Duration) {
        let deadline = Deadline::after(span);
        let mut gate = self.gate.lock();
        while let Some(left) = deadline.left().filter(|_| !self.is_over()) {
            self.waiters.wait_for(&mut gate, left);
        }
    }

    fn wake_waiters(&self) {
        // Taken so that no waiter is between its look and its sleep.
        drop(self.gate.lock());
        self.waiters.notify_all();
    }
}
