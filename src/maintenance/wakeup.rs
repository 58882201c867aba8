//! Reports that there may be maintenance to do.

use crate::pool::Registration;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

/// A notification that there may be work, or that the log is being closed.
pub(crate) struct Wakeup {
    notified: AtomicBool,
    /// Set by a notification, and by a hint that it is time to look.
    hinted: AtomicBool,
    over: AtomicBool,
    /// The threads that do the work, unless log calls do.
    threads: OnceLock<Registration>,
}

impl Default for Wakeup {
    /// Notified: there may be work that a worker left unfinished when it died.
    fn default() -> Self {
        Self {
            notified: AtomicBool::new(true),
            hinted: AtomicBool::new(true),
            over: AtomicBool::new(false),
            threads: OnceLock::new(),
        }
    }
}

impl Wakeup {
    /// Has `threads` do the work from now on.
    pub(crate) fn set_threads(&self, threads: Registration) {
        // Called once.
        let _ = self.threads.set(threads);
    }

    /// The threads that do the work.
    pub(crate) fn threads(&self) -> Option<&Registration> {
        self.threads.get()
    }

    /// Reports that there may be work, and wakes a thread.
    pub(crate) fn notify(&self) {
        self.note();
        if let Some(threads) = self.threads() {
            threads.request_maintenance();
        }
    }

    /// Reports that there may be work, for the next check to see: no thread is woken.
    pub(crate) fn note(&self) {
        self.notified.store(true, Ordering::Release);
        self.hint();
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
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
