//! Waking and ending maintenance.

use crate::clock::Deadline;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};
use std::time::Duration;

/// A notification that there may be work, or that the log is being closed.
#[derive(Debug)]
pub(crate) struct Wakeup {
    notified: AtomicBool,
    /// Set by a notification, and by a hint that it is time to look.
    hinted: AtomicBool,
    over: AtomicBool,
    gate: Mutex<()>,
    waiters: Condvar,
}

impl Default for Wakeup {
    /// Notified: there may be work that a worker left unfinished when it died.
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
    /// Reports that there may be work, and wakes the waiting thread.
    pub(crate) fn notify(&self) {
        self.notified.store(true, Ordering::Release);
        self.hint();
        self.wake_waiters();
    }

    /// Reports that it is time to look for work, without waking a thread.
    pub(crate) fn hint(&self) {
        self.hinted.store(true, Ordering::Release);
    }

    /// Whether it is time to look. Clears nothing.
    #[inline]
    pub(crate) fn is_hinted(&self) -> bool {
        self.hinted.load(Ordering::Relaxed)
    }

    /// Whether there may be work. Clears nothing.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Relaxed)
    }

    /// Returns whether there may be work, and clears both flags.
    pub(crate) fn take(&self) -> bool {
        self.hinted.store(false, Ordering::Release);
        self.notified.swap(false, Ordering::Acquire)
    }

    /// Reports that the log is being closed: no work is started or continued.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake_waiters();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits until there may be work or the log is closed, for at most `span`.
    pub(crate) fn wait(&self, span: Duration) {
        let mut gate = self.gate.lock();
        if !self.is_notified() && !self.is_over() {
            self.waiters.wait_for(&mut gate, span);
        }
    }

    /// Waits for `span`, or until the log is closed.
    pub(crate) fn rest(&self, span: Duration) {
        let deadline = Deadline::after(span);
        let mut gate = self.gate.lock();
        while let Some(left) = deadline.left().filter(|_| !self.is_over()) {
            self.waiters.wait_for(&mut gate, left);
        }
    }

    fn wake_waiters(&self) {
        // The lock is taken so that no waiter is between its check and its sleep.
        drop(self.gate.lock());
        self.waiters.notify_all();
    }
}
